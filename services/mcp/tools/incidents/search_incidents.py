"""Find incidents by words, state, priority, service and time."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.incident import IncidentChanged, IncidentState, Priority
from libs.errors import InvalidMessage
from libs.stores.incidents import IncidentQuery
from services.mcp.answer import Answer, Found, PageArguments, Row, answer
from services.mcp.bounds import MOST_NAME, Line, Name, Names, untrusted
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register


class SearchArguments(PageArguments):
    """Which incidents; what is left empty does not filter."""

    limit: Annotated[int, Field(ge=1, le=100, description="Most incidents in the answer.")] = 20
    text: Annotated[
        str,
        Field(
            max_length=500,
            description="Words that must all be in the ticket: title, services, causes, logs or comments.",
        ),
    ] = ""
    states: Annotated[tuple[IncidentState, ...], Field(max_length=6, description="Any of these states.")] = ()
    priorities: Annotated[
        tuple[Priority, ...], Field(max_length=5, description="Any of these priorities, P1 is worst.")
    ] = ()
    service: Annotated[str, Field(max_length=MOST_NAME, description="Only incidents that touch this service.")] = ""
    opened_from: Annotated[
        AwareDatetime | None, Field(description="Earliest opening, inclusive, RFC 3339 with offset.")
    ] = None
    opened_to: Annotated[AwareDatetime | None, Field(description="Latest opening, exclusive, RFC 3339.")] = None


class IncidentRow(Row):
    """An incident in short."""

    number: Annotated[Name, Field(description=untrusted("Number for the other tools"))]
    title: Annotated[Line, Field(description=untrusted("One line for people"))]
    state: IncidentState
    priority: Priority
    services: Annotated[Names, Field(description=untrusted("Services with an anomaly, the first affected first"))]
    anomalies: Annotated[int, Field(description="How many anomalies belong to it.")]
    started_at: Annotated[AwareDatetime, Field(description="Event time at which the first deviation began.")]
    opened_at: Annotated[AwareDatetime, Field(description="Event time at which the ticket was opened.")]
    resolved_at: Annotated[AwareDatetime | None, Field(description="When it was resolved.")]
    resolved_by: Annotated[Name, Field(description=untrusted("A person, 'remediation' or 'recovery'; empty: open"))]


class SearchAnswer(Answer[IncidentRow]):
    """Incidents, best match first with a text, else the newest first."""


def _ask(sources: Sources, asked: SearchArguments) -> SearchAnswer:
    if asked.opened_from and asked.opened_to and asked.opened_from >= asked.opened_to:
        raise InvalidMessage("opened_from must be before opened_to")
    page = sources.incidents.search(
        IncidentQuery(
            text=asked.text,
            states=asked.states,
            priorities=asked.priorities,
            services=(asked.service,) if asked.service else (),
            opened_from=asked.opened_from,
            opened_to=asked.opened_to,
            limit=asked.limit,
            offset=asked.offset,
        )
    )
    order = "best match first" if asked.text else "newest first"
    text = f"{page.total} incidents match, {order}." if page.total else "No incident matches."
    rows = [incident_row(entry) for entry in page.incidents]
    found = Found(rows=rows, total=page.total, summary=text, narrower="add words, a state, a service or a time")
    return answer(SearchAnswer, asked, found)


def incident_row(entry: IncidentChanged) -> IncidentRow:
    """An incident in short."""
    return IncidentRow(
        number=entry.number,
        title=entry.title,
        state=entry.state,
        priority=entry.priority,
        services=list(entry.services),
        anomalies=len(entry.anomalies),
        started_at=entry.started_at,
        opened_at=entry.opened_at,
        resolved_at=entry.resolved_at,
        resolved_by=entry.resolved_by or "",
    )


TOOL: Final = register(
    "incidents",
    Tool(
        name="search_incidents",
        title="Find incidents",
        description="Find incident tickets by words, state, priority, service or time of opening; without arguments "
        "the newest. Open ones have state new, in_progress or on_hold. Read one with get_incident.",
        arguments=SearchArguments,
        result=SearchAnswer,
        ask=_ask,
    ),
)
