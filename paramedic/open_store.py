"""The incident store of the settings, for commands that only read."""

from libs.service.settings import load_settings
from libs.stores.incidents import IncidentStore
from libs.stores.open import open_incident_store


def open_incidents() -> IncidentStore:
    """Open it."""
    settings = load_settings()
    return open_incident_store(settings.incident_store, settings.data_dir, settings.elastic)
