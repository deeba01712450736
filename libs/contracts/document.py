"""The incident document: what a ticket holds, in sections with one writing service each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from libs.contracts.incident import AffectedUsers, IncidentChanged
from libs.contracts.investigation import InvestigationCompleted, SimilarIncident
from libs.contracts.remediation import RemediationChanged
from libs.contracts.telemetry import ChangeEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSample:
    """A trace that shows the problem.

    Attributes:
        trace_id: Hex.
        root_service: Service of its first span.
        root_name: Name of its first span.
        started_at: Start of its first span.
        duration_s: From the first start to the last end.
        spans: How many spans.
        errors: How many with status error.
        services: Services it went through.
        reason: Why it was chosen: error, slow or exemplar.
    """

    trace_id: str
    root_service: str
    root_name: str
    started_at: datetime
    duration_s: float
    spans: int
    errors: int
    services: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSample:
    """A log record that belongs to the window of the incident.

    Attributes:
        timestamp: When it was written.
        service: service.name.
        severity: OTLP SeverityNumber.
        logger: Logger name.
        body: Message.
        trace_id: Hex, "" for none.
        count: How many records of the same pattern are in the window; 1 for a single record.
    """

    timestamp: datetime
    service: str
    severity: int
    logger: str = ""
    body: str = ""
    trace_id: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyEdge:
    """A call edge of the service graph around the incident.

    Attributes:
        caller: service.name.
        callee: service.name or external peer.
        calls: Calls in the window.
        errors: Failed ones among them.
    """

    caller: str
    callee: str
    calls: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentContext:
    """What ticketing gathers around the incident.

    Attributes:
        traces: Exemplar traces.
        logs: Log records and patterns of the window.
        changes: Changes shortly before and during it.
        topology: Call edges around the affected services.
        affected_users: Who felt it.
        similar_incidents: Past incidents that look alike.
    """

    traces: tuple[TraceSample, ...] = ()
    logs: tuple[LogSample, ...] = ()
    changes: tuple[ChangeEvent, ...] = ()
    topology: tuple[TopologyEdge, ...] = ()
    affected_users: AffectedUsers = field(default_factory=AffectedUsers)
    similar_incidents: tuple[SimilarIncident, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineEntry:
    """One line of the ticket's history.

    Attributes:
        id: Derived, so that a replay writes the same line once.
        at: When it happened (event time where it rests on telemetry).
        actor: Service or person.
        kind: anomaly, state, investigation, remediation, comment, decision or change.
        text: One line for people.
    """

    id: str
    at: datetime
    actor: str
    kind: str
    text: str


VERIFIED_FIX: Final = "verified_fix"


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCause:
    """The root cause as confirmed by a person or by a verified fix.

    Attributes:
        service: service.name in which the cause sits.
        kind: Kind of cause (see CauseKind).
        text: One line for people.
        confirmed_by: Actor, or "verified_fix".
        confirmed_at: When.
        fixed_by: What fixed it, "" when unknown.
    """

    service: str
    kind: str
    text: str
    confirmed_by: str
    confirmed_at: datetime
    fixed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkedTicket:
    """The same incident in another ticket system.

    Attributes:
        system: Name of the ticket backend.
        key: Key there.
        url: Address there.
    """

    system: str
    key: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentDocument:
    """Everything that is known of one incident.

    Attributes:
        incident: The core (written by ticketing).
        context: Traces, logs, changes, topology, users (ticketing).
        timeline: History, oldest first (ticketing).
        root_cause: Confirmed root cause (ticketing).
        tickets: Links to other ticket systems (ticketing).
        investigation: Newest investigation (investigator).
        remediation: Remediation runs, oldest first (remediation).
    """

    incident: IncidentChanged
    context: IncidentContext = field(default_factory=IncidentContext)
    timeline: tuple[TimelineEntry, ...] = ()
    root_cause: RootCause | None = None
    tickets: tuple[LinkedTicket, ...] = ()
    investigation: InvestigationCompleted | None = None
    remediation: tuple[RemediationChanged, ...] = ()


class Section(StrEnum):
    """Sections of the document; each has one writing service."""

    INCIDENT = "incident"
    CONTEXT = "context"
    TIMELINE = "timeline"
    ROOT_CAUSE = "root_cause"
    TICKETS = "tickets"
    INVESTIGATION = "investigation"
    REMEDIATION = "remediation"


SECTION_TYPES: Final[Mapping[Section, Any]] = {
    Section.INCIDENT: IncidentChanged,
    Section.CONTEXT: IncidentContext,
    Section.TIMELINE: tuple[TimelineEntry, ...],
    Section.ROOT_CAUSE: RootCause,
    Section.TICKETS: tuple[LinkedTicket, ...],
    Section.INVESTIGATION: InvestigationCompleted,
    Section.REMEDIATION: tuple[RemediationChanged, ...],
}
