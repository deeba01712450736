"""One incident: its state, its anomalies, and what is known of its cause."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from libs.contracts.document import IncidentDocument
from libs.contracts.incident import IncidentState, Level, Priority
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Attributes, Figure, Line, Name, Names, untrusted
from services.mcp.incident_reference import IncidentArguments, require_incident
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register


class AnomalyRow(Row):
    """An anomaly: an episode in which a signal of a service left its expected band."""

    service: Annotated[Name, Field(description=untrusted("Service that the signal belongs to"))]
    peer: Annotated[Name, Field(description=untrusted("Callee, when the signal is of a call edge; else empty"))]
    signal: Signal
    metric: Annotated[Name, Field(description=untrusted("Metric name"))]
    statistic: Annotated[Name, Field(description=untrusted("What the values are"))]
    unit: Annotated[Name, Field(description=untrusted("UCUM unit of observed and expected"))]
    attributes: Annotated[Attributes, Field(description=untrusted("Attributes of the series, at most 12"))]
    severity: Severity
    state: EpisodeState
    observed: Annotated[Figure, Field(description="The value that deviates, at its worst, in `unit`.")]
    expected: Annotated[Figure, Field(description="What was expected in its place, in `unit`.")]
    deviation: Annotated[Figure, Field(description="Distance from expected in robust standard deviations, signed.")]
    started_at: AwareDatetime
    closed_at: Annotated[AwareDatetime | None, Field(description="When the signal was back; null while it lasts.")]
    explanation: Annotated[Line, Field(description=untrusted("One sentence of the detector"))]
    trace_ids: Annotated[Names, Field(description=untrusted("Exemplar traces for get_trace, worst first"))]


class CauseShown(Row):
    """The leading explanation."""

    service: Annotated[Name, Field(description=untrusted("Service in which the cause sits"))]
    kind: Annotated[Name, Field(description=untrusted("Kind of cause"))]
    text: Annotated[Line, Field(description=untrusted("One line"))]
    confidence: Annotated[Figure, Field(description="Probability, 0 to 1; null for a confirmed root cause.")]
    confirmed_by: Annotated[Name, Field(description=untrusted("Who confirmed it; empty for a hypothesis"))]
    fixed_by: Annotated[Name, Field(description=untrusted("What fixed it, empty when unknown"))]


class IncidentShown(Row):
    """The core of the ticket."""

    id: Annotated[Name, Field(description=untrusted("Incident id"))]
    number: Annotated[Name, Field(description=untrusted("Number"))]
    title: Annotated[Line, Field(description=untrusted("One line for people"))]
    state: IncidentState
    priority: Priority
    impact: Level
    urgency: Level
    services: Annotated[Names, Field(description=untrusted("Services with an anomaly, the first affected first"))]
    neighbours: Annotated[Names, Field(description=untrusted("Services one call away"))]
    affected_users: Annotated[int | None, Field(description="Distinct users that felt it; null when not counted.")]
    affected_users_basis: Annotated[Line, Field(description=untrusted("How they were counted"))]
    started_at: AwareDatetime
    opened_at: AwareDatetime
    updated_at: AwareDatetime
    acknowledged_at: AwareDatetime | None
    resolved_at: AwareDatetime | None
    resolved_by: Annotated[Name, Field(description=untrusted("Who resolved it; empty while open"))]


class IncidentAnswer(Answer[AnomalyRow]):
    """The incident; its rows are its anomalies in order of start."""

    incident: IncidentShown
    leading_cause: Annotated[
        CauseShown | None, Field(description="Confirmed root cause, else the first hypothesis, else null.")
    ]
    hypotheses: Annotated[int, Field(description="How many get_investigation shows.")]
    remediation_runs: Annotated[int, Field(description="How many get_remediation_runs shows.")]
    timeline_entries: Annotated[int, Field(description="How many get_incident_timeline shows.")]


def _ask(sources: Sources, asked: IncidentArguments) -> IncidentAnswer:
    document = require_incident(sources.incidents, asked.incident)
    core, cause = document.incident, _cause(document)
    text = f"{core.number} is {core.state.value}, {core.priority.value}, with {len(core.anomalies)} anomalies"
    text += f" on {', '.join(core.services[:5]) or 'no service'}."
    if cause is not None:
        how = f"confirmed by {cause.confirmed_by}" if cause.confirmed_by else f"confidence {cause.confidence}"
        text += f" Cause: {cause.kind} in {cause.service} ({how})."
    rows = [_anomaly(one) for one in page_of(core.anomalies, asked)]
    found = Found(rows=rows, total=len(core.anomalies), summary=text, known=True)
    return answer(
        IncidentAnswer,
        asked,
        found,
        incident=_shown(document),
        leading_cause=cause,
        hypotheses=len(document.investigation.hypotheses) if document.investigation else 0,
        remediation_runs=len(document.remediation),
        timeline_entries=len(document.timeline),
    )


def _cause(document: IncidentDocument) -> CauseShown | None:
    known = document.root_cause
    if known is not None:
        return CauseShown(
            service=known.service,
            kind=known.kind,
            text=known.text,
            confidence=None,
            confirmed_by=known.confirmed_by,
            fixed_by=known.fixed_by,
        )
    if document.investigation is None or not document.investigation.hypotheses:
        return None
    first = document.investigation.hypotheses[0]
    return CauseShown(
        service=first.service,
        kind=first.kind.value,
        text=first.cause,
        confidence=first.confidence,
        confirmed_by="",
        fixed_by="",
    )


def _shown(document: IncidentDocument) -> IncidentShown:
    core = document.incident
    users = core.affected_users
    return IncidentShown(
        id=core.id,
        number=core.number,
        title=core.title,
        state=core.state,
        priority=core.priority,
        impact=core.impact,
        urgency=core.urgency,
        services=list(core.services),
        neighbours=list(core.neighbours),
        affected_users=users.count if users else None,
        affected_users_basis=users.basis if users else "",
        started_at=core.started_at,
        opened_at=core.opened_at,
        updated_at=core.updated_at,
        acknowledged_at=core.acknowledged_at,
        resolved_at=core.resolved_at,
        resolved_by=core.resolved_by or "",
    )


def _anomaly(one: AnomalyDetected) -> AnomalyRow:
    return AnomalyRow(
        service=one.service,
        peer=one.peer or "",
        signal=one.signal,
        metric=one.metric,
        statistic=one.statistic,
        unit=one.unit,
        attributes=dict(one.attributes),
        severity=one.severity,
        state=one.state,
        observed=one.observed,
        expected=one.expected,
        deviation=one.deviation,
        started_at=one.started_at,
        closed_at=one.closed_at,
        explanation=one.explanation,
        trace_ids=list(one.trace_ids),
    )


TOOL: Final = register(
    "incidents",
    Tool(
        name="get_incident",
        title="One incident",
        description="Read one incident ticket: state, priority, services, affected users, the leading or confirmed "
        "cause, and its anomalies (which signal of which service deviates, observed against expected, since when). "
        "Its counts say what get_investigation, get_remediation_runs and get_incident_timeline have more.",
        arguments=IncidentArguments,
        result=IncidentAnswer,
        ask=_ask,
    ),
)
