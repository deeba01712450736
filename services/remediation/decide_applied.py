"""Decide what follows once production was changed: live, verified, held, or rolled back and handed to a human."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from libs.contracts.anomaly import AnomalyDetected, EpisodeState
from libs.contracts.remediation import RunState
from services.remediation.facts import AnomalySeen, Applied, Away, Refused, Undone
from services.remediation.run import WORSE_THAN_LOW, Now, Phase, Run, Told, Watch, is_load, move, watch_of

# An executor answers when the change is live; one that only accepts it gets this long, wall clock.
LIVE_S: Final = 120.0
# An executor that does not answer this long, wall clock, is a reason to call a human.
EXECUTOR_PATIENCE_S: Final = 120.0
RETRY_FIRST_S: Final = 0.5
RETRY_LAST_S: Final = 30.0
# Telemetry that stands still: give up on it when the wall clock has passed this many times the wait in event time.
WALL_FACTOR: Final = 2.0
WALL_SLACK_S: Final = 60.0


def on_applied(run: Run, fact: Applied, now: Now) -> Run:
    """The executor has carried it out."""
    triggers = [watch for watch in run.required() if watch.trigger]
    still_open = [watch for watch in triggers if watch.closed_at is None]
    public = {"applied_at": now.wall_at, "anomaly_ids": tuple(watch.id for watch in still_open or triggers)}
    told = Told(step="apply", detail=fact.text, reason="applied; waiting until it is live")
    run = move(run, now, told, public=public, phase=Phase.LIVE, in_doubt=False)
    return on_live(run, fact.text, now) if fact.live else run


def on_live(run: Run, text: str, now: Now) -> Run:
    """The executor reports the change as live."""
    told = Told(
        state=RunState.VERIFYING, step="deploy", detail=text, reason=f"live; waiting for {_open_text(run)} to close"
    )
    run = move(run, now, told, public={"deploy": text}, phase=Phase.VERIFY, live_at=now.wall_at)
    return on_time(run, now)


def on_undone(run: Run, fact: Undone, now: Now) -> Run:
    """The inverse was carried out: a human takes over."""
    why = run.change.reason
    run = move(run, now, Told(step="roll_back", detail=fact.text))
    told = Told(state=RunState.ROLLED_BACK, step="escalate", detail="left to a human", reason=f"{why}; rolled back")
    return move(run, now, told)


def on_refused(run: Run, fact: Refused, now: Now) -> Run:
    """The executor refuses to say whether it is live, or to roll back."""
    if run.phase is Phase.LIVE:
        return fail(run, now, "deploy", f"the executor lost the change: {fact.reason}")
    return _give_up(run, now, "roll_back", f"{run.change.reason}; the roll back was refused: {fact.reason}")


def on_away(run: Run, fact: Away, now: Now) -> Run:
    """The executor does not answer: try again, ever later, then call a human."""
    since = run.waiting_since or now.wall_at
    waited_s = (now.wall_at - since).total_seconds()
    if run.phase is Phase.APPLY and run.in_doubt:
        doubtful = run.doubtful or fact.carried_out
        run = replace(run, doubtful=doubtful, in_doubt=doubtful)
    if waited_s >= EXECUTOR_PATIENCE_S:
        return _without_executor(run, now, f"the executor has not answered for {waited_s:.0f} s: {fact.reason}")
    retry_at = now.wall_at + timedelta(seconds=min(RETRY_LAST_S, max(RETRY_FIRST_S, waited_s)))
    if run.waiting_since is None:
        run = move(run, now, Told(reason=f"{run.change.reason}; held, the executor does not answer: {fact.reason}"))
    return replace(run, waiting_since=since, retry_at=retry_at)


def leave_unknown(run: Run, now: Now, why: str, *, actor: str = "policy") -> Run:
    """It cannot be known whether it was applied: a human looks, and it counts as applied and not as a success."""
    why = f"{why}; whether {run.change.fix} was applied is not known"
    told = Told(step="apply", status="failed", detail=why, reason=why, actor=actor)
    run = move(run, now, told, public={"applied_at": now.wall_at, "human_involved": True})
    return _give_up(run, now, "", why)


def on_anomaly(run: Run, fact: AnomalySeen, now: Now) -> Run:
    """An anomaly changed while a change is on its way, verified or held."""
    anomaly = fact.anomaly
    known = next((watch for watch in run.watched if watch.id == anomaly.id), None)
    if known is not None:
        if anomaly.sequence <= known.sequence:
            return run
        newest = replace(watch_of(run.change.target, anomaly), trigger=known.trigger)
        if run.phase is Phase.HOLD and known.closed_at is not None and newest.closed_at is None and newest.trigger:
            return fail(
                _with(run, newest), now, "hold", f"it came back within the hold: {_said(anomaly)}", recurred=True
            )
        run = _with(run, newest)
        return _verify(run, now) if run.phase is Phase.VERIFY else run
    if is_load(anomaly):
        return _with_load(run, watch_of(run.change.target, anomaly), now)
    if anomaly.severity not in WORSE_THAN_LOW:
        return run
    if not _is_new(run, anomaly):
        # Late news of the same trouble: it has to close as well.
        return _with(run, watch_of(run.change.target, anomaly)) if fact.of_incident else run
    return _on_new(run, anomaly, now)


def _with_load(run: Run, load: Watch, now: Now) -> Run:
    """Somebody serves more requests than usual, or does no longer."""
    known = next((one for one in run.loads if one.id == load.id), None)
    if known is not None and load.sequence <= known.sequence:
        return run
    run = replace(run, loads=(*(one for one in run.loads if one.id != load.id), load))
    return _verify(run, now) if run.phase is Phase.VERIFY else run


def _is_new(run: Run, anomaly: AnomalyDetected) -> bool:
    """Whether it began after the change was live, beyond the window that still mixes before and after."""
    if run.live_at is None:
        return False
    return anomaly.started_at > run.live_at + timedelta(seconds=run.limits.settle_s)


def _on_new(run: Run, anomaly: AnomalyDetected, now: Now) -> Run:
    watch = watch_of(run.change.target, anomaly)
    on_target = anomaly.service == run.change.target
    on_neighbour = anomaly.service in run.neighbours and not on_target
    ahead = run.phase is Phase.VERIFY
    if ahead and (on_target or watch.signature in {known.signature for known in run.watched}):
        return _with(run, watch)  # the same trouble flares up again before it was over: it has to close as well
    if run.phase is Phase.HOLD and on_target:
        if run.hold_until is not None and anomaly.started_at >= run.hold_until:
            return run
        why = f"it came back within the hold: {_said(anomaly)}"
        return fail(run, now, "hold", why, recurred=True)
    if run.phase in (Phase.VERIFY, Phase.HOLD) and on_neighbour and run.limits.neighbours:
        if run.hold_until is not None and anomaly.started_at >= run.hold_until:
            return run
        if run.goes_with_load(watch):
            return _with(run, watch)  # it has more to do than usual, and the fix lets more through to it
        step = "verify" if ahead else "hold"
        return fail(run, now, step, f"neighbour {anomaly.service} broke after the fix: {_said(anomaly)}")
    return run


def on_time(run: Run, now: Now) -> Run:
    """What time alone does to a run that changed production."""
    if run.phase is Phase.LIVE and now.wall_at - run.phase_since > timedelta(seconds=LIVE_S):
        return fail(run, now, "deploy", f"not live {LIVE_S:.0f} s after it was applied")
    if run.phase is Phase.UNDO and now.halted:
        return _give_up(run, now, "roll_back", f"{run.change.reason}; not rolled back: {now.halted}")
    if run.phase is Phase.VERIFY:
        return _verify(run, now)
    if run.phase is Phase.HOLD:
        return _hold(run, now)
    return run


def _verify(run: Run, now: Now) -> Run:
    required = run.required()
    still_open = [watch for watch in required if watch.closed_at is None]
    if not still_open and run.live_at is not None:
        return _all_closed(run, required, now)
    live_at = run.live_at or now.wall_at
    if now.event_at >= live_at + timedelta(seconds=run.limits.verify_s):
        why = f"{_open_text(run)} did not close within {run.limits.verify_s:.0f} s"
        return fail(run, now, "verify", why, verification=why)
    if now.wall_at >= live_at + timedelta(seconds=WALL_FACTOR * run.limits.verify_s + WALL_SLACK_S):
        return _give_up(run, now, "verify", _stood_still(now))
    return run


def _all_closed(run: Run, required: tuple[Watch, ...], now: Now) -> Run:
    applied_at = run.change.applied_at or now.wall_at
    triggers = [watch for watch in required if watch.trigger]
    credited = [watch for watch in triggers if watch.closed_at is not None and watch.closed_at > applied_at]
    if not credited:
        why = "the anomalies had closed before the fix was live: it proves nothing"
        return _give_up(run, now, "verify", why, verification=why)
    verified_at = max(watch.closed_at for watch in required if watch.closed_at is not None)
    seconds = (max(watch.closed_at for watch in credited if watch.closed_at) - applied_at).total_seconds()
    elsewhere = len(required) - len(triggers)
    text = f"{len(triggers)} anomalies of {run.change.target} closed, the last {seconds:.0f} s after the fix"
    text += f"; {elsewhere} symptoms elsewhere closed" if elsewhere else ""
    text += f"; no new anomaly on {', '.join(run.neighbours)}" if run.neighbours and run.limits.neighbours else ""
    hold_until = verified_at + timedelta(seconds=run.limits.hold_s)
    told = Told(
        state=RunState.HOLDING,
        step="verify",
        detail=text,
        reason=f"verified; must stay so until {hold_until:%H:%M:%S}",
        at=verified_at,
    )
    public = {"verification": text}
    return move(run, now, told, public=public, phase=Phase.HOLD, hold_until=hold_until)


def _hold(run: Run, now: Now) -> Run:
    assert run.hold_until is not None
    assert run.live_at is not None
    still_open = any(watch.closed_at is None for watch in run.required())
    overdue = now.event_at >= run.live_at + timedelta(seconds=run.limits.verify_s)
    # A deviation that began in the last second of the hold is told only later: wait for that too.
    over = now.event_at >= run.hold_until + timedelta(seconds=run.limits.detection_s)
    if over and still_open and overdue:
        return fail(run, now, "hold", f"{_open_text(run)} is still open at the end of the hold")
    if over and not still_open:
        text = f"no recurrence on {run.change.target} for {run.limits.hold_s:.0f} s"
        told = Told(
            state=RunState.SUCCEEDED, step="hold", detail=text, reason=f"{run.change.verification}; {text}",
            at=run.hold_until,
        )  # fmt: skip
        return move(run, now, told)
    waited_s = (now.wall_at - run.phase_since).total_seconds()
    if waited_s >= WALL_FACTOR * (run.limits.hold_s + run.limits.detection_s) + WALL_SLACK_S:
        return _give_up(run, now, "hold", _stood_still(now))
    return run


def fail(run: Run, now: Now, step: str, why: str, *, recurred: bool = False, verification: str = "") -> Run:
    """The fix did not do it: roll it back where something undoes it, and call a human."""
    public: dict[str, Any] = {"recurred": recurred or run.change.recurred}
    if verification:
        public |= {"verification": verification}
    if run.undo is None:
        return _give_up(run, now, step, f"{why}; nothing undoes {run.change.action}", public=public)
    if now.halted:
        return _give_up(run, now, step, f"{why}; not rolled back: {now.halted}", public=public)
    told = Told(state=RunState.ROLLING_BACK, step=step, status="failed", detail=why, reason=why)
    return move(run, now, told, public=public, phase=Phase.UNDO)


def _give_up(
    run: Run, now: Now, step: str, why: str, *, verification: str = "", public: dict[str, Any] | None = None
) -> Run:
    changed = dict(public or {})
    if verification:
        changed["verification"] = verification
    if step:
        run = move(run, now, Told(step=step, status="failed", detail=why, reason=why), public=changed)
    told = Told(state=RunState.ESCALATED, step="escalate", detail="left to a human", reason=why)
    return move(run, now, told)


def _without_executor(run: Run, now: Now, why: str) -> Run:
    if run.in_doubt:
        return leave_unknown(run, now, why)
    if run.phase in (Phase.LIVE, Phase.UNDO):
        step = "deploy" if run.phase is Phase.LIVE else "roll_back"
        return _give_up(run, now, step, f"{run.change.reason}; {why}")
    told = Told(state=RunState.FAILED, step="apply", status="failed", detail=why, reason=f"nothing was applied: {why}")
    return move(run, now, told)


def _with(run: Run, watch: Watch) -> Run:
    """The run with one watched anomaly brought up to date or added."""
    others = tuple(known for known in run.watched if known.id != watch.id)
    return replace(run, watched=(*others, watch))


def _open_text(run: Run) -> str:
    open_now = [watch for watch in run.required() if watch.closed_at is None]
    names = sorted({f"{watch.signal} of {watch.service}" for watch in open_now})
    return ", ".join(names) or "the anomalies"


def _said(anomaly: AnomalyDetected) -> str:
    state = "" if anomaly.state is not EpisodeState.CLOSED else " (closed since)"
    return f"{anomaly.explanation or f'{anomaly.signal.value} of {anomaly.service}'}{state}"


def _stood_still(now: Now) -> str:
    return f"it cannot be verified: no telemetry since {_clock(now.event_at)}; left as it is"


def _clock(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}"
