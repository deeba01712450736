"""Policy: each guardrail objects on its own, with its figures, and nothing else does."""

from dataclasses import replace
from typing import Any

import pytest

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import Mode, RunState
from libs.runbooks import Guardrails
from libs.runbooks.actions import ActionCall
from services.remediation.facts import Ruling, Verdict
from services.remediation.policy import Situation, effective_mode, judge, lead_of
from services.remediation.run import Phase, Run
from tests.unit.libs.runbooks.made import a_change, a_hypothesis, an_anomaly, at
from tests.unit.services.remediation.started import BOOKS, HALTED, ROLL_BACK, a_run, after, captured, verifying

GUARDRAILS = Guardrails(max_runs_per_hour=2, cooldown_s=100.0, max_concurrent=2, human_change_s=60.0)
READY = after(a_run(), captured())


def verdict(run: Run = READY, **fields: Any) -> Verdict:
    given: dict[str, Any] = {
        "runbook": replace(ROLL_BACK, guardrails=GUARDRAILS),
        "mode": Mode.AUTO,
        "event_at": at(1000),
    }
    return judge(run, Situation(**{**given, **fields}))


def applied(seconds: float, name: str, *, target: str = "catalog", pattern: str = "scale-out", **fields: Any) -> Run:
    change = replace(
        verifying().change, id=name, target=target, pattern=pattern, applied_at=at(seconds), state=RunState.SUCCEEDED
    )
    return replace(verifying(), change=change, phase=Phase.ENDED, **fields)


def test_a_sure_hypothesis_in_automatic_mode_is_allowed() -> None:
    said = verdict()
    assert said.ruling is Ruling.ALLOW
    assert "confidence 0.80" in said.reason


def test_observe_only_proposes_whatever_else_holds() -> None:
    assert verdict(mode=Mode.OBSERVE, halted=HALTED).ruling is Ruling.PROPOSE
    nobody = verdict(why_observe="no executor is configured")
    assert (nobody.ruling, nobody.mode) == (Ruling.PROPOSE, Mode.OBSERVE)


def test_a_halt_waits_in_every_other_mode() -> None:
    for mode in (Mode.AUTO, Mode.APPROVE):
        assert verdict(mode=mode, halted=HALTED) == Verdict(ruling=Ruling.WAIT, mode=mode, reason=HALTED)


@pytest.mark.parametrize(
    ("hypothesis", "lead", "ruling"),
    [(0.5, 1.3, Ruling.ALLOW), (0.49, 9.0, Ruling.WAIT), (0.9, 1.29, Ruling.WAIT)],
)
def test_it_must_be_sure_and_clearly_ahead(hypothesis: float, lead: float, ruling: Ruling) -> None:
    run = replace(READY, hypothesis=a_hypothesis(confidence=hypothesis), lead=lead)
    assert verdict(run).ruling is ruling


def test_too_many_runs_on_a_target_within_an_hour_call_a_human() -> None:
    twice = (applied(10, "a"), applied(20, "b"))
    assert verdict(runs=twice).ruling is Ruling.DENY
    assert verdict(runs=twice[:1]).ruling is Ruling.ALLOW
    assert verdict(runs=twice, event_at=at(3611)).ruling is Ruling.ALLOW
    assert verdict(runs=(applied(10, "a", target="cart"), twice[0])).ruling is Ruling.ALLOW


def test_the_same_pattern_cools_down_on_its_target() -> None:
    earlier = applied(950, "a", pattern="roll-back-deploy")
    assert verdict(runs=(earlier,)).ruling is Ruling.WAIT
    assert verdict(runs=(earlier,), event_at=at(1051)).ruling is Ruling.ALLOW
    assert verdict(runs=(applied(950, "a"),)).ruling is Ruling.ALLOW


def test_one_run_at_a_time_on_a_target_and_few_over_all() -> None:
    acting = verifying()
    elsewhere = [replace(acting, change=replace(acting.change, id=name, target=name)) for name in ("cart", "bank")]
    assert verdict(runs=(acting,)).reason == "another run is changing catalog"
    assert verdict(runs=(elsewhere[0],)).ruling is Ruling.ALLOW
    assert verdict(runs=tuple(elsewhere)).ruling is Ruling.WAIT


def test_a_target_that_a_person_is_changing_is_left_alone() -> None:
    assert verdict(changes=(a_change(id="other", actor="ann"),)).ruling is Ruling.WAIT
    assert verdict(changes=(a_change(),)).ruling is Ruling.ALLOW  # the blamed change itself
    assert verdict(changes=(a_change(id="own", actor="paramedic"),)).ruling is Ruling.ALLOW


def test_the_blast_radius_is_bounded() -> None:
    book = BOOKS["scale-out"]
    scale = ActionCall(action="scale_out", service="catalog", parameters={"replicas": "7"})
    run = replace(READY, call=scale)
    assert verdict(run, runbook=book).ruling is Ruling.DENY
    assert verdict(replace(run, call=replace(scale, parameters={"replicas": "6"})), runbook=book).ruling is Ruling.ALLOW
    restart = BOOKS["restart-instance"]
    everyone = ActionCall(action="restart_instance", service="catalog", parameters={"instance": ""})
    assert verdict(replace(READY, call=everyone, instances=5), runbook=restart).ruling is Ruling.DENY
    assert verdict(replace(READY, call=everyone, instances=4), runbook=restart).ruling is Ruling.ALLOW
    one = replace(everyone, parameters={"instance": "catalog-1"})
    assert verdict(replace(READY, call=one, instances=5), runbook=restart).ruling is Ruling.ALLOW


def test_what_waits_for_a_callee_in_trouble_is_left_alone() -> None:
    book, slow = BOOKS["scale-out"], an_anomaly("bank")
    call = ActionCall(action="scale_out", service="catalog", parameters={"replicas": "3"})
    full = replace(READY, call=call, hypothesis=a_hypothesis(kind=CauseKind.SATURATION))
    said = verdict(full, runbook=book, ailing=(slow,))
    assert said.ruling is Ruling.WAIT
    assert said.reason == "latency of bank below catalog: what waits for a callee in trouble is a symptom of it"
    assert verdict(full, runbook=book).ruling is Ruling.ALLOW
    assert verdict(full, ailing=(slow,)).ruling is Ruling.ALLOW  # a roll back does not ask for healthy callees


def test_under_a_surge_a_slower_callee_is_no_objection_but_a_failing_one_is() -> None:
    book, call = BOOKS["scale-out"], ActionCall(action="scale_out", service="catalog", parameters={"replicas": "3"})
    surge = replace(READY, call=call, hypothesis=a_hypothesis(kind=CauseKind.TRAFFIC_SURGE))
    assert verdict(surge, runbook=book, ailing=(an_anomaly("bank"),)).ruling is Ruling.ALLOW
    failing = an_anomaly("bank", signal=Signal.ERRORS)
    assert verdict(surge, runbook=book, ailing=(failing,)).ruling is Ruling.WAIT


def test_a_reason_to_wait_is_the_same_a_moment_later() -> None:
    earlier = applied(950, "a", pattern="roll-back-deploy")
    assert verdict(runs=(earlier,)) == verdict(runs=(earlier,), event_at=at(1010))


def test_the_lead_is_over_what_blames_another_service() -> None:
    leader = a_hypothesis(confidence=0.6)
    same = a_hypothesis(rank=2, kind=CauseKind.SATURATION, confidence=0.5)
    other = a_hypothesis(rank=3, service="cart", confidence=0.2)
    assert lead_of([leader, same, other], leader) == pytest.approx(3.0)
    assert lead_of([leader, same], leader) > 1e6


def test_a_mode_set_at_runtime_wins_over_the_settings_and_these_over_the_runbook() -> None:
    name = ROLL_BACK.name
    assert effective_mode(ROLL_BACK, {}, {}) is Mode.AUTO
    assert effective_mode(ROLL_BACK, {name: "approve"}, {}) is Mode.APPROVE
    assert effective_mode(ROLL_BACK, {name: "approve"}, {name: Mode.OBSERVE}) is Mode.OBSERVE
