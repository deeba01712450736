"""Decide: a pure function from a run, one fact and the moment to the next state of the run and what it asks for.

Production is changed by `Apply` and `Undo` alone. `Apply` is asked for only between a policy that allows it and the
executor's answer, never while halted, never after a rejection; what was asked for stays asked for across a restart,
under one idempotency key.
"""

from dataclasses import replace
from datetime import timedelta
from functools import singledispatch
from typing import Any, Final

from libs.contracts.incident import OPEN_STATES, IncidentChanged, IncidentState
from libs.contracts.remediation import Mode, RunState
from libs.errors import InvalidMessage
from libs.runbooks.actions import inverse_call
from services.remediation import decide_applied as applied
from services.remediation.facts import (
    AnomalySeen,
    Applied,
    Apply,
    Approved,
    Away,
    Capture,
    Captured,
    ChangedByOthers,
    CheckLive,
    Effect,
    Fact,
    IncidentSeen,
    Judge,
    Judged,
    Passed,
    Plan,
    Planned,
    Refused,
    Rejected,
    Restarted,
    Revised,
    Ruling,
    TakenOver,
    Undo,
    Undone,
    Verdict,
    WentLive,
)
from services.remediation.run import BEFORE_APPLY, Now, Phase, Run, Told, loads_of, move, watches

# How long policy may wait (for a surer hypothesis, a cooldown, another run) before a human is asked, event time.
PATIENCE_S: Final = 120.0
RECOVERED_BY: Final = frozenset({None, "recovery", "remediation"})


def decide(run: Run, fact: Fact, now: Now) -> tuple[Run, tuple[Effect, ...]]:
    """The run after a fact and what it asks for now; a fact that does not concern its phase changes nothing.

    Raises:
        InvalidMessage: a person asks for what the run's state does not allow.
    """
    after = _decide(fact, run, now)
    return after, wanted(after, now)


def wanted(run: Run, now: Now) -> tuple[Effect, ...]:
    """What a run asks the shell for, from its state alone: so nothing is forgotten when the service is killed."""
    if run.ended or (run.retry_at is not None and now.wall_at < run.retry_at):
        return ()
    if run.phase is Phase.CAPTURE:
        return (Capture(),)
    if run.phase is Phase.POLICY or (run.phase is Phase.APPLY and not run.in_doubt):
        return (Judge(),)
    if run.call is None:
        return ()
    if run.phase is Phase.LIVE:
        return (CheckLive(call=run.call),)
    if now.halted:
        return ()
    if run.phase is Phase.PLAN:
        return (Plan(call=run.call),)
    if run.phase is Phase.APPLY:
        return (Apply(call=run.call, key=f"{run.id}/apply"),)
    if run.phase is Phase.UNDO and run.undo is not None:
        return (Undo(call=run.undo, key=f"{run.id}/roll_back"),)
    return ()


@singledispatch
def _decide(fact: object, _run: Run, _now: Now) -> Run:
    raise TypeError(f"no decision for {type(fact).__name__}")


@_decide.register
def _(fact: Captured, run: Run, now: Now) -> Run:
    if run.phase is not Phase.CAPTURE:
        return run
    run = _answered(run)
    told = Told(step="capture_evidence", detail=fact.detection, reason="evidence captured")
    public: dict[str, Any] = {"detection": fact.detection}
    if fact.call is None:
        run = move(run, now, told, public=public)
        return _escalate(run, now, "policy", f"the fix cannot be worked out: {fact.problem}")
    public |= {"parameters": fact.call.parameters}
    return move(
        run,
        now,
        told,
        public=public,
        phase=Phase.POLICY,
        call=fact.call,
        neighbours=fact.neighbours,
        instances=fact.before.replicas,
    )


@_decide.register
def _(fact: Judged, run: Run, now: Now) -> Run:
    if run.phase not in (Phase.POLICY, Phase.APPLY) or run.in_doubt or run.ended:
        return run
    verdict = fact.verdict
    public: dict[str, Any] = {"mode": verdict.mode}
    if verdict.ruling is Ruling.WAIT:
        return _wait(run, verdict, now)
    if verdict.ruling is Ruling.DENY:
        return _escalate(run, now, "policy", verdict.reason)
    if verdict.ruling is Ruling.PROPOSE:
        what = run.call.text() if run.call else run.change.action
        told = Told(
            state=RunState.ESCALATED, step="policy", status="skipped", detail=verdict.reason,
            reason=f"proposal only: {what} ({verdict.reason})",
        )  # fmt: skip
        return move(run, now, told, public=public)
    if run.phase is Phase.POLICY:
        told = Told(step="policy", detail=verdict.reason, reason="policy allows it; asking for the plan")
        return move(run, now, told, public=public, phase=Phase.PLAN)
    if now.halted:
        return run
    if verdict.mode is Mode.APPROVE and not run.approved_by:
        return _ask_approval(run, now, run.change.reason)
    told = Told(state=RunState.RUNNING, reason="the executor was asked to apply it")
    public |= {"fix": run.call.text() if run.call else ""}
    return move(run, now, told, public=public, in_doubt=True, doubtful=False)


@_decide.register
def _(fact: Planned, run: Run, now: Now) -> Run:
    if run.phase is not Phase.PLAN or run.call is None:
        return run
    allowed, run = run.call, _answered(run)
    if fact.call != allowed:
        why = f"the executor plans {fact.call.text()} where policy allowed {allowed.text()}"
        return move(run, now, Told(state=RunState.FAILED, step="dry_run", status="failed", detail=why, reason=why))
    if not fact.changes:
        why = f"nothing to do: {fact.text}"
        return move(run, now, Told(state=RunState.CANCELED, step="dry_run", status="skipped", detail=why, reason=why))
    undo = inverse_call(allowed, run.inverse, fact.before)
    run = move(
        run, now, Told(step="dry_run", detail=fact.text, reason=f"plan: {fact.text}"), phase=Phase.APPLY, undo=undo
    )
    if run.change.mode is Mode.APPROVE and not run.approved_by:
        return _ask_approval(run, now, f"waits for a human: {fact.text}")
    return run


@_decide.register
def _(fact: Applied, run: Run, now: Now) -> Run:
    if run.phase is not Phase.APPLY or not run.in_doubt:
        return run
    return applied.on_applied(_answered(run), fact, now)


@_decide.register
def _(fact: WentLive, run: Run, now: Now) -> Run:
    return applied.on_live(_answered(run), fact.text, now) if run.phase is Phase.LIVE else run


@_decide.register
def _(fact: Undone, run: Run, now: Now) -> Run:
    return applied.on_undone(_answered(run), fact, now) if run.phase is Phase.UNDO else run


@_decide.register
def _(fact: Refused, run: Run, now: Now) -> Run:
    if run.phase in (Phase.LIVE, Phase.UNDO):
        return applied.on_refused(_answered(run), fact, now)
    if run.phase in (Phase.CAPTURE, Phase.PLAN, Phase.APPLY) and not run.ended:
        if run.doubtful:
            return applied.leave_unknown(run, now, f"the executor refuses to repeat it: {fact.reason}")
        step = {Phase.CAPTURE: "capture_evidence", Phase.PLAN: "dry_run"}.get(run.phase, "apply")
        why = f"the executor refuses: {fact.reason}"
        return move(run, now, Told(state=RunState.FAILED, step=step, status="failed", detail=fact.reason, reason=why))
    return run


@_decide.register
def _(fact: Away, run: Run, now: Now) -> Run:
    return applied.on_away(run, fact, now) if not run.ended else run


@_decide.register
def _(fact: AnomalySeen, run: Run, now: Now) -> Run:
    if run.ended or _untouched(run):
        return run  # before apply the incident tells which anomalies belong to it
    return applied.on_anomaly(run, fact, now)


@_decide.register
def _(fact: IncidentSeen, run: Run, now: Now) -> Run:
    if run.ended:
        return run
    incident = fact.incident
    by_human = ended_by_human(incident)
    if not _untouched(run):
        for anomaly in incident.anomalies:
            run = _decide(AnomalySeen(anomaly=anomaly, of_incident=True), run, now)
        return _touched(run, now, f"{by_human} ended the incident") if by_human and not run.ended else run
    if incident.state not in OPEN_STATES:
        why = f"the incident was {incident.state.value} before anything was applied"
        return _cancel(run, now, why, actor=by_human, human=bool(by_human))
    target, anomalies = run.change.target, incident.anomalies
    run = replace(run, watched=watches(target, anomalies), loads=loads_of(target, anomalies))
    if run.watched and all(watch.closed_at is not None for watch in run.required() if watch.trigger):
        return _cancel(run, now, "the anomalies closed before anything was applied")
    return run


@_decide.register
def _(fact: Revised, run: Run, now: Now) -> Run:
    if run.ended or not _untouched(run) or fact.revision <= run.revision:
        return run
    if fact.hypothesis is None:
        return _cancel(run, now, f"revision {fact.revision} of the investigation leads elsewhere: {fact.leader}")
    return replace(run, revision=fact.revision, hypothesis=fact.hypothesis, lead=fact.lead)


@_decide.register
def _(fact: ChangedByOthers, run: Run, now: Now) -> Run:
    if run.ended or run.change.applied_at is None:
        return run
    change = fact.change
    return _touched(run, now, f"{change.actor or 'somebody'} changed {change.service}: {change.summary}")


@_decide.register
def _(fact: Approved, run: Run, now: Now) -> Run:
    if fact.command_id in run.commands:
        return run
    if run.ended or not _untouched(run) or run.change.mode is not Mode.APPROVE or run.approved_by:
        raise InvalidMessage(f"run {run.id} is {run.change.state.value} ({run.change.mode}); it waits for no approval")
    text = f"approved by {fact.actor}{': ' if fact.reason else ''}{fact.reason}"
    told = Told(state=RunState.REQUESTED, step="approval", detail=text, reason=text, actor=fact.actor)
    phase = Phase.APPLY if run.phase is Phase.APPROVAL else run.phase
    commands = (*run.commands, fact.command_id)
    public = {"human_involved": True}
    # Policy's patience is for machines; a person may have taken long to decide.
    return move(
        run,
        now,
        told,
        public=public,
        phase=phase,
        approved_by=fact.actor,
        commands=commands,
        began_event_at=now.event_at,
    )


@_decide.register
def _(fact: Rejected, run: Run, now: Now) -> Run:
    if fact.command_id in run.commands:
        return run
    if run.ended or run.change.applied_at is not None:
        raise InvalidMessage(f"run {run.id} is {run.change.state.value}; it cannot be rejected any more")
    run = replace(run, commands=(*run.commands, fact.command_id))
    text = f"rejected by {fact.actor}{': ' if fact.reason else ''}{fact.reason}"
    if run.in_doubt:
        return applied.leave_unknown(run, now, text, actor=fact.actor)
    told = Told(
        state=RunState.CANCELED, step="approval", status="failed", detail=text, reason=text, actor=fact.actor
    )  # fmt: skip
    return move(run, now, told, public={"human_involved": True})


@_decide.register
def _(fact: TakenOver, run: Run, now: Now) -> Run:
    if run.ended or fact.command_id in run.commands:
        return run
    run = replace(run, commands=(*run.commands, fact.command_id))
    why = f"{fact.actor} {fact.what} the incident"
    if _untouched(run):
        return _cancel(run, now, f"{why} before anything was applied", actor=fact.actor, human=True)
    return _touched(run, now, why)


@_decide.register
def _(_fact: Restarted, run: Run, _now: Now) -> Run:
    return replace(run, doubtful=True) if run.in_doubt else run


@_decide.register
def _(_fact: Passed, run: Run, now: Now) -> Run:
    if run.ended:
        return run
    if run.in_doubt and now.halted:
        return applied.leave_unknown(run, now, now.halted)
    return applied.on_time(run, now)


def ended_by_human(incident: IncidentChanged) -> str:
    """The person that resolved or canceled an incident; "" when nobody did."""
    if incident.state in OPEN_STATES:
        return ""
    if incident.state is IncidentState.CANCELED:
        return incident.resolved_by or "a person"
    return "" if incident.resolved_by in RECOVERED_BY else incident.resolved_by or ""


def _untouched(run: Run) -> bool:
    return run.phase in BEFORE_APPLY and not run.in_doubt


def _answered(run: Run) -> Run:
    return replace(run, waiting_since=None, retry_at=None)


def _ask_approval(run: Run, now: Now, reason: str) -> Run:
    told = Told(
        state=RunState.AWAITING_APPROVAL, step="approval", status="waiting", detail="waits for a human", reason=reason
    )  # fmt: skip
    return move(run, now, told, phase=Phase.APPROVAL)


def _wait(run: Run, verdict: Verdict, now: Now) -> Run:
    if now.halted:  # a halt does not use up the patience; written twice a minute is often enough
        if now.event_at - run.began_event_at > timedelta(seconds=PATIENCE_S / 4):
            run = replace(run, began_event_at=now.event_at)
    elif now.event_at - run.began_event_at > timedelta(seconds=PATIENCE_S):
        why = f"{verdict.reason}; still so after {PATIENCE_S:.0f} s"
        return replace(_escalate(run, now, "policy", why), lapsed=True)
    if run.change.reason == verdict.reason:
        return run
    return move(run, now, Told(reason=verdict.reason), public={"mode": verdict.mode})


def _escalate(run: Run, now: Now, step: str, why: str) -> Run:
    run = move(run, now, Told(step=step, status="failed", detail=why, reason=why))
    return move(
        run, now, Told(state=RunState.ESCALATED, step="escalate", detail="left to a human", reason=why)
    )  # fmt: skip


def _cancel(run: Run, now: Now, why: str, *, actor: str = "", human: bool = False) -> Run:
    told = Told(state=RunState.CANCELED, reason=why, actor=actor or "policy")
    return move(run, now, told, public={"human_involved": run.change.human_involved or human})


def _touched(run: Run, now: Now, why: str) -> Run:
    """A person had a hand in it: the run goes on, but it is no automatic success any more."""
    if run.change.human_involved:
        return run
    return move(run, now, Told(reason=f"{run.change.reason}; {why}"), public={"human_involved": True})
