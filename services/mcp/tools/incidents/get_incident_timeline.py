"""What happened to an incident, line by line: anomalies, decisions, comments, fixes."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Line, Name, untrusted
from services.mcp.incident_reference import IncidentArguments, require_incident
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register


class TimelineRow(Row):
    """One line of the history."""

    at: Annotated[AwareDatetime, Field(description="Event time where it rests on telemetry.")]
    actor: Annotated[Name, Field(description=untrusted("Service or person"))]
    kind: Annotated[
        Name, Field(description=untrusted("anomaly, state, investigation, remediation, comment, decision or change"))
    ]
    text: Annotated[Line, Field(description=untrusted("What happened"))]


class TimelineAnswer(Answer[TimelineRow]):
    """Lines, oldest first."""


def _ask(sources: Sources, asked: IncidentArguments) -> TimelineAnswer:
    document = require_incident(sources.incidents, asked.incident)
    entries = document.timeline
    rows = [
        TimelineRow(at=entry.at, actor=entry.actor, kind=entry.kind, text=entry.text)
        for entry in page_of(entries, asked)
    ]
    text = f"{len(entries)} lines in the history of {document.incident.number}, oldest first."
    return answer(TimelineAnswer, asked, Found(rows=rows, total=len(entries), summary=text))


TOOL: Final = register(
    "incidents",
    Tool(
        name="get_incident_timeline",
        title="History of an incident",
        description="Read the history of an incident, oldest line first: anomalies that opened and closed, changes of "
        "state, investigations, fixes, comments and decisions of people.",
        arguments=IncidentArguments,
        result=TimelineAnswer,
        ask=_ask,
    ),
)
