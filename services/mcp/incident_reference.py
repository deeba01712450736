"""Which incident is meant: by number or id; an unknown one is answered with the newest ones."""

from typing import Annotated

from pydantic import Field

from libs.contracts.document import IncidentDocument
from libs.errors import NotFound
from libs.observability.untrusted_text import cut_text
from libs.stores.incidents import IncidentQuery
from services.mcp.answer import PageArguments
from services.mcp.bounds import MOST_NAME
from services.mcp.sources import IncidentReader


class IncidentArguments(PageArguments):
    """Which incident."""

    incident: Annotated[
        str,
        Field(
            min_length=1,
            max_length=MOST_NAME,
            description="Number (INC-000042) or id; search_incidents finds them.",
        ),
    ]


def require_incident(incidents: IncidentReader, reference: str) -> IncidentDocument:
    """The document; `NotFound` names the newest incidents instead."""
    document = incidents.get(reference)
    if document is not None:
        return document
    page = incidents.search(IncidentQuery(limit=5))
    newest = ", ".join(entry.number for entry in page.incidents)
    there = f"the newest of {page.total} are {newest}" if newest else "there are no incidents yet"
    raise NotFound(f"no incident {cut_text(reference, 80)!r}; {there}")
