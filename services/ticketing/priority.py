"""Priority by the ITIL matrix: how far an incident reaches (impact) times how fast it hurts (urgency).

Impact     high    a service at the entry deviates in latency, errors or silence; or a quarter of the active users and
                   at least five of them felt it; or four services deviate
           medium  two services deviate, or a twentieth of the active users felt it
           low     otherwise
Urgency    high    an open anomaly is critical; or a fast error-budget burn; or it is high and the incident grows
           medium  an open anomaly is high; or it is medium and the incident grows
           low     otherwise
An incident grows when a service joined it after it was opened. Both levels rise by themselves and never fall: the
reader of a ticket is not to find yesterday's P1 as a P4; a person lowers it by resolving it.

Source: ITIL 4, incident management practice: priority from impact and urgency.
"""

from collections.abc import Mapping
from typing import Final

from libs.contracts.anomaly import AnomalyDetected, Severity, Signal
from libs.contracts.incident import IncidentChanged, Level, Priority
from services.ticketing.episodes import affected_services, counting, is_open, severity_rank
from services.ticketing.graph import CallGraph

_FELT_AT_ENTRY: Final = frozenset({Signal.LATENCY, Signal.ERRORS, Signal.SILENCE})
_MANY_SERVICES: Final = 4
_SOME_SERVICES: Final = 2
_HIGH_USER_SHARE: Final = 0.25
_MEDIUM_USER_SHARE: Final = 0.05
_LEAST_USERS: Final = 5
_BURN_DETECTOR: Final = "burn_rate"
_RANK: Final = {Level.LOW: 0, Level.MEDIUM: 1, Level.HIGH: 2}
_LEVELS: Final = (Level.LOW, Level.MEDIUM, Level.HIGH)

MATRIX: Final[Mapping[tuple[Level, Level], Priority]] = {
    (Level.HIGH, Level.HIGH): Priority.P1,
    (Level.HIGH, Level.MEDIUM): Priority.P2,
    (Level.HIGH, Level.LOW): Priority.P3,
    (Level.MEDIUM, Level.HIGH): Priority.P2,
    (Level.MEDIUM, Level.MEDIUM): Priority.P3,
    (Level.MEDIUM, Level.LOW): Priority.P4,
    (Level.LOW, Level.HIGH): Priority.P3,
    (Level.LOW, Level.MEDIUM): Priority.P4,
    (Level.LOW, Level.LOW): Priority.P5,
}


def priority(impact: Level, urgency: Level) -> Priority:
    """P1 to P5 from the matrix."""
    return MATRIX[impact, urgency]


def higher(one: Level, other: Level) -> Level:
    """The higher of two levels."""
    return max(one, other, key=lambda level: _RANK[level])


def impact_of(anomalies: tuple[AnomalyDetected, ...], graph: CallGraph) -> Level:
    """How far the anomalies reach, by services alone: users are counted after the ticket is open."""
    services = affected_services(anomalies)
    at_entry = any(a.signal in _FELT_AT_ENTRY and graph.is_entry(a.service) for a in counting(anomalies))
    if at_entry or len(services) >= _MANY_SERVICES:
        return Level.HIGH
    return Level.MEDIUM if len(services) >= _SOME_SERVICES else Level.LOW


def impact_of_users(affected: int, active: int) -> Level:
    """How far it reaches, by users who felt it among those active in the same window."""
    if affected < _LEAST_USERS or active < 1:
        return Level.LOW
    share = affected / active
    if share >= _HIGH_USER_SHARE:
        return Level.HIGH
    return Level.MEDIUM if share >= _MEDIUM_USER_SHARE else Level.LOW


def urgency_of(incident: IncidentChanged) -> Level:
    """How fast it hurts, by the anomalies that are open."""
    live = [anomaly for anomaly in counting(incident.anomalies) if is_open(anomaly)]
    if not live:
        return Level.LOW
    rank = max(severity_rank(anomaly.severity) for anomaly in live) - severity_rank(Severity.MEDIUM)
    burning = any(a.detector == _BURN_DETECTOR and severity_rank(a.severity) >= 2 for a in live)
    if burning:
        return Level.HIGH
    return _LEVELS[min(2, rank + _grows(incident))]


def _grows(incident: IncidentChanged) -> bool:
    early = {a.service for a in counting(incident.anomalies) if a.detected_at <= incident.opened_at}
    return any(a.service not in early for a in counting(incident.anomalies))
