"""The handler and the executor that it asks: away, refusing, answering late, and what each action asks for."""

from pathlib import Path

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import Mode, RunState
from libs.runbooks.scorecard import scorecard
from tests.unit.libs.runbooks.made import a_hypothesis, an_anomaly, an_incident, closed
from tests.unit.services.remediation.control_server import ControlServer
from tests.unit.services.remediation.world import (
    TRIGGER,
    World,
    an_investigation,
)

HUNG_BANK = a_hypothesis(service="bank", kind=CauseKind.DEPENDENCY, change_id=None, cause="bank does not answer")


def test_an_executor_that_is_down_is_asked_again_and_commands_still_work(world: World, control: ControlServer) -> None:
    control.production.answers = [502, 409]
    world.open_incident()
    assert world.state() is RunState.RUNNING
    assert "held" in world.newest.reason
    for seconds in (21, 22, 23, 24):
        world.time(seconds)
        world.tick()
    assert world.state() is RunState.VERIFYING
    assert len(control.production.done) == 1


def test_a_refusal_fails_the_run_with_its_reason(world: World, control: ControlServer) -> None:
    control.production.answers = [422]
    world.open_incident()
    assert world.state() is RunState.FAILED
    assert "told to fail" in world.newest.reason
    assert world.newest.applied_at is None


def test_a_lost_answer_is_found_out_under_the_same_key(world: World, control: ControlServer) -> None:
    control.production.answers = [0]
    world.open_incident()
    world.time(22)
    world.tick()
    assert world.state() is RunState.VERIFYING
    assert len(control.production.done) == 1


def test_a_plan_for_something_else_is_not_applied(world: World, control: ControlServer) -> None:
    control.production.plan = ["start 4 instance(s) of catalog 2.4.0"]
    world.open_incident()
    assert world.state() is RunState.FAILED
    assert control.production.done == []


def test_without_an_executor_every_run_is_a_proposal(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.open_incident()
    assert world.state() is RunState.ESCALATED
    assert world.newest.mode is Mode.OBSERVE
    assert "no executor is configured" in world.newest.reason
    assert scorecard(world.published).total.proposals == 1
    world.close()


def test_a_scale_out_asks_for_two_more_than_run_now(world: World, control: ControlServer) -> None:
    world.open_incident(a_hypothesis(kind=CauseKind.TRAFFIC_SURGE, change_id=None), seconds=45)
    assert control.production.replicas == 3
    world.time(106)
    world.tick(2)
    assert control.production.replicas == 1
    assert world.state() is RunState.ROLLED_BACK


def test_a_full_pool_above_a_hung_callee_is_not_scaled_out(world: World, control: ControlServer) -> None:
    world.calls("catalog", "bank")
    bank = an_anomaly("catalog", peer="bank", id="bank", signal=Signal.ERRORS)
    incident = an_incident(TRIGGER, bank)
    full = an_investigation(a_hypothesis(kind=CauseKind.SATURATION, change_id=None))
    world.time(20)
    world.store_incident(incident, full)
    world.deliver(incident, full)
    world.tick()
    assert "errors of bank below catalog" in world.newest.reason
    world.time(150)
    world.tick(2)
    assert control.production.replicas == 1
    assert world.state() is RunState.ESCALATED
    assert "errors of bank below catalog" in world.newest.reason


def test_a_scale_out_goes_on_once_the_callee_has_recovered(world: World, control: ControlServer) -> None:
    world.calls("catalog", "bank")
    bank = an_anomaly("catalog", peer="bank", id="bank")
    full = an_investigation(a_hypothesis(kind=CauseKind.SATURATION, change_id=None))
    world.time(20)
    world.store_incident(an_incident(TRIGGER, bank), full)
    world.deliver(full)
    world.tick()
    assert control.production.replicas == 1
    world.time(60)
    world.store_incident(an_incident(TRIGGER, closed(bank, 55)))
    world.tick(2)
    assert control.production.replicas == 3


def test_a_leaking_instance_is_restarted_alone(world: World, control: ControlServer) -> None:
    world.open_incident(a_hypothesis(kind=CauseKind.MEMORY_LEAK, change_id=None, instance="catalog-1"), seconds=45)
    assert control.production.restarts == 1
    assert world.newest.fix == "restart_instance(catalog, instance=catalog-1)"
