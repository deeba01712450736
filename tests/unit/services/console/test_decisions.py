"""Decisions: what is written to `commands`, and what is refused before anything is written."""

from dataclasses import replace

import pytest

from libs.contracts.command import CommandKind
from libs.contracts.document import Section
from libs.contracts.incident import IncidentState
from libs.contracts.remediation import RunState, RunStep
from tests.unit.services.console import filled
from tests.unit.services.console.conftest import Console

PAGE = "/incidents/INC-000042"
RUN = f"{PAGE}/runs/run-incident-42"


def test_an_approval_is_written_with_actor_and_reason_and_leads_back(console: Console) -> None:
    status, place = console.decide(PAGE, f"{RUN}/approve", reason="looks right")
    assert (status, place) == (303, f"{PAGE}?told=written#run-run-incident-42")
    (command,) = console.told.commands
    assert (command.kind, command.target) == (CommandKind.APPROVE, "run-incident-42")
    assert (command.actor, command.reason, command.issued_at) == ("ada", "looks right", filled.NOW)
    assert "Your decision is written; its effect does not show yet." in console.page(place)


def test_the_effect_is_told_when_it_shows(console: Console) -> None:
    fields = console.fields(PAGE, f"{RUN}/approve")
    sent = console.told.flush

    def carried_out(timeout_s: float = 30.0) -> None:
        sent(timeout_s)
        console.incidents.put("incident-42", Section.REMEDIATION, (filled.a_run(state=RunState.RUNNING, version=6),))

    console.told = type("Doing", (type(console.told),), {"__slots__": (), "flush": staticmethod(carried_out)})()
    answer = console.browser.post(f"{RUN}/approve", data={**fields, "actor": "ada"})
    assert answer.headers["location"] == f"{PAGE}?told=approve#run-run-incident-42"
    assert "Approved. The fix is on its way." in console.page(f"{PAGE}?told=approve")


def test_a_button_pressed_twice_is_one_command(console: Console) -> None:
    fields = {**console.fields(PAGE, f"{RUN}/approve"), "actor": "ada"}
    for _ in range(2):
        assert console.browser.post(f"{RUN}/approve", data=fields).status_code == 303
    assert len({command.id for command in console.told.commands}) == 1
    console.browser.post(
        f"{PAGE}/comment", data={**console.fields(PAGE, f"{PAGE}/comment"), "actor": "ada", "text": "a"}
    )
    console.browser.post(
        f"{PAGE}/comment", data={**console.fields(PAGE, f"{PAGE}/comment"), "actor": "ada", "text": "b"}
    )
    assert len({command.id for command in console.told.commands}) == 3


@pytest.mark.parametrize(
    ("name", "given", "kind", "arguments"),
    [
        ("acknowledge", {}, CommandKind.ACKNOWLEDGE, {}),
        ("hold", {}, CommandKind.HOLD, {}),
        ("resolve", {}, CommandKind.RESOLVE, {}),
        ("cancel", {"reason": "a test"}, CommandKind.CANCEL, {}),
        ("investigate", {}, CommandKind.INVESTIGATE, {}),
        ("comment", {"text": "hm\r\nhm"}, CommandKind.COMMENT, {"text": "hm\nhm"}),
        (
            "root-cause",
            {"service": "catalog", "kind": "deploy", "text": "no index", "fixed_by": ""},
            CommandKind.CONFIRM_ROOT_CAUSE,
            {"service": "catalog", "kind": "deploy", "text": "no index", "fixed_by": ""},
        ),
    ],
)
def test_every_decision_on_an_incident_is_written(
    console: Console, name: str, given: dict[str, str], kind: CommandKind, arguments: dict[str, str]
) -> None:
    status, _ = console.decide(PAGE, f"{PAGE}/{name}", **given)
    assert status == 303
    (command,) = console.told.commands
    assert (command.kind, command.target, dict(command.arguments)) == (kind, "incident-42", arguments)


def test_the_platform_is_halted_with_a_reason_only(console: Console) -> None:
    assert console.decide("/healing", "/healing/halt")[0] == 422
    assert console.told.commands == []
    assert console.decide("/healing", "/healing/halt", reason="migration")[0] == 303
    assert [(c.kind, c.target, c.reason) for c in console.told.commands] == [(CommandKind.HALT, "", "migration")]


def test_a_mode_is_set_for_its_pattern(console: Console) -> None:
    assert console.decide("/healing", "/healing/modes/scale-out", mode="approve")[0] == 303
    (command,) = console.told.commands
    assert (command.kind, command.target, dict(command.arguments)) == (
        CommandKind.SET_MODE, "scale-out", {"mode": "approve"},
    )  # fmt: skip
    assert console.decide("/healing", "/healing/modes/scale-out", mode="yolo")[0] == 422


def test_a_recommendation_is_accepted_or_dismissed(console: Console) -> None:
    filled.put_recommendation(console.incidents)
    assert console.decide("/recommendations", "/recommendations/rec-1/accept")[0] == 303
    assert console.decide("/recommendations", "/recommendations/rec-1/dismiss")[0] == 422
    assert console.decide("/recommendations", "/recommendations/rec-1/dismiss", reason="no")[0] == 303
    assert [c.kind for c in console.told.commands] == [
        CommandKind.ACCEPT_RECOMMENDATION, CommandKind.DISMISS_RECOMMENDATION,
    ]  # fmt: skip


def test_a_plan_that_changed_since_the_page_was_opened_is_not_approved(console: Console) -> None:
    fields = console.fields(PAGE, f"{RUN}/approve")
    other = RunStep(name="dry_run", status="success", at=filled.NOW, detail="end every instance of catalog")
    console.incidents.put("incident-42", Section.REMEDIATION, (filled.a_run(steps=(other,), version=6),))
    answer = console.browser.post(f"{RUN}/approve", data={**fields, "actor": "ada"})
    assert answer.status_code == 409
    assert "The plan has changed since you opened the page" in answer.text
    assert console.told.commands == []


def test_a_run_that_went_on_is_not_approved_and_an_ended_one_not_rejected(console: Console) -> None:
    fields = console.fields(PAGE, f"{RUN}/approve")
    for state, name in ((RunState.RUNNING, "approve"), (RunState.SUCCEEDED, "reject")):
        console.incidents.put("incident-42", Section.REMEDIATION, (filled.a_run(state=state, version=7),))
        answer = console.browser.post(f"{RUN}/{name}", data={**fields, "actor": "ada", "reason": "no"})
        assert answer.status_code == 409
    assert console.told.commands == []


def test_a_rejection_needs_its_reason(console: Console) -> None:
    status, text = console.decide(PAGE, f"{RUN}/reject")
    assert status == 422
    assert "reason" in text
    assert console.decide(PAGE, f"{RUN}/reject", reason="wrong version")[0] == 303
    assert [command.kind for command in console.told.commands] == [CommandKind.REJECT]


def test_what_the_state_does_not_allow_is_a_conflict(console: Console) -> None:
    fields = console.fields(PAGE, f"{PAGE}/hold")
    core = replace(filled.a_core(), state=IncidentState.RESOLVED, version=9)
    console.incidents.put(core.id, Section.INCIDENT, core)
    answer = console.browser.post(f"{PAGE}/hold", data={**fields, "actor": "ada"})
    assert answer.status_code == 409
    assert "INC-000042 is resolved" in answer.text


def test_a_broker_that_is_down_is_said_so(console: Console) -> None:
    console.told.down = True
    answer = console.browser.post(f"{PAGE}/resolve", data={**console.fields(PAGE, f"{PAGE}/resolve"), "actor": "ada"})
    assert answer.status_code == 503
    assert "the broker does not answer" in answer.text
    console.told.down = False
    assert console.decide(PAGE, f"{PAGE}/resolve")[0] == 303


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"actor": ""}, "actor"),
        ({"actor": "   "}, "actor"),
        ({"actor": "x" * 201}, "actor"),
        ({"actor": "a\nb"}, "actor"),
        ({"actor": "a\x00b"}, "actor"),
        ({"reason": "x" * 2001}, "reason"),
        ({"surprise": "1"}, "surprise"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_written(console: Console, given: dict[str, str], named: str) -> None:
    status, text = console.decide(PAGE, f"{PAGE}/resolve", **given)
    assert status == 422
    assert named in text
    assert console.told.commands == []


@pytest.mark.parametrize(
    "path",
    [
        "/incidents/INC-999999/resolve",
        f"{PAGE}/explode",
        f"{PAGE}/runs/nothing/approve",
        f"{RUN}/explode",
        "/healing/explode",
        "/recommendations/nothing/accept",
    ],
)
def test_decisions_on_what_is_not_there_are_not_found(console: Console, path: str) -> None:
    fields = {**console.fields(PAGE, f"{PAGE}/resolve"), "actor": "ada"}
    assert console.browser.post(path, data=fields).status_code == 404
    assert console.told.commands == []


def test_the_name_is_remembered_for_the_next_decision(console: Console) -> None:
    console.decide(PAGE, f"{PAGE}/acknowledge", actor="Ada Łovelace; x=1")
    assert 'name="actor" required maxlength="200" autocomplete="name" value="Ada Łovelace; x=1"' in console.page(PAGE)
    console.browser.cookies.set("paramedic_actor", "%00%ff%22%3E%3Cscript%3E")
    assert "<script>" not in console.page(PAGE)
