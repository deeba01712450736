"""Executors: every one keeps the laws of the port; the HTTP one speaks the control API and survives what it answers."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from libs.errors import ConfigurationError
from libs.runbooks.actions import ActionCall, TargetNow
from services.remediation.executors.port import Executor, ExecutorAway, ExecutorRefused, open_executor, openers
from services.remediation.executors.shop_control import ShopControl
from tests.unit.services.remediation.control_server import ControlServer

ROLL_BACK = ActionCall(action="rollback_deploy", service="catalog", parameters={"to_version": "2.3.0"})
RESTART = ActionCall(action="restart_instance", service="catalog", parameters={"instance": "catalog-1"})
RESTART_ALL = ActionCall(action="restart_instance", service="catalog", parameters={"instance": ""})
SCALE = ActionCall(action="scale_out", service="catalog", parameters={"replicas": "3"})
FLAG_OFF = ActionCall(action="disable_flag", service="catalog", parameters={"flag": "new-pricing"})
CALLS = [ROLL_BACK, RESTART, RESTART_ALL, SCALE, FLAG_OFF]


@pytest.fixture
def control() -> Iterator[ControlServer]:
    with ControlServer() as server:
        yield server


@pytest.fixture
def executor(control: ControlServer) -> Iterator[Executor]:
    opened = open_executor(control.url)
    yield opened
    opened.close()


def answering(answer: Callable[[httpx.Request], httpx.Response]) -> ShopControl:
    return ShopControl("http://control", httpx.MockTransport(answer))


@pytest.mark.parametrize("name", sorted(openers()))
def test_every_executor_has_every_method_of_the_port(name: str) -> None:
    opened = openers()[name]("http://127.0.0.1:1")
    assert isinstance(opened.why_observe, str)
    assert all(callable(getattr(opened, method)) for method in ("look", "plan", "apply", "check", "close"))
    opened.close()


def test_an_address_chooses_the_executor() -> None:
    assert open_executor("").why_observe
    for address in ("http://127.0.0.1:8090", "shop_control+http://127.0.0.1:8090"):
        opened = open_executor(address)
        assert not opened.why_observe
        opened.close()


@pytest.mark.parametrize("address", ["ftp://x", "nonsense", "ghost+http://x", "http://host/a/path", "http://a b"])
def test_a_wrong_address_is_a_configuration_error(address: str) -> None:
    with pytest.raises(ConfigurationError, match="PARAMEDIC_EXECUTOR_URL"):
        open_executor(address)


def test_no_executor_refuses_to_act() -> None:
    none = open_executor("")
    for attempt in (lambda: none.plan(SCALE), lambda: none.apply(SCALE, "k"), lambda: none.check(SCALE)):
        with pytest.raises(ExecutorRefused, match="no executor is configured"):
            attempt()
    assert none.look("catalog") == TargetNow()


def test_it_sees_the_target(executor: Executor) -> None:
    assert executor.look("catalog") == TargetNow(version="2.4.0", previous_version="2.3.0", replicas=1)
    with pytest.raises(ExecutorRefused, match="404 unknown"):
        executor.look("bank")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.text())
def test_a_plan_shows_the_same_action_and_changes_nothing(
    control: ControlServer, executor: Executor, call: ActionCall
) -> None:
    plan = executor.plan(call)
    assert plan.changes
    assert plan.call == call
    assert plan.before == TargetNow(version="2.4.0", previous_version="2.3.0", replicas=1)
    assert control.production.done == []


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.text())
def test_an_action_is_live_when_it_answers_and_is_done_once_per_key(
    control: ControlServer, executor: Executor, call: ActionCall
) -> None:
    assert executor.apply(call, "run-1/apply").live
    assert executor.apply(call, "run-1/apply").live
    assert executor.check(call).live
    assert [key for _, key in control.production.done] == ["run-1/apply"]
    assert control.production.actors == ["paramedic"]


@pytest.mark.parametrize("call", [ROLL_BACK, SCALE, FLAG_OFF], ids=lambda call: call.text())
def test_what_is_so_already_changes_nothing(executor: Executor, call: ActionCall) -> None:
    executor.apply(call, "run-1/apply")
    plan = executor.plan(call)
    assert not plan.changes
    assert "so already" in plan.text


@pytest.mark.parametrize(
    ("call", "lines"),
    [
        (RESTART, ["drain and end catalog-1", "drain and end catalog-2"]),
        (RESTART, ["drain and end catalog-2"]),
        (SCALE, ["catalog: from 2 to 30 instances of 2.4.0"]),
        (ROLL_BACK, ["start 2 instance(s) of catalog 2.4.0"]),
    ],
    ids=["one too many", "another", "ten times as many", "the version that runs"],
)
def test_a_plan_for_something_else_shows(
    control: ControlServer, executor: Executor, call: ActionCall, lines: list[str]
) -> None:
    control.production.replicas = 2
    control.production.plan = lines
    assert executor.plan(call).call != call


def test_an_instance_that_is_not_ready_is_not_live_yet(control: ControlServer, executor: Executor) -> None:
    control.production.ready = False
    assert not executor.apply(ROLL_BACK, "k").live
    assert not executor.check(ROLL_BACK).live
    control.production.ready = True
    assert executor.check(ROLL_BACK).live


@pytest.mark.parametrize("status", [400, 401, 404, 422])
def test_a_refusal_carries_its_reason(control: ControlServer, executor: Executor, status: int) -> None:
    control.production.answers = [status]
    with pytest.raises(ExecutorRefused, match=f"{status} told to fail"):
        executor.apply(ROLL_BACK, "k")


@pytest.mark.parametrize(("status", "carried_out"), [(409, False), (429, False), (500, True), (502, True), (504, True)])
def test_busy_and_broken_are_away(control: ControlServer, executor: Executor, status: int, carried_out: bool) -> None:
    control.production.answers = [status]
    with pytest.raises(ExecutorAway) as away:
        executor.apply(ROLL_BACK, "k")
    assert away.value.carried_out is carried_out


def test_a_lost_answer_leaves_a_doubt_and_asking_again_is_harmless(control: ControlServer, executor: Executor) -> None:
    control.production.answers = [0]
    with pytest.raises(ExecutorAway) as away:
        executor.apply(ROLL_BACK, "k")
    assert away.value.carried_out
    assert executor.apply(ROLL_BACK, "k").live
    assert len(control.production.done) == 1


def test_nobody_there_leaves_no_doubt() -> None:
    with ControlServer() as gone:
        address = gone.url
    opened = open_executor(address)
    with pytest.raises(ExecutorAway) as away:
        opened.apply(ROLL_BACK, "k")
    assert not away.value.carried_out
    opened.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{}",
        b'{"changed": "yes", "dry_run": true, "plan": [], "state": {"name": "catalog"}}',
        b'{"changed": true, "dry_run": true, "plan": [1], "state": {"name": "catalog"}}',
        b"[" * 100_000,
        json.dumps({"x": "y" * 2_000_000}).encode(),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_an_answer_that_cannot_be_read_is_away_and_not_a_crash(body: bytes) -> None:
    executor = answering(lambda _: httpx.Response(200, content=body))
    for attempt in (
        lambda: executor.look("catalog"),
        lambda: executor.plan(ROLL_BACK),
        lambda: executor.apply(ROLL_BACK, "k"),
    ):
        with pytest.raises(ExecutorAway):
            attempt()


def test_a_dry_run_that_was_none_is_refused() -> None:
    state: dict[str, Any] = {"name": "catalog", "version": "2.3.0", "versions": ["2.3.0"]}
    executor = answering(
        lambda _: httpx.Response(200, json={"changed": True, "dry_run": False, "plan": [], "state": state})
    )
    with pytest.raises(ExecutorRefused, match="dry run"):
        executor.plan(ROLL_BACK)


def test_a_redirect_is_not_followed_to_somewhere_else() -> None:
    executor = answering(lambda _: httpx.Response(302, headers={"Location": "http://evil/"}))
    with pytest.raises(ExecutorAway):
        executor.apply(ROLL_BACK, "k")
