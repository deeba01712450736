"""Faults of a simulated shop, investigated through real stores: where, what kind, which change, which instance."""

from dataclasses import replace
from datetime import timedelta

import pytest

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind, StepStatus
from libs.contracts.telemetry import ChangeKind
from tests.unit.services.investigator.conftest import Ask
from tests.unit.services.investigator.shop_telemetry import Fault, change, incident

DEPLOY = change(ChangeKind.DEPLOY, "catalog", 8, version="1.1", previous_version="1.0", actor="deploy-bot")
ERRORS = (Signal.ERRORS,)


def test_a_slow_deploy_of_a_callee_is_found_behind_its_slow_caller(ask: Ask) -> None:
    fault = Fault(database_ms=300, changes=(DEPLOY,))
    found = ask(fault, incident("gateway", "catalog")).completed
    first = found.hypotheses[0]
    assert (first.service, first.kind, first.change_id) == ("catalog", CauseKind.DEPLOY, DEPLOY.id)
    assert first.confidence >= 0.5
    assert first.actions[0].action == "rollback_deploy"
    assert dict(first.actions[0].parameters) == {"to_version": "1.0"}
    assert found.runbook == "roll-back-deploy"


def test_a_throwing_deploy_is_blamed_with_its_exception(ask: Ask) -> None:
    deploy = change(ChangeKind.DEPLOY, "checkout", 5, version="2.0", previous_version="1.9", actor="deploy-bot")
    found = ask(Fault(failing={"checkout": 0.4}, changes=(deploy,)), incident("checkout", "gateway", signals=ERRORS))
    first = found.completed.hypotheses[0]
    assert (first.service, first.kind, first.change_id) == ("checkout", CauseKind.DEPLOY, deploy.id)
    assert first.confidence >= 0.5
    assert any("KeyError" in line.text and "line 31" in line.text for line in first.evidence_for)


def test_an_exception_without_a_change_is_a_code_error(ask: Ask) -> None:
    found = ask(Fault(failing={"checkout": 0.4}), incident("checkout", "gateway", signals=ERRORS)).completed
    assert (found.hypotheses[0].service, found.hypotheses[0].kind) == ("checkout", CauseKind.CODE_ERROR)
    assert found.hypotheses[0].actions[0].action == ""
    assert found.runbook == ""
    assert any("No change event" in gap for gap in found.gaps)


def test_a_bad_flag_is_blamed_and_can_be_turned_off(ask: Ask) -> None:
    flag = change(ChangeKind.FLAG, "cart", 6, version="on", actor="ann", attributes={"flag": "new-pricing"})
    found = ask(Fault(failing={"cart": 0.5}, changes=(flag,)), incident("cart", "gateway", signals=ERRORS)).completed
    first = found.hypotheses[0]
    assert (first.service, first.kind) == ("cart", CauseKind.FLAG)
    assert dict(first.actions[0].parameters) == {"flag": "new-pricing"}


def test_growing_memory_is_a_leak_of_its_instance(ask: Ask) -> None:
    fault = Fault(leak_bytes_per_s={"cart": 4e6}, slow_ms={"cart": 60})
    found = ask(fault, incident("cart", "gateway")).completed
    first = found.hypotheses[0]
    assert (first.service, first.kind, first.instance) == ("cart", CauseKind.MEMORY_LEAK, "cart-1")
    assert first.confidence >= 0.5
    assert first.actions[0].action == "restart_instance"


def test_a_hung_bank_is_a_dependency_and_nothing_of_ours_is_restarted(ask: Ask) -> None:
    found = ask(Fault(hung_peer=True), incident("payments", "checkout", "gateway", signals=ERRORS)).completed
    first = found.hypotheses[0]
    assert (first.service, first.kind) == ("bank", CauseKind.DEPENDENCY)
    assert first.confidence >= 0.5
    assert [action.action for action in first.actions] == [""]
    assert found.runbook == ""


def test_a_hung_instance_is_named(ask: Ask) -> None:
    found = ask(Fault(hung_instance="inventory-2"), incident("checkout", "gateway", signals=ERRORS)).completed
    first = found.hypotheses[0]
    assert (first.service, first.kind, first.instance) == ("inventory", CauseKind.HUNG_INSTANCE, "inventory-2")
    assert first.actions[0].action == "restart_instance"


def test_a_surge_blames_the_saturated_service(ask: Ask) -> None:
    fault = Fault(surge=4.0, queue="checkout", slow_ms={"checkout": 400})
    found = ask(fault, incident("checkout", "gateway", signals=(Signal.LATENCY, Signal.TRAFFIC))).completed
    first = found.hypotheses[0]
    assert (first.service, first.kind) == ("checkout", CauseKind.TRAFFIC_SURGE)
    assert first.confidence >= 0.45
    assert dict(first.actions[0].parameters) == {"replicas": "3"}


SALE = Fault(orders=5.0, overdue={"checkout": 0.5}, queue="checkout", slow_ms={"checkout": 400})


def test_a_surge_of_one_kind_of_request_is_seen_although_the_entry_hardly_has_more(ask: Ask) -> None:
    """Five times the orders are 1.8 times the requests, and half of the orders time out in the queue."""
    found = ask(SALE, incident("checkout", "gateway", signals=(Signal.LATENCY, Signal.ERRORS))).completed
    first = found.hypotheses[0]
    assert (first.service, first.kind) == ("checkout", CauseKind.TRAFFIC_SURGE)
    assert any("that need checkout came" in line.text for line in first.evidence_for)


def test_an_instance_that_goes_on_serving_does_not_hang(ask: Ask) -> None:
    """What times out waits in its queue: to restart it would lose the queue and help nobody."""
    found = ask(replace(SALE, orders=1.0), incident("checkout", "gateway", signals=ERRORS)).completed
    first = found.hypotheses[0]
    assert (first.service, first.kind) == ("checkout", CauseKind.SATURATION)
    assert all(hypothesis.kind is not CauseKind.HUNG_INSTANCE for hypothesis in found.hypotheses)


@pytest.mark.parametrize("decoy", ["gateway", "inventory", "cart"])
def test_a_change_of_another_service_is_not_blamed(ask: Ask, decoy: str) -> None:
    changed = change(ChangeKind.DEPLOY, decoy, 3, version="9", previous_version="8", actor="deploy-bot")
    fault = Fault(slow_ms={"catalog": 300}, changes=(changed,))
    first = ask(fault, incident("gateway", "catalog")).completed.hypotheses[0]
    assert first.service == "catalog"
    assert first.change_id is None


def test_a_fix_by_the_platform_itself_is_no_cause(ask: Ask) -> None:
    fix = change(ChangeKind.DEPLOY, "catalog", 4, version="1.0", previous_version="1.1", actor="paramedic")
    first = ask(Fault(slow_ms={"catalog": 300}, changes=(fix,)), incident("catalog")).completed.hypotheses[0]
    assert first.service == "catalog"
    assert first.change_id is None
    assert any("Paramedic" in line.text for line in first.evidence_against)


def test_telemetry_after_the_moment_of_looking_changes_nothing(ask: Ask) -> None:
    late = change(ChangeKind.DEPLOY, "catalog", -25, version="1.1", previous_version="1.0", actor="deploy-bot")
    ticket = incident("gateway", "catalog")
    first = ask(Fault(slow_ms={"catalog": 300}, changes=(late,)), ticket).completed
    assert all(hypothesis.change_id is None for hypothesis in first.hypotheses)
    assert first.as_of == ticket.updated_at


def test_the_same_telemetry_gives_the_same_result(ask: Ask) -> None:
    ticket = incident("gateway", "catalog")
    first = ask(Fault(slow_ms={"catalog": 300}), ticket).completed
    second = ask(Fault(slow_ms={"catalog": 300}), ticket).completed
    assert first.hypotheses == second.hypotheses
    assert first.id == second.id


def test_every_question_is_a_step_and_it_takes_less_than_five_seconds(ask: Ask) -> None:
    found = ask(Fault(slow_ms={"catalog": 300}), incident("gateway", "catalog")).completed
    assert [step.tool for step in found.steps][:7] == [
        "red",
        "metrics",
        "traces",
        "logs",
        "changes",
        "topology",
        "similar",
    ]
    assert {step.status for step in found.steps} <= {StepStatus.SUCCESS, StepStatus.NO_DATA}
    assert found.duration_s < 5.0


def test_an_incident_without_any_telemetry_still_names_what_alerted(ask: Ask) -> None:
    ticket = incident("billing")
    moved = replace(
        ticket, started_at=ticket.started_at + timedelta(days=3), updated_at=ticket.updated_at + timedelta(days=3)
    )
    found = ask(Fault(), moved).completed
    assert found.hypotheses[0].service == "billing"
    assert found.hypotheses[0].confidence < 0.5
    assert found.gaps
