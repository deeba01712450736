"""Which incident an anomaly belongs to: pure, on event time and topology alone, blind to what people did.

An anomaly belongs to an incident when it is its recurrence, or when both are near in time and in the call graph. It
never looks at the ITIL state, so that a recording without its people and fixes groups the same way. Where several
incidents match, the one that opened first takes it; nothing is merged afterwards. A service that deviates after it was
changed, in the middle of an incident that had stopped growing, is a new disruption: one ticket would hide its cause.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.contracts.anomaly import AnomalyDetected, Signal
from libs.contracts.incident import IncidentChanged
from services.ticketing.episodes import closed_at, counting
from services.ticketing.graph import CallGraph

# One evaluation window of the detector (5 s by default): the cause may close in the window before its echo starts.
ECHO_S: Final = 5.0
# A signal that returns within this time after it closed never recovered; an episode closes after 15 s of quiet, and
# a flapping cause (a restart that helps for some seconds) comes back within about as long again.
RECURRENCE_S: Final = 30.0
# The same for telemetry that comes at intervals: an episode closes after two or three normal points, so three.
_RECURRENCE_WINDOWS: Final = 3.0
# When a deviation began is read off the interval it was seen in. Two that began at one moment are found up to one
# interval apart, and a scrape's jitter more, so nearness in time is never judged finer than two intervals.
_CORRELATION_WINDOWS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearby:
    """What grouping knows around an anomaly.

    Attributes:
        graph: Calls between services.
        deviating: Services known to deviate now; they carry a relation over two calls.
        changed_at: When people or systems other than Paramedic changed the anomaly's service or callee lately.
        correlation_s: Longest time between starts of deviations of one incident.
    """

    graph: CallGraph
    deviating: frozenset[str] = frozenset()
    changed_at: tuple[datetime, ...] = ()
    correlation_s: float


def incident_for(anomaly: AnomalyDetected, incidents: Iterable[IncidentChanged], nearby: Nearby) -> str | None:
    """Id of the incident that an anomaly belongs to, or None.

    Args:
        anomaly: One that belongs to no incident yet.
        incidents: Incidents that it may belong to.
        nearby: What surrounds the anomaly.
    """
    matching = [
        (incident.opened_at, incident.id)
        for incident in incidents
        if is_recurrence(anomaly, incident)
        or (
            near_in_time(anomaly, incident, nearby.correlation_s)
            and near_in_graph(anomaly, incident, nearby.graph, nearby.deviating)
            and not changed_since(anomaly, incident, nearby.changed_at)
        )
    ]
    return min(matching)[1] if matching else None


def changed_since(anomaly: AnomalyDetected, incident: IncidentChanged, changed_at: Iterable[datetime]) -> bool:
    """Whether a change lies between everything that the incident shows and the anomaly: then it has a cause of its own.

    The first deviation of every signal counts: one that returns shows nothing new, and may be what the change did. A
    change within two windows of one of them may be what the incident is about, so it separates nothing.
    """
    first: dict[tuple[str, str | None, Signal], AnomalyDetected] = {}
    for known in counting(incident.anomalies):
        held = first.setdefault((known.service, known.peer, known.signal), known)
        if known.started_at < held.started_at:
            first[known.service, known.peer, known.signal] = known
    if not first:
        return False
    newest = max(known.started_at for known in first.values())
    width_s = max(ECHO_S, anomaly.window_s, *(known.window_s for known in first.values()))
    return any(
        _seconds(newest, moment) > _CORRELATION_WINDOWS * width_s
        and _seconds(moment, anomaly.started_at) >= -anomaly.window_s
        for moment in changed_at
    )


def is_recurrence(anomaly: AnomalyDetected, incident: IncidentChanged) -> bool:
    """Whether the same signal of the same service (or call edge) closed in this incident less than 30 s before."""
    for known in counting(incident.anomalies):
        closed = closed_at(known)
        if closed is None or (known.service, known.peer, known.signal) != (
            anomaly.service,
            anomaly.peer,
            anomaly.signal,
        ):
            continue
        patience_s = max(RECURRENCE_S, _RECURRENCE_WINDOWS * known.window_s)
        if known.started_at <= anomaly.started_at and _seconds(closed, anomaly.started_at) < patience_s:
            return True
    return False


def near_in_time(anomaly: AnomalyDetected, incident: IncidentChanged, correlation_s: float) -> bool:
    """Whether the incident was alive when the anomaly started, and its deviations started close enough to it."""
    known = counting(incident.anomalies)
    starts = [one.started_at for one in known]
    reach_s = reach((anomaly, *known), correlation_s)
    if not starts or _seconds(max(starts), anomaly.started_at) > reach_s:
        return False
    if _seconds(anomaly.started_at, min(starts)) > reach_s:
        return False
    return any(_alive_at(one, anomaly.started_at) for one in known)


def reach(anomalies: Iterable[AnomalyDetected], correlation_s: float) -> float:
    """Longest time in seconds between starts of deviations of one incident, as finely as their windows can tell."""
    return max(correlation_s, _CORRELATION_WINDOWS * max((one.window_s for one in anomalies), default=0.0))


def _alive_at(known: AnomalyDetected, moment: datetime) -> bool:
    closed = closed_at(known)
    return closed is None or _seconds(closed, moment) < max(ECHO_S, known.window_s)


def near_in_graph(
    anomaly: AnomalyDetected, incident: IncidentChanged, graph: CallGraph, deviating: frozenset[str]
) -> bool:
    """Whether anomaly and incident share a service, are one call apart, or two with a deviating service between.

    The callee of a call edge that deviates belongs to the incident as much as its caller: it may never report itself.
    """
    ends, members = ends_of(anomaly), _members(incident)
    reach = frozenset().union(*(ends_of(known) for known in counting(incident.anomalies)))
    if ends & reach or graph.around(ends) & reach:
        return True
    between = graph.around(ends) & graph.around(members)
    return bool(between & (deviating | _touched(incident)))


def undecided(
    anomaly: AnomalyDetected, incidents: Sequence[IncidentChanged], graph: CallGraph, correlation_s: float
) -> frozenset[str]:
    """Services whose own deviation would tie the anomaly to an incident two calls away, and is not known yet.

    The anomaly of the service between may still be under way on another partition; asking telemetry about it keeps the
    outcome independent of which of the three arrives first.
    """
    wanted: frozenset[str] = frozenset()
    ends = ends_of(anomaly)
    for incident in incidents:
        members = _members(incident)
        if near_in_time(anomaly, incident, correlation_s) and not near_in_graph(anomaly, incident, graph, frozenset()):
            wanted |= graph.around(ends) & graph.around(members)
    return wanted


def deviating_in(anomalies: Iterable[AnomalyDetected], moment: datetime, correlation_s: float) -> frozenset[str]:
    """Services and callees that some known anomaly, low ones too, shows to deviate around a moment."""
    span = timedelta(seconds=correlation_s)
    found: set[str] = set()
    for anomaly in anomalies:
        if abs(anomaly.started_at - moment) <= span and _alive_at(anomaly, moment):
            found |= ends_of(anomaly)
    return frozenset(found)


def ends_of(anomaly: AnomalyDetected) -> frozenset[str]:
    """The service, and the callee of a call edge: the anomaly's own peer counts as an edge."""
    return frozenset({anomaly.service, anomaly.peer} if anomaly.peer else {anomaly.service})


def _members(incident: IncidentChanged) -> frozenset[str]:
    return frozenset(anomaly.service for anomaly in counting(incident.anomalies))


def _touched(incident: IncidentChanged) -> frozenset[str]:
    return frozenset().union(*(ends_of(anomaly) for anomaly in incident.anomalies))


def _seconds(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()
