"""What a run does next, fact by fact."""

from dataclasses import replace
from datetime import timedelta

import pytest

from libs.contracts.anomaly import AnomalyDetected, Severity, Signal
from libs.contracts.incident import IncidentState
from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import RunState
from libs.runbooks.actions import ActionCall
from services.remediation.decide import decide, wanted
from services.remediation.decide_applied import EXECUTOR_PATIENCE_S, LIVE_S
from services.remediation.facts import (
    AnomalySeen,
    Applied,
    Apply,
    Away,
    Captured,
    ChangedByOthers,
    IncidentSeen,
    Passed,
    Refused,
    Restarted,
    Revised,
    TakenOver,
    Undo,
    Undone,
    WentLive,
)
from services.remediation.run import Run, watches
from tests.unit.libs.runbooks.made import a_change, a_hypothesis, an_anomaly, an_incident, at, closed
from tests.unit.services.remediation.started import (
    BEFORE,
    BOOKS,
    CALL,
    HALTED,
    SYMPTOM,
    TRIGGER,
    a_run,
    after,
    asked_to_apply,
    captured,
    judged,
    now,
    planned,
    verifying,
)


def seen(anomaly: AnomalyDetected, *, of_incident: bool = False) -> AnomalySeen:
    return AnomalySeen(anomaly=anomaly, of_incident=of_incident)


def holding() -> Run:
    run = after(verifying(), seen(closed(TRIGGER, 40)), seen(closed(SYMPTOM, 42)), seconds=45)
    assert run.change.state is RunState.HOLDING
    return run


def steps(run: Run) -> list[tuple[str, str]]:
    return [(step.name, step.status) for step in run.change.steps]


def test_a_known_pattern_is_captured_judged_planned_applied_verified_held_and_succeeds() -> None:
    run = after(holding(), Passed(), seconds=42 + 30 + 15)
    assert run.change.state is RunState.SUCCEEDED
    assert [name for name, status in steps(run) if status == "success"] == [
        "capture_evidence",
        "policy",
        "dry_run",
        "apply",
        "deploy",
        "verify",
        "hold",
    ]
    assert run.change.fix == "rollback_deploy(catalog, to_version=2.3.0)"
    assert run.change.anomaly_ids == (TRIGGER.id,)
    assert [change.version for change in run.pending] == list(range(1, run.change.version + 1))
    assert not run.change.human_involved
    assert not run.change.recurred


def test_the_hold_waits_for_news_of_its_last_second() -> None:
    assert after(holding(), Passed(), seconds=42 + 30 + 14).change.state is RunState.HOLDING


def test_the_trigger_alone_does_not_verify_while_a_symptom_is_open() -> None:
    run = after(verifying(), seen(closed(TRIGGER, 40)), seconds=45)
    assert run.change.state is RunState.VERIFYING
    assert after(run, Passed(), seconds=79).change.state is RunState.VERIFYING
    assert after(run, Passed(), seconds=80).change.state is RunState.ROLLING_BACK


def test_an_anomaly_that_had_closed_before_the_fix_proves_nothing() -> None:
    run = after(verifying(), seen(closed(TRIGGER, 15)), seen(closed(SYMPTOM, 42)), seconds=45)
    assert run.change.state is RunState.ESCALATED
    assert "proves nothing" in run.change.reason


def test_no_recovery_in_time_is_rolled_back_and_left_to_a_human() -> None:
    run = after(verifying(), Passed(), seconds=80)
    assert run.change.state is RunState.ROLLING_BACK
    redeploy = ActionCall(action="redeploy", service="catalog", parameters={"to_version": "2.4.0"})
    assert wanted(run, now(80)) == (Undo(call=redeploy, key=f"{run.id}/roll_back"),)
    run = after(run, Undone(text="catalog 2.4.0 runs"), seconds=85)
    assert run.change.state is RunState.ROLLED_BACK
    assert steps(run)[-2:] == [("roll_back", "success"), ("escalate", "success")]


def test_what_nothing_undoes_is_escalated_instead_of_rolled_back() -> None:
    run = after(replace(verifying(), undo=None), Passed(), seconds=80)
    assert run.change.state is RunState.ESCALATED
    assert "nothing undoes" in run.change.reason


def test_a_restart_has_no_inverse() -> None:
    assert BOOKS["restart-instance"].inverse == ""


def test_a_recurrence_on_the_target_within_the_hold_fails_the_run() -> None:
    again = an_anomaly(id="again", signal=Signal.ERRORS, started_at=at(60))
    run = after(holding(), seen(again), seconds=70)
    assert run.change.state is RunState.ROLLING_BACK
    assert run.change.recurred


def test_a_deviation_that_begins_after_the_hold_is_another_story() -> None:
    again = an_anomaly(id="again", started_at=at(42 + 30))
    run = after(holding(), seen(again), seconds=85)
    assert run.change.state is RunState.HOLDING
    assert not run.change.recurred


def test_a_recurrence_in_the_last_second_of_the_hold_still_counts() -> None:
    again = an_anomaly(id="again", started_at=at(42 + 29))
    assert after(holding(), seen(again), seconds=86).change.recurred


@pytest.mark.parametrize("run", [verifying(), holding()], ids=["verifying", "holding"])
def test_a_neighbour_that_breaks_after_the_fix_fails_the_run(run: Run) -> None:
    broken = an_anomaly("inventory", started_at=at(46))
    assert after(run, seen(broken), seconds=55).change.state is RunState.ROLLING_BACK


@pytest.mark.parametrize(
    "harmless",
    [
        an_anomaly("inventory", started_at=at(46), severity=Severity.LOW),
        an_anomaly("inventory", started_at=at(24)),
        an_anomaly("far-away", started_at=at(46)),
        an_anomaly("inventory", started_at=at(46), signal=Signal.TRAFFIC, observed=9.0, expected=3.0),
    ],
    ids=["low", "began in a mixed window", "no neighbour", "is given more to do"],
)
def test_what_is_no_new_trouble_of_a_neighbour_does_not_fail_the_run(harmless: AnomalyDetected) -> None:
    assert after(verifying(), seen(harmless), seconds=55).change.state is RunState.VERIFYING


def test_a_neighbour_that_is_asked_no_more_fails_the_run() -> None:
    starved = an_anomaly("inventory", started_at=at(46), signal=Signal.TRAFFIC, observed=0.0, expected=3.0)
    assert after(verifying(), seen(starved), seconds=55).change.state is RunState.ROLLING_BACK


def test_a_surge_that_goes_on_need_not_close_where_its_harm_has() -> None:
    surge = an_anomaly("inventory", id="surge", signal=Signal.TRAFFIC, observed=9.0, expected=3.0)
    assert [watch.id for watch in watches("catalog", [TRIGGER, surge])] == [TRIGGER.id]
    assert [watch.id for watch in watches("catalog", [surge])] == ["surge"]


LOAD = an_anomaly("cart", id="load", signal=Signal.TRAFFIC, observed=9.0, expected=3.0, severity=Severity.LOW)


def verified_but_for(anomaly: AnomalyDetected, *loads: AnomalyDetected) -> RunState:
    """State of a run whose incident shows one more anomaly, and who has more to do; all the others have closed."""
    more = [seen(one, of_incident=True) for one in (anomaly, *loads)]
    return after(verifying(), *more, seen(closed(TRIGGER, 40)), seen(closed(SYMPTOM, 42)), seconds=45).change.state


def test_who_has_more_to_do_may_be_slower_as_long_as_that_lasts() -> None:
    slower = an_anomaly("cart", id="slower", peer="bank", started_at=at(22))
    assert verified_but_for(slower) is RunState.VERIFYING
    assert verified_but_for(slower, LOAD) is RunState.HOLDING
    assert verified_but_for(slower, LOAD, closed(LOAD, 41)) is RunState.VERIFYING


def test_who_has_more_to_do_must_not_fail_for_it() -> None:
    failing = an_anomaly("cart", id="failing", signal=Signal.ERRORS, started_at=at(22))
    assert verified_but_for(failing, LOAD) is RunState.VERIFYING


def test_under_a_surge_everybody_may_be_slower_but_those_who_call_the_target() -> None:
    surge = a_hypothesis(kind=CauseKind.TRAFFIC_SURGE, change_id=None)
    call = an_anomaly("gateway", id="call", peer="catalog", started_at=at(22))
    for one, state in (
        (an_anomaly("cart", id="beside", peer="bank", started_at=at(22)), RunState.HOLDING),
        (an_anomaly("gateway", id="way", peer="cart", started_at=at(22)), RunState.HOLDING),
        (an_anomaly("gateway", id="entry", started_at=at(22)), RunState.VERIFYING),
        (an_anomaly("cart", id="failing", signal=Signal.ERRORS, started_at=at(22)), RunState.VERIFYING),
    ):
        facts = [seen(call, of_incident=True), seen(one, of_incident=True), seen(closed(call, 41))]
        run = after(replace(verifying(), hypothesis=surge), *facts, seen(closed(SYMPTOM, 41)), seconds=42)
        assert after(run, seen(closed(TRIGGER, 43)), seconds=45).change.state is state


@pytest.mark.parametrize("run", [verifying(), holding()], ids=["verifying", "holding"])
def test_a_neighbour_to_which_the_fix_lets_more_through_may_get_slower_and_must_not_fail(run: Run) -> None:
    load = replace(LOAD, service="inventory")
    slower = an_anomaly("inventory", id="slower", peer="bank", started_at=at(46))
    failing = an_anomaly("inventory", id="failing", signal=Signal.ERRORS, started_at=at(46))
    assert after(run, seen(slower), seconds=55).change.state is RunState.ROLLING_BACK
    assert after(run, seen(load), seen(slower), seconds=55).change.state is run.change.state
    assert after(run, seen(load), seen(failing), seconds=55).change.state is RunState.ROLLING_BACK
    surge = replace(run, hypothesis=a_hypothesis(kind=CauseKind.TRAFFIC_SURGE, change_id=None))
    assert after(surge, seen(slower), seconds=55).change.state is run.change.state


def test_a_neighbour_that_gets_slower_after_the_hold_is_another_story_whatever_it_has_to_do() -> None:
    load = replace(LOAD, service="inventory")
    slower = an_anomaly("inventory", id="slower", started_at=at(42 + 30))
    run = after(holding(), seen(load), seen(slower), seen(closed(load, 80)), seconds=81)
    assert after(run, Passed(), seconds=200).change.state is RunState.SUCCEEDED


def test_more_to_do_excuses_nothing_on_the_target() -> None:
    load = replace(LOAD, service="catalog")
    run = after(verifying(), seen(load), seen(closed(SYMPTOM, 42)), seconds=45)
    assert run.change.state is RunState.VERIFYING


def test_a_symptom_that_flares_up_again_before_the_end_has_to_close_as_well() -> None:
    flare = an_anomaly("gateway", id="flare", started_at=at(30))
    run = after(verifying(), seen(flare), seen(closed(TRIGGER, 40)), seen(closed(SYMPTOM, 42)), seconds=45)
    assert run.change.state is RunState.VERIFYING
    assert after(run, seen(closed(flare, 50)), seconds=55).change.state is RunState.HOLDING


def test_an_old_state_of_an_anomaly_changes_nothing() -> None:
    assert after(verifying(), seen(replace(TRIGGER, updated_at=at(50))), seconds=50) == verifying()


def test_telemetry_that_stands_still_is_no_reason_to_change_production_again() -> None:
    run, _ = decide(verifying(), Passed(), now(25, wall=at(20 + 2 * 60 + 60)))
    assert run.change.state is RunState.ESCALATED
    assert "no telemetry since 12:00:25" in run.change.reason


def test_a_plan_that_differs_from_what_was_allowed_is_never_applied() -> None:
    other = ActionCall(action="rollback_deploy", service="catalog", parameters={"to_version": "1.0.0"})
    run = after(a_run(), captured(), judged(), planned(other))
    assert run.change.state is RunState.FAILED
    assert "to_version=1.0.0" in run.change.reason


def test_a_plan_that_changes_nothing_is_canceled() -> None:
    run = after(a_run(), captured(), judged(), planned(changes=False))
    assert run.change.state is RunState.CANCELED


def test_a_fix_that_cannot_be_worked_out_is_left_to_a_human() -> None:
    unknown = Captured(detection="slow", call=None, problem="{change.previous_version} is not known", before=BEFORE)
    run = after(a_run(), unknown)
    assert run.change.state is RunState.ESCALATED
    assert "{change.previous_version}" in run.change.reason


def test_an_executor_that_was_not_reached_leaves_no_doubt() -> None:
    run = after(asked_to_apply(), Away(reason="refused", carried_out=False))
    assert not run.in_doubt
    assert wanted(run, now(20)) == ()
    run = after(run, Passed(), seconds=25, halted=HALTED)
    assert run.change.applied_at is None
    assert not run.ended


def test_an_executor_that_did_not_answer_is_asked_again_under_the_same_key() -> None:
    run = after(asked_to_apply(), Away(reason="timeout", carried_out=True))
    assert wanted(run, now(20)) == ()
    assert wanted(run, now(21)) == (Apply(call=CALL, key=f"{run.id}/apply"),)
    run = after(run, Away(reason="refused", carried_out=False), seconds=21)
    assert run.in_doubt


def test_an_executor_that_stays_away_is_given_up() -> None:
    unreached = after(asked_to_apply(), Away(reason="refused", carried_out=False))
    late = after(unreached, Away(reason="refused", carried_out=False), seconds=20 + EXECUTOR_PATIENCE_S)
    assert late.change.state is RunState.FAILED
    assert late.change.applied_at is None
    unanswered = after(asked_to_apply(), Away(reason="timeout", carried_out=True))
    late = after(unanswered, Away(reason="timeout", carried_out=True), seconds=20 + EXECUTOR_PATIENCE_S)
    assert late.change.state is RunState.ESCALATED
    assert late.change.applied_at is not None


@pytest.mark.parametrize("run", [a_run(), after(a_run(), captured(), judged()), asked_to_apply()])
def test_a_refusal_before_anything_was_applied_fails_with_its_reason(run: Run) -> None:
    run = after(run, Refused(reason="404 no such service"))
    assert run.change.state is RunState.FAILED
    assert "404 no such service" in run.change.reason
    assert run.change.applied_at is None


def test_a_refused_roll_back_is_left_to_a_human() -> None:
    run = after(verifying(), Passed(), seconds=80)
    run = after(run, Refused(reason="422"), seconds=81)
    assert run.change.state is RunState.ESCALATED
    assert "the roll back was refused: 422" in run.change.reason


def test_a_halt_stops_a_roll_back_too() -> None:
    run = after(verifying(), Passed(), seconds=80)
    assert wanted(run, now(81, halted=HALTED)) == ()
    assert after(run, Passed(), seconds=81, halted=HALTED).change.state is RunState.ESCALATED


def test_an_applied_change_must_go_live() -> None:
    run = after(asked_to_apply(), Applied(live=False, text="accepted"))
    assert run.change.state is RunState.RUNNING
    assert after(run, WentLive(text="live"), seconds=30).change.state is RunState.VERIFYING
    assert after(run, Passed(), seconds=21 + LIVE_S).change.state is RunState.ROLLING_BACK


def test_a_newer_investigation_that_leads_elsewhere_cancels_what_was_not_applied() -> None:
    elsewhere = Revised(revision=2, hypothesis=None, lead=0.0, leader="the bank hangs")
    run = after(a_run(), captured(), elsewhere)
    assert run.change.state is RunState.CANCELED
    assert not run.change.human_involved
    for applied in (asked_to_apply(), verifying()):
        assert after(applied, elsewhere) == applied


def test_a_newer_investigation_that_is_surer_is_used() -> None:
    surer = Revised(revision=2, hypothesis=a_hypothesis(confidence=0.95), lead=9.0, leader="deploy")
    run = after(a_run(), captured(), surer)
    assert (run.hypothesis.confidence, run.revision, run.lead) == (0.95, 2, 9.0)
    older = Revised(revision=1, hypothesis=None, lead=0.0, leader="x")
    assert after(run, older) == run


def test_an_incident_that_ends_first_cancels_the_run() -> None:
    for state, by, human in (
        (IncidentState.RESOLVED, "recovery", False),
        (IncidentState.RESOLVED, "ann", True),
        (IncidentState.CANCELED, None, True),
    ):
        ended = an_incident(state=state, resolved_by=by)
        run = after(a_run(), captured(), IncidentSeen(incident=ended))
        assert (run.change.state, run.change.human_involved) == (RunState.CANCELED, human)


def test_anomalies_that_close_by_themselves_cancel_the_run() -> None:
    run = after(a_run(), captured(), IncidentSeen(incident=an_incident(closed(TRIGGER, 18), SYMPTOM)))
    assert run.change.state is RunState.CANCELED


def test_a_human_hand_is_noted_and_the_run_goes_on() -> None:
    for hand in (
        TakenOver(command_id="c", actor="ann", what="resolved"),
        ChangedByOthers(change=a_change(actor="ann", id="other")),
        IncidentSeen(incident=an_incident(TRIGGER, SYMPTOM, state=IncidentState.RESOLVED, resolved_by="ann")),
    ):
        run = after(holding(), hand, seconds=50)
        assert run.change.human_involved
        run = after(run, Passed(), seconds=90)
        assert run.change.state is RunState.SUCCEEDED


def test_nothing_happens_to_a_run_that_has_ended() -> None:
    run = after(holding(), Passed(), seconds=90)
    for fact in (
        Passed(),
        judged(),
        planned(),
        captured(),
        Applied(live=True, text=""),
        Away(reason="", carried_out=True),
        Refused(reason=""),
        seen(an_anomaly(id="again", started_at=at(60))),
        IncidentSeen(incident=an_incident(state=IncidentState.CANCELED)),
        Revised(revision=9, hypothesis=None, lead=0.0, leader=""),
        TakenOver(command_id="c", actor="ann", what="resolved"),
        ChangedByOthers(change=a_change()),
        Restarted(),
    ):
        assert after(run, fact, seconds=95) == run


def test_times_of_a_run_never_run_backwards() -> None:
    run = after(holding(), Passed(), seconds=90)
    times = [change.updated_at for change in run.pending]
    assert times == sorted(times)
    assert times[-1] - times[0] >= timedelta(seconds=20)
