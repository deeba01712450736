"""What every page shows around its content: the session's form token, who decides, the halt switch, what was told."""

import unicodedata
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote

from starlette.requests import Request

from libs.errors import Unavailable
from libs.stores.incidents import IncidentStore
from services.console.csrf import Session, Signer
from services.console.pages.healing import Halt, read_halt

ACTOR_COOKIE: Final = "paramedic_actor"
_ACTOR_CHARACTERS: Final = 200
# A decision that was written; its key travels in the address, its text never does.
TOLD: Final = {
    "acknowledge": "You have taken the incident.",
    "hold": "The incident is on hold.",
    "resolve": "The incident is resolved.",
    "cancel": "The incident is canceled.",
    "investigate": "Another investigation is asked for.",
    "comment": "Your comment is in the ticket.",
    "root-cause": "The root cause is confirmed.",
    "approve": "Approved. The fix is on its way.",
    "reject": "Rejected. Nothing of it will be applied.",
    "halt": "Self-healing is halted.",
    "resume": "Self-healing runs again.",
    "mode": "The mode is set.",
    "accept": "Accepted. The decision is written.",
    "dismiss": "Dismissed. The decision is written.",
    "written": "Your decision is written; its effect does not show yet.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Around the content.

    Attributes:
        csrf: Token for forms.
        actor: Name that this browser decided with last, "" for none.
        active: Page of the navigation.
        halt: The halt switch.
        told: What came of the last decision, "" for nothing.
        incident: Incident id when the page is about one: other incidents' events do not concern it.
        live: Whether the page listens to events and has a navigation.
        signed_in: Whether there is something to sign out of.
    """

    csrf: str
    actor: str = ""
    active: str = ""
    halt: Halt = field(default_factory=Halt)
    told: str = ""
    incident: str = ""
    live: bool = True
    signed_in: bool = False


def frame_of(
    request: Request, signer: Signer, incidents: IncidentStore, *, active: str = "", incident: str = ""
) -> Frame:
    """The frame of a page; a store that is down costs it the halt switch, not the page that says so."""
    session = request.state.session
    assert isinstance(session, Session)
    try:
        halt = read_halt(incidents)
    except Unavailable:
        halt = Halt()
    return Frame(
        csrf=signer.form_token(session),
        actor=actor_of(request),
        active=active,
        halt=halt,
        told=TOLD.get(request.query_params.get("told", ""), ""),
        incident=incident,
        signed_in=session.signed_in,
    )


def actor_of(request: Request) -> str:
    """The name in the cookie; nothing when it is not printable."""
    name = unquote(request.cookies.get(ACTOR_COOKIE, ""))[:_ACTOR_CHARACTERS]
    return "" if any(unicodedata.category(character) in ("Cc", "Cs") for character in name) else name


def actor_cookie(name: str) -> str:
    """The name as a cookie's value."""
    return quote(name, safe="")
