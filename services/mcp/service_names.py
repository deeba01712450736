"""Which services exist; an unknown name is answered with the known ones."""

import difflib
from collections.abc import Collection
from typing import Annotated, Final

from pydantic import Field

from libs.errors import NotFound
from libs.observability.untrusted_text import cut_text
from libs.stores.telemetry import TelemetryReader
from services.mcp.bounds import MOST_NAME

_MOST_NAMED: Final = 30

ServiceName = Annotated[
    str, Field(max_length=MOST_NAME, description="Only this service (service.name); empty: all services.")
]
OneService = Annotated[
    str, Field(min_length=1, max_length=MOST_NAME, description="The service (service.name); list_services names them.")
]


def require_service(telemetry: TelemetryReader, name: str, *, also: Collection[str] = ()) -> None:
    """Refuse a service that nobody knows.

    Args:
        name: What was asked for; "" asks for all and is fine, and so is any name while nothing is recorded.
        also: Names that are known from elsewhere.
    Raises:
        NotFound: with the nearest and the known names.
    """
    if not name or name in also:
        return
    known = [seen.service for seen in telemetry.services()]
    if not known or name in known:
        return
    callers = sorted({edge.caller for edge in telemetry.edges() if edge.callee == name})
    if callers:
        raise NotFound(
            f"{cut_text(name, 80)} sends no telemetry itself; it is called by {_listed(callers)}: ask for the caller, "
            "whose calls name it as peer"
        )
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise NotFound(f"no service {cut_text(name, 80)!r}; {hint}known services: {_listed(known)}")


def _listed(names: Collection[str]) -> str:
    shown = [cut_text(name, 80) for name in list(names)[:_MOST_NAMED]]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(shown) + more
