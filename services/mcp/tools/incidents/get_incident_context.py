"""The evidence that was gathered when an incident was opened; it stays when the telemetry itself is forgotten."""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from libs.contracts.document import IncidentContext, LogSample, TraceSample
from libs.contracts.telemetry import ChangeEvent
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import MOST_LIST, Line, Name, Names, untrusted
from services.mcp.incident_reference import IncidentArguments, require_incident
from services.mcp.otlp_words import severity_word
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register


class SampleRow(Row):
    """A change, a trace or a log pattern of the incident's window."""

    kind: Literal["change", "trace", "log"]
    at: AwareDatetime
    service: Annotated[Name, Field(description=untrusted("Service it is of; of a trace, the first one"))]
    text: Annotated[Line, Field(description=untrusted("What it says"))]
    count: Annotated[int, Field(description="Records of the same log pattern, or spans of the trace; 1 for a change.")]
    trace_id: Annotated[Name, Field(description=untrusted("Trace for get_trace while it is kept, or empty"))]


class CallShown(Row):
    """A call edge around the affected services."""

    caller: Annotated[Name, Field(description=untrusted("Service that calls"))]
    callee: Annotated[Name, Field(description=untrusted("Service or external dependency that is called"))]
    calls: int
    errors: int


class ContextAnswer(Answer[SampleRow]):
    """Changes, then traces, then logs."""

    calls: Annotated[list[CallShown], Field(max_length=MOST_LIST, description="Call edges, at most 20.")]
    affected_users: Annotated[int, Field(description="Distinct users that felt it.")]
    affected_users_basis: Annotated[Line, Field(description=untrusted("How they were counted"))]
    affected_users_sample: Annotated[Names, Field(description=untrusted("Some of their ids, at most 20"))]


def _ask(sources: Sources, asked: IncidentArguments) -> ContextAnswer:
    document = require_incident(sources.incidents, asked.incident)
    context = document.context
    samples = _samples(context)
    text = (
        f"{document.incident.number}: {len(context.changes)} changes, {len(context.traces)} traces, "
        f"{len(context.logs)} log patterns, {context.affected_users.count} affected users."
    )
    return answer(
        ContextAnswer,
        asked,
        Found(rows=page_of(samples, asked), total=len(samples), summary=text, known=bool(context.topology)),
        calls=[
            CallShown(caller=edge.caller, callee=edge.callee, calls=edge.calls, errors=edge.errors)
            for edge in context.topology[:MOST_LIST]
        ],
        affected_users=context.affected_users.count,
        affected_users_basis=context.affected_users.basis,
        affected_users_sample=list(context.affected_users.sample),
    )


def _samples(context: IncidentContext) -> list[SampleRow]:
    return [
        *(_change(one) for one in context.changes),
        *(_trace(one) for one in context.traces),
        *(_log(one) for one in context.logs),
    ]


def _change(one: ChangeEvent) -> SampleRow:
    versions = f" {one.previous_version or '?'} -> {one.version}" if one.version else ""
    text = f"{one.kind.value}{versions} by {one.actor or 'unknown'}: {one.summary}"
    return SampleRow(kind="change", at=one.timestamp, service=one.service, text=text, count=1, trace_id="")


def _trace(one: TraceSample) -> SampleRow:
    text = f"{one.reason or 'trace'}: {one.root_name}, {one.duration_s:.3f} s, {one.errors} of {one.spans} spans failed"
    return SampleRow(
        kind="trace", at=one.started_at, service=one.root_service, text=text, count=one.spans, trace_id=one.trace_id
    )


def _log(one: LogSample) -> SampleRow:
    text = f"{severity_word(one.severity)} {one.logger}: {one.body}"
    return SampleRow(
        kind="log", at=one.timestamp, service=one.service, text=text, count=one.count, trace_id=one.trace_id
    )


TOOL: Final = register(
    "incidents",
    Tool(
        name="get_incident_context",
        title="Evidence gathered for an incident",
        description="Read what was gathered around an incident when it was opened: changes, exemplar traces and log "
        "patterns of its window, call edges and affected users. It stays readable after the telemetry itself has been "
        "forgotten, so use it for old incidents, and the observability tools for recent ones.",
        arguments=IncidentArguments,
        result=ContextAnswer,
        ask=_ask,
    ),
)
