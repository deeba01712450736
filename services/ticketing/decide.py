"""Decide: a pure function from the state and one event to the next state and the changes to make."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.command import Command
from libs.contracts.document import VERIFIED_FIX, RootCause, TimelineEntry
from libs.contracts.incident import IncidentChange, IncidentState
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.remediation import RunState
from libs.contracts.telemetry import ChangeEvent
from services.ticketing.decide_anomaly import Decision, on_anomaly, rated
from services.ticketing.decide_command import on_command
from services.ticketing.episodes import counting, is_open, quiet_since
from services.ticketing.facts import Fact, Gathered, Passed, Remediated
from services.ticketing.lifecycle import ACTIVE_RUNS, CLOSE_AFTER, is_over
from services.ticketing.narrative import change_entry, investigation_text, run_text
from services.ticketing.priority import impact_of_users
from services.ticketing.ticket import ACTOR, State, Surroundings, Tracked, entry_id, gathered, step

# Changes up to this long before the first deviation are told: a leak or a slow roll-out takes its time to show.
CHANGES_BEFORE: Final = timedelta(minutes=30)
REMEDIATION: Final = "remediation"
RECOVERY: Final = "recovery"
_WORKED_ON: Final = ACTIVE_RUNS


def decide(state: State, event: Fact, around: Surroundings) -> Decision:
    """The next state and the changes to make, in order; what was decided before changes nothing.

    Raises:
        InvalidMessage: the event names an incident that does not exist, or asks for what its state does not allow.
    """
    match event:
        case AnomalyDetected():
            return on_anomaly(state, event, around)
        case Command():
            return on_command(state, event, around)
        case InvestigationCompleted():
            return _on_investigation(event, state, around)
        case Remediated():
            return _on_run(event, state, around)
        case ChangeEvent():
            return _on_change(event, state, around)
        case Gathered():
            return _on_gathered(event, state, around)
        case Passed():
            return _on_passed(event, state, around)


def _on_investigation(event: InvestigationCompleted, state: State, around: Surroundings) -> Decision:
    tracked = state.incidents.get(event.incident_id)
    entry = entry_id(event.incident_id, "investigation", event.id)
    if tracked is None or tracked.tells(entry):
        return state, ()
    text = investigation_text(event)
    line = TimelineEntry(id=entry, at=event.as_of, actor="investigator", kind="investigation", text=text)
    after, change = step(
        tracked, tracked.core, IncidentChange.INVESTIGATED, around, why=text, actor="investigator", entries=(line,)
    )
    return state.with_(after), (change,)


def _on_run(event: Remediated, state: State, around: Surroundings) -> Decision:
    run = event.run
    tracked = state.incidents.get(run.incident_id)
    entry = entry_id(run.incident_id, "run", run.id, run.version)
    if tracked is None or tracked.tells(entry):
        return state, ()
    text = run_text(run)
    line = TimelineEntry(id=entry, at=run.updated_at, actor=run.actor, kind="remediation", text=text)
    tracked = replace(tracked, runs={**tracked.runs, run.id: run.state})
    core, kind, cause = tracked.core, IncidentChange.REMEDIATED, None
    if core.state is IncidentState.NEW and run.state in _WORKED_ON:
        core = replace(core, state=IncidentState.IN_PROGRESS)
    if run.state is RunState.SUCCEEDED and tracked.root_cause is None:
        cause = _verified_cause(event)
    if run.state is RunState.SUCCEEDED and not is_over(core):
        kind = IncidentChange.RESOLVED
        core = replace(core, state=IncidentState.RESOLVED, resolved_at=run.updated_at, resolved_by=REMEDIATION)
        left = sum(is_open(anomaly) for anomaly in counting(core.anomalies))
        text += f"; anomalies still open: {left}" if left else ""
    after, change = step(tracked, core, kind, around, why=text, actor=run.actor, entries=(line,), root_cause=cause)
    return state.with_(after), (change,)


def _verified_cause(event: Remediated) -> RootCause | None:
    """What a verified fix proves: the cause that it was applied for."""
    found, run = event.hypothesis, event.run
    if found is None:
        return None
    return RootCause(
        service=found.service,
        kind=found.kind.value,
        text=found.cause,
        confirmed_by=VERIFIED_FIX,
        confirmed_at=run.updated_at,
        fixed_by=run.fix or f"{run.action} on {run.target}",
    )


def _on_change(event: ChangeEvent, state: State, around: Surroundings) -> Decision:
    """Tell a change in every open incident that it is near to; it may be the cause, or somebody's fix."""
    told = []
    for tracked in list(state.incidents.values()):
        core = tracked.core
        near = event.service in core.services or event.service in core.neighbours
        line = change_entry(core, event)
        if is_over(core) or not near or event.timestamp < core.started_at - CHANGES_BEFORE or tracked.tells(line.id):
            continue
        after, change = step(
            replace(tracked, context_due=True),
            core,
            IncidentChange.CONTEXT_ADDED,
            around,
            why=line.text,
            entries=(line,),
        )
        state = state.with_(after)
        told.append(change)
    return state, tuple(told)


def _on_gathered(event: Gathered, state: State, around: Surroundings) -> Decision:
    tracked = state.incidents[event.incident_id]
    users = event.context.affected_users
    core = replace(tracked.core, affected_users=users)
    core = rated(core, impact_of_users(users.count, event.active_users))
    why = f"surroundings gathered up to {event.until:%H:%M:%S} UTC: {users.count} users affected"
    lines = tuple(change_entry(core, change) for change in event.context.changes)
    after, change = step(
        gathered(tracked, event.until),
        core,
        IncidentChange.CONTEXT_ADDED,
        around,
        why=why,
        entries=lines,
        context=event.context,
    )
    return state.with_(after), (replace(change, gathered_until=event.until),)


def _on_passed(event: Passed, state: State, around: Surroundings) -> Decision:
    told = []
    for tracked in list(state.incidents.values()):
        due = _due(tracked, event.watermark, around.correlation_s)
        if due is None:
            continue
        core, kind, why = tracked.core, *due
        at = event.watermark
        if kind is IncidentChange.RESOLVED:
            at = _recovered_at(tracked, around.correlation_s) or event.watermark
            core = replace(core, state=IncidentState.RESOLVED, resolved_at=at, resolved_by=RECOVERY)
        else:
            at = (core.resolved_at or event.watermark) + CLOSE_AFTER
            core = replace(core, state=IncidentState.CLOSED)
        line = TimelineEntry(
            id=entry_id(core.id, kind.value, at.isoformat()), at=at, actor=ACTOR, kind="state", text=why
        )
        after, change = step(tracked, core, kind, around, why=why, entries=(line,))
        state = state.with_(after)
        told.append(change)
    return state, tuple(told)


def _due(tracked: Tracked, watermark: datetime, correlation_s: float) -> tuple[IncidentChange, str] | None:
    """What time alone does to an incident: recovery, and closing a day after it was resolved."""
    core = tracked.core
    if core.state is IncidentState.RESOLVED and core.resolved_at and core.resolved_at + CLOSE_AFTER <= watermark:
        return IncidentChange.CLOSED, "closed a day after it was resolved"
    recovered = _recovered_at(tracked, correlation_s)
    if core.state in (IncidentState.NEW, IncidentState.IN_PROGRESS) and recovered and recovered <= watermark:
        return IncidentChange.RESOLVED, f"every signal has stayed in its band for {correlation_s:.0f} s"
    return None


def _recovered_at(tracked: Tracked, correlation_s: float) -> datetime | None:
    quiet = quiet_since(tracked.core)
    if quiet is None or any(run in ACTIVE_RUNS for run in tracked.runs.values()):
        return None
    return quiet + timedelta(seconds=correlation_s)
