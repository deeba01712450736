"""Open the stores that the settings name."""

from pathlib import Path

from libs.errors import ConfigurationError
from libs.stores.incidents import IncidentStore
from libs.stores.telemetry import TelemetryStore

_SQLITE_URL = "sqlite:///"


def sqlite_path(address: str, default: Path) -> Path | None:
    """File of a SQLite address ("sqlite" means `default`), or None when the address names another kind of store."""
    if address == "sqlite":
        return default
    if address.startswith(_SQLITE_URL):
        return Path(address.removeprefix(_SQLITE_URL))
    return None


def open_incident_store(address: str, data_dir: Path) -> IncidentStore:
    """Open the incident store; `ConfigurationError` when the address names none that is known."""
    path = sqlite_path(address, data_dir / "incidents.sqlite")
    if path is None:
        raise ConfigurationError(f"PARAMEDIC_INCIDENT_STORE={address}: use sqlite or sqlite:///path")
    from libs.stores.sqlite_incidents import SqliteIncidentStore

    return SqliteIncidentStore(path)


def open_telemetry_store(address: str, data_dir: Path) -> TelemetryStore:
    """Open the telemetry store; `ConfigurationError` when the address names none that is known."""
    path = sqlite_path(address, data_dir / "telemetry.sqlite")
    if path is None:
        raise ConfigurationError(f"PARAMEDIC_TELEMETRY_STORE={address}: use sqlite or sqlite:///path")
    from libs.stores.sqlite_telemetry import SqliteTelemetryStore

    return SqliteTelemetryStore(path)
