"""An incident as other services and teams see it: the compacted topic `incidents`, keyed by incident id."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from libs.contracts.anomaly import AnomalyDetected


class IncidentState(StrEnum):
    """ITIL states."""

    NEW = "new"
    IN_PROGRESS = "in_progress"
    ON_HOLD = "on_hold"
    RESOLVED = "resolved"
    CLOSED = "closed"
    CANCELED = "canceled"


OPEN_STATES = frozenset({IncidentState.NEW, IncidentState.IN_PROGRESS, IncidentState.ON_HOLD})


class Priority(StrEnum):
    """ITIL priority: impact x urgency, P1 first."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"
    P5 = "P5"


class Level(StrEnum):
    """Impact or urgency."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class IncidentChange(StrEnum):
    """What happened to the incident in this event."""

    OPENED = "opened"
    ANOMALY_ADDED = "anomaly_added"
    ANOMALY_UPDATED = "anomaly_updated"
    ANOMALY_CLOSED = "anomaly_closed"
    CONTEXT_ADDED = "context_added"
    ACKNOWLEDGED = "acknowledged"
    COMMENTED = "commented"
    INVESTIGATED = "investigated"
    REMEDIATED = "remediated"
    ROOT_CAUSE_CONFIRMED = "root_cause_confirmed"
    ON_HOLD = "on_hold"
    RESOLVED = "resolved"
    CLOSED = "closed"
    REOPENED = "reopened"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True, kw_only=True)
class AffectedUsers:
    """Who felt it.

    Attributes:
        count: Distinct users.
        basis: How they were counted, in words (which attribute, over which spans and window).
        sample: Some of their ids, at most 20.
    """

    count: int = 0
    basis: str = ""
    sample: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentChanged:
    """The newest state of an incident, with every anomaly that belongs to it.

    Attributes:
        id: Derived from the first anomaly's id.
        number: For people, INC-000042.
        version: Counts up by one with each change.
        change: What happened.
        title: One line for people.
        state: ITIL state.
        priority: P1 to P5, impact x urgency.
        impact: How far it reaches.
        urgency: How fast it hurts.
        services: Services with an anomaly, the first affected first.
        neighbours: Services one call away from `services`.
        fingerprint: Order-free tokens of what deviates, for finding similar incidents.
        anomalies: Newest state of each anomaly, in order of `started_at`.
        affected_users: Who felt it.
        started_at: Event time at which the first deviation began.
        opened_at: Event time at which the ticket was opened.
        updated_at: Event time of the newest fact in it.
        acknowledged_at: When a human took it.
        resolved_at: When it was resolved.
        resolved_by: Actor that resolved it: a person, "remediation", or "recovery" when the signals recovered alone.
        observed_at: Wall clock of this change.
    """

    id: str
    number: str
    version: int
    change: IncidentChange
    title: str
    state: IncidentState
    priority: Priority
    impact: Level
    urgency: Level
    services: tuple[str, ...]
    neighbours: tuple[str, ...] = ()
    fingerprint: tuple[str, ...] = ()
    anomalies: tuple[AnomalyDetected, ...] = ()
    affected_users: AffectedUsers | None = None
    started_at: datetime
    opened_at: datetime
    updated_at: datetime
    acknowledged_at: datetime | None = None
    resolved_at: datetime | None = None
    resolved_by: str | None = None
    observed_at: datetime
