"""What people and systems changed: deploys, flags, configuration, scaling."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.telemetry import ChangeEvent, ChangeKind
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Attributes, Line, Name, untrusted
from services.mcp.event_time import TimeArguments, window_of
from services.mcp.service_names import ServiceName, require_service
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

_MOST_READ: Final = 5_000
_LONGEST_S: Final = 30 * 86_400.0
_AFTER_S: Final = 600.0  # a change that silenced everything comes after the newest telemetry


class ChangesArguments(TimeArguments):
    """Which changes."""

    last_s: Annotated[
        float,
        Field(
            ge=1,
            le=_LONGEST_S + _AFTER_S,
            description="Length of the window in seconds, back from `end`; without `end`, changes up to 600 s after "
            "the newest telemetry are shown too.",
        ),
    ] = 3600.0
    service: ServiceName = ""
    kind: Annotated[ChangeKind | None, Field(description="Only this kind of change.")] = None


class ChangeRow(Row):
    """A change."""

    id: Annotated[Name, Field(description=untrusted("Id of the change"))]
    at: Annotated[AwareDatetime, Field(description="When it took effect.")]
    kind: ChangeKind
    service: Annotated[Name, Field(description=untrusted("Service that was changed"))]
    version: Annotated[Name, Field(description=untrusted("Version or value afterwards, empty when unknown"))]
    previous_version: Annotated[Name, Field(description=untrusted("Version or value before, empty when unknown"))]
    summary: Annotated[Line, Field(description=untrusted("What its author said of it"))]
    actor: Annotated[Name, Field(description=untrusted("Who made it; 'paramedic' is the platform itself"))]
    attributes: Annotated[Attributes, Field(description=untrusted("Anything else, at most 12"))]


class ChangesAnswer(Answer[ChangeRow]):
    """Changes, newest first."""


def _ask(sources: Sources, asked: ChangesArguments) -> ChangesAnswer:
    time = window_of(sources.telemetry, asked.last_s, asked.end)
    if asked.end is None:
        time = time.extended(_AFTER_S)
    services = (asked.service,) if asked.service else ()
    # A change may be of a service that sends no telemetry (any more).
    changes = sources.telemetry.changes(time.window, services=services, limit=_MOST_READ)
    if not changes:
        require_service(sources.telemetry, asked.service)
    chosen = [change for change in changes if asked.kind is None or change.kind is asked.kind]
    text = f"{len(chosen)} changes, newest first."
    return answer(
        ChangesAnswer,
        asked,
        Found(
            rows=[_row(change) for change in page_of(chosen, asked)],
            total=len(chosen),
            exact=len(changes) < _MOST_READ,
            summary=text if chosen else time.nothing("reported changes"),
            window=time.shown,
            pinned={**time.pinned, "last_s": time.seconds},
        ),
    )


def _row(change: ChangeEvent) -> ChangeRow:
    return ChangeRow(
        id=change.id,
        at=change.timestamp,
        kind=change.kind,
        service=change.service,
        version=change.version or "",
        previous_version=change.previous_version or "",
        summary=change.summary,
        actor=change.actor,
        attributes=dict(change.attributes),
    )


TOOL: Final = register(
    "observability",
    Tool(
        name="list_changes",
        title="Deploys, flags, configuration and scaling",
        description="List what was changed in production in a window: deploys, feature flags, configuration, scaling, "
        "with versions before and after and who did it. Most incidents begin with a change: look for one on the "
        "suspected service, or on what it calls, shortly before the first deviation. A change on a service that does "
        "not deviate is a coincidence.",
        arguments=ChangesArguments,
        result=ChangesAnswer,
        ask=_ask,
    ),
)
