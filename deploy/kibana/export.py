"""Everything that is described here as one file, in the format that Kibana exports and imports."""

from pathlib import Path
from typing import Final

from deploy.kibana.dashboard import charts, dashboard
from deploy.kibana.data_views import data_views
from deploy.kibana.saved_object import SavedObject
from deploy.kibana.searches import SEARCHES

EXPORT: Final = Path(__file__).with_name("paramedic.ndjson")


def saved_objects() -> list[SavedObject]:
    """What others refer to comes first."""
    return [*data_views(), *(search.saved() for search in SEARCHES), *charts(), dashboard()]


def ndjson() -> str:
    """One object a line."""
    return "".join(saved.line() + "\n" for saved in saved_objects())
