"""Decide what an anomaly means for the incidents: open one, join one, change one, or nothing."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from libs.contracts.anomaly import AnomalyDetected, EpisodeState
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState, Level
from services.ticketing.episodes import affected_services, closed_at, counting, counts, fingerprint, is_open
from services.ticketing.grouping import incident_for, is_recurrence
from services.ticketing.lifecycle import is_over, reopened
from services.ticketing.narrative import anomaly_entry, describe, opening_reason, title
from services.ticketing.priority import higher, impact_of, priority, urgency_of
from services.ticketing.ticket import Change, State, Surroundings, Tracked, incident_id, step

# Keeps an incident that flaps for a day below a message of about 300 kB; closed anomalies go first.
MOST_ANOMALIES: Final = 200
# Closed anomalies younger than this stay whatever their number: they may still be redelivered or recur.
_KEEP_CLOSED: Final = timedelta(minutes=10)

Decision = tuple[State, tuple[Change, ...]]


def on_anomaly(state: State, anomaly: AnomalyDetected, around: Surroundings) -> Decision:
    """Open, join or change an incident; an anomaly that is known with this sequence or a later one changes nothing."""
    holder = state.holder_of(anomaly.id)
    if holder is not None:
        return _update(state, holder, anomaly, around)
    cores = [tracked.core for tracked in state.incidents.values()]
    found = incident_for(anomaly, cores, around)
    if found is not None:
        return _join(state, state.incidents[found], anomaly, around)
    if not counts(anomaly):
        return state, ()
    return _open(state, anomaly, around)


def _open(state: State, anomaly: AnomalyDetected, around: Surroundings) -> Decision:
    identity = incident_id(anomaly.id)
    blank = IncidentChanged(
        id=identity,
        number="",
        version=0,
        change=IncidentChange.OPENED,
        title="",
        state=IncidentState.NEW,
        priority=priority(Level.LOW, Level.LOW),
        impact=Level.LOW,
        urgency=Level.LOW,
        services=(),
        started_at=anomaly.started_at,
        opened_at=anomaly.detected_at,
        updated_at=anomaly.updated_at,
        observed_at=around.observed_at,
    )
    opened, change = step(
        Tracked(core=blank),
        assemble(blank, (anomaly,), around),
        IncidentChange.OPENED,
        around,
        why=opening_reason(anomaly),
        entries=(anomaly_entry(identity, anomaly),),
        anomaly_ids=(anomaly.id,),
    )
    return state.with_(opened), (change,)


def _join(state: State, tracked: Tracked, anomaly: AnomalyDetected, around: Surroundings) -> Decision:
    core = tracked.core
    again = is_recurrence(anomaly, core)
    grown = assemble(core, (*core.anomalies, anomaly), around)
    kind = IncidentChange.ANOMALY_ADDED
    why = "the same signal returned" if again else "near in time and in the call graph"
    if is_over(core) and counts(anomaly) and is_open(anomaly) and not (again and _dismissed(core)):
        kind, why = IncidentChange.REOPENED, f"{why} after the incident was {core.state.value}"
        grown = reopened(grown)
    joined, change = step(
        replace(tracked, context_due=tracked.context_due or counts(anomaly)),
        grown,
        kind,
        around,
        why=f"{why}: {describe(anomaly)}",
        entries=(anomaly_entry(core.id, anomaly),),
        anomaly_ids=(anomaly.id,),
    )
    return state.with_(joined), (change,)


def _dismissed(core: IncidentChanged) -> bool:
    """A person said that this signal is no incident; its return says nothing new."""
    return core.state is IncidentState.CANCELED


def _update(state: State, tracked: Tracked, anomaly: AnomalyDetected, around: Surroundings) -> Decision:
    core = tracked.core
    known = next(one for one in core.anomalies if one.id == anomaly.id)
    if anomaly.sequence <= known.sequence:
        return state, ()
    anomalies = tuple(anomaly if one.id == anomaly.id else one for one in core.anomalies)
    closing = anomaly.state is EpisodeState.CLOSED
    promoted = counts(anomaly) and not counts(known)
    updated, change = step(
        replace(tracked, context_due=tracked.context_due or promoted),
        assemble(core, anomalies, around),
        IncidentChange.ANOMALY_CLOSED if closing else IncidentChange.ANOMALY_UPDATED,
        around,
        why=f"{'back in its band' if closing else 'deviates further'}: {describe(anomaly)}",
        entries=(anomaly_entry(core.id, anomaly),),
        anomaly_ids=(anomaly.id,),
    )
    return state.with_(updated), (change,)


def assemble(core: IncidentChanged, anomalies: tuple[AnomalyDetected, ...], around: Surroundings) -> IncidentChanged:
    """The core with these anomalies and everything that follows from them; impact and urgency never fall."""
    anomalies = bounded(tuple(sorted(anomalies, key=lambda a: (a.started_at, a.service, a.metric, a.id))))
    services = affected_services(anomalies)
    callees = {anomaly.peer for anomaly in counting(anomalies) if anomaly.peer}
    grown = replace(
        core,
        title=title(anomalies),
        services=services,
        neighbours=tuple(sorted((around.graph.around(services) | callees) - frozenset(services))),
        fingerprint=fingerprint(anomalies),
        anomalies=anomalies,
        started_at=min(core.started_at, *(anomaly.started_at for anomaly in counting(anomalies))),
        updated_at=max(core.updated_at, *(anomaly.updated_at for anomaly in anomalies)),
    )
    return rated(grown, impact_of(anomalies, around.graph))


def rated(core: IncidentChanged, impact: Level) -> IncidentChanged:
    """The core with its levels raised where they rose, and the priority that follows."""
    impact, urgency = higher(core.impact, impact), higher(core.urgency, urgency_of(core))
    return replace(core, impact=impact, urgency=urgency, priority=priority(impact, urgency))


def bounded(anomalies: tuple[AnomalyDetected, ...]) -> tuple[AnomalyDetected, ...]:
    """At most 200 anomalies: the oldest closed ones are left out, never the first, an open or a recent one."""
    surplus = len(anomalies) - MOST_ANOMALIES
    if surplus <= 0:
        return anomalies
    recent = max(anomaly.updated_at for anomaly in anomalies) - _KEEP_CLOSED
    old = [a for a in anomalies[1:] if (closed_at(a) or a.updated_at) < recent and not is_open(a)]
    dropped = {anomaly.id for anomaly in old[:surplus]}
    return tuple(anomaly for anomaly in anomalies if anomaly.id not in dropped)
