"""The handler end to end on real stores and a real control server, with the clock in the test's hand."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from libs.contracts.anomaly import Severity
from libs.contracts.command import CommandKind
from libs.contracts.document import Section
from libs.contracts.incident import IncidentState
from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import Mode, RemediationChanged, RunState
from libs.errors import ConfigurationError, InvalidMessage, Unavailable
from libs.runbooks.scorecard import scorecard
from tests.unit.libs.runbooks.made import a_change, a_hypothesis, an_anomaly, an_incident, at, closed
from tests.unit.services.remediation.control_server import ControlServer
from tests.unit.services.remediation.world import (
    SYMPTOM,
    TRIGGER,
    World,
    a_command,
    an_investigation,
    events_of,
    revised,
)

HUNG_BANK = a_hypothesis(service="bank", kind=CauseKind.DEPENDENCY, change_id=None, cause="bank does not answer")


def test_a_bad_deploy_is_rolled_back_verified_held_and_reported(world: World, control: ControlServer) -> None:
    world.heal()
    run = world.newest
    assert run.state is RunState.SUCCEEDED
    assert control.production.versions[-1] == "2.3.0"
    assert control.production.done == [("/services/catalog/deploy", f"{run.id}/apply")]
    assert run.parameters == {"to_version": "2.3.0"}
    assert "p95 of catalog 400 ms" in run.detection
    assert "catalog 2.3.0 runs 1 instance" in run.deploy
    assert "1 anomalies of catalog closed, the last 25 s after the fix" in run.verification
    assert [told.version for told in world.published] == list(range(1, run.version + 1))
    assert world.incidents.section("incident-1", Section.REMEDIATION)[0] == (run,)  # type: ignore[index]
    assert (scorecard(world.published).total.successes, scorecard(world.published).total.applied) == (1, 1)


def test_the_log_tells_detection_fix_deploy_and_verification_once_each(world: World) -> None:
    world.heal()
    lines = world.log_lines()
    assert [line["version"] for line in lines] == [told.version for told in world.published]
    assert len({line["id"] for line in lines}) == len(lines)
    last = lines[-1]
    assert last["state"] == "succeeded"
    assert all(last[name] for name in ("detection", "fix", "deploy", "verification", "applied_at", "number"))


def test_everything_delivered_twice_changes_nothing(world: World, control: ControlServer) -> None:
    incident, investigation = an_incident(TRIGGER, SYMPTOM), an_investigation()
    world.heal()
    published = list(world.published)
    world.deliver(incident, investigation, closed(TRIGGER, 45), TRIGGER, SYMPTOM)
    world.tick()
    world.restart()
    world.deliver(incident, investigation)
    world.tick(3)
    assert world.published == published
    assert len(control.production.done) == 1


def test_a_fix_that_does_not_help_is_undone_and_left_to_a_human(world: World, control: ControlServer) -> None:
    world.open_incident()
    world.time(81)
    world.tick(2)
    assert world.state() is RunState.ROLLED_BACK
    assert control.production.versions[-1] == "2.4.0"
    assert [path for path, _ in control.production.done] == ["/services/catalog/deploy"] * 2
    assert scorecard(world.published).total.rate == 0.0


def test_a_fix_that_failed_is_not_tried_again_on_the_same_incident(world: World, control: ControlServer) -> None:
    world.open_incident()
    world.time(81)
    world.tick(2)
    again = revised(an_investigation(), a_hypothesis(confidence=0.95))
    world.store_incident(an_incident(TRIGGER, SYMPTOM), again)
    world.deliver(again)
    world.time(400)
    world.tick(2)
    assert len(control.production.done) == 2
    assert len({run.id for run in world.published}) == 1


def test_trouble_that_comes_back_within_the_hold_is_no_success(world: World) -> None:
    world.open_incident()
    world.close_anomalies(45)
    world.time(58)
    world.deliver(an_anomaly(id="again", started_at=at(50)))
    world.tick(2)
    assert world.newest.recurred
    assert world.state() is RunState.ROLLED_BACK


def test_a_hung_dependency_is_left_to_a_human_at_once_and_once(world: World, control: ControlServer) -> None:
    world.open_incident(HUNG_BANK)
    world.deliver(an_investigation(HUNG_BANK))
    world.tick()
    world.restart()
    world.tick(3)
    assert [(run.state, run.pattern, run.target) for run in world.published] == [(RunState.ESCALATED, "", "bank")]
    assert "no known pattern" in world.newest.reason
    assert control.production.done == []
    assert scorecard(world.published).total.applied == 0


def test_a_doubtful_cause_without_a_pattern_waits_for_a_better_one(world: World) -> None:
    world.open_incident(replace(HUNG_BANK, confidence=0.3))
    assert world.published == []
    world.time(39)
    world.tick()
    assert world.published == []
    world.time(41)
    world.tick()
    assert world.state() is RunState.ESCALATED


def test_the_wait_for_a_better_cause_survives_a_restart(world: World) -> None:
    world.open_incident(replace(HUNG_BANK, confidence=0.3))
    world.restart()
    world.time(41)
    world.tick()
    assert world.state() is RunState.ESCALATED


def test_a_halt_in_the_same_batch_stops_what_is_about_to_begin(world: World, control: ControlServer) -> None:
    incident, investigation = an_incident(TRIGGER, SYMPTOM), an_investigation()
    world.time(20)
    world.store_incident(incident, investigation)
    world.deliver(incident, investigation, a_command(CommandKind.HALT, seconds=20))
    world.tick(3)
    assert control.production.done == []
    assert world.state() is RunState.REQUESTED
    assert "halted by ann" in world.newest.reason
    world.restart()
    world.tick(2)
    assert control.production.done == []
    world.deliver(a_command(CommandKind.RESUME, seconds=30))
    world.tick()
    assert world.state() is RunState.VERIFYING


def test_an_old_resume_does_not_take_back_a_newer_halt(world: World, control: ControlServer) -> None:
    world.time(20)
    world.deliver(a_command(CommandKind.HALT, seconds=20))
    world.deliver(a_command(CommandKind.RESUME, seconds=10))
    world.open_incident(seconds=25)
    assert control.production.done == []


@pytest.mark.parametrize("by", ["run id", "incident id", "number"])
def test_a_flag_is_turned_off_once_a_human_approves(world: World, control: ControlServer, by: str) -> None:
    world.changed(a_change(id="flag-1", attributes={"flag": "new-pricing"}, version=None, previous_version=None))
    world.open_incident(a_hypothesis(kind=CauseKind.FLAG, change_id="flag-1"))
    waiting = world.newest
    assert waiting.state is RunState.AWAITING_APPROVAL
    assert control.production.done == []
    target = {"run id": waiting.id, "incident id": "incident-1", "number": "inc-000001"}[by]
    approval = a_command(CommandKind.APPROVE, target, 25)
    world.deliver(approval)
    world.tick()
    world.deliver(approval)
    assert control.production.done == [("/flags/new-pricing", f"{waiting.id}/apply")]
    world.close_anomalies(45)
    world.time(100)
    world.tick()
    assert world.state() is RunState.SUCCEEDED
    assert world.newest.human_involved
    card = scorecard(world.published).total
    assert (card.applied, card.approved_by_human, card.approved_successes) == (0, 1, 1)


def test_a_rejected_fix_is_never_applied(world: World, control: ControlServer) -> None:
    world.deliver(a_command(CommandKind.SET_MODE, "roll-back-deploy", 1, mode="approve"))
    world.open_incident()
    world.deliver(a_command(CommandKind.REJECT, world.newest.id, 25))
    world.tick(2)
    assert world.state() is RunState.CANCELED
    again = revised(an_investigation(), a_hypothesis())
    world.store_incident(an_incident(TRIGGER, SYMPTOM), again)
    world.deliver(again)
    world.tick(2)
    assert control.production.done == []
    assert len({run.id for run in world.published}) == 1


def test_a_mode_set_at_runtime_survives_a_restart(world: World, control: ControlServer) -> None:
    world.deliver(a_command(CommandKind.SET_MODE, "roll-back-deploy", 1, mode="observe"))
    world.restart()
    world.open_incident()
    assert world.state() is RunState.ESCALATED
    assert world.newest.mode is Mode.OBSERVE
    assert "proposal only: rollback_deploy(catalog, to_version=2.3.0)" in world.newest.reason
    assert control.production.done == []


@pytest.mark.parametrize(
    "command",
    [
        a_command(CommandKind.SET_MODE, "roll-back-deploy", 1, mode="yolo"),
        a_command(CommandKind.SET_MODE, "no-such-pattern", 1, mode="auto"),
        a_command(CommandKind.APPROVE, "INC-999999", 1),
        a_command(CommandKind.REJECT, "", 1),
    ],
    ids=lambda command: f"{command.kind.value} {command.target}",
)
def test_a_command_that_makes_no_sense_is_refused_with_a_reason(world: World, command: object) -> None:
    with pytest.raises(InvalidMessage, match="by ann"):
        world.deliver(command)  # type: ignore[arg-type]


def test_an_investigation_of_nothing_is_refused(world: World) -> None:
    with pytest.raises(InvalidMessage, match="no incident"):
        world.deliver(an_investigation())


def test_a_revision_before_apply_that_leads_elsewhere_cancels_and_escalates(
    world: World, control: ControlServer
) -> None:
    world.deliver(a_command(CommandKind.SET_MODE, "roll-back-deploy", 1, mode="approve"))
    world.open_incident()
    newer = revised(an_investigation(), HUNG_BANK, a_hypothesis(rank=2, confidence=0.2))
    world.store_incident(an_incident(TRIGGER, SYMPTOM), newer)
    world.deliver(newer)
    states = {run.pattern: run.state for run in world.published}
    assert states == {"roll-back-deploy": RunState.CANCELED, "": RunState.ESCALATED}
    card = scorecard(world.published)
    assert (card.total.applied, card.total.not_applied, card.without_pattern) == (0, 1, 1)
    assert control.production.done == []


def test_the_newest_revision_is_used_when_an_older_one_arrives_late(world: World, control: ControlServer) -> None:
    newer = revised(an_investigation(), HUNG_BANK)
    world.time(20)
    world.store_incident(an_incident(TRIGGER, SYMPTOM), newer)
    world.deliver(an_investigation())
    world.tick(2)
    assert control.production.done == []
    assert world.newest.pattern == ""


def test_a_hypothesis_that_is_not_sure_enough_waits_then_calls_a_human(world: World, control: ControlServer) -> None:
    world.open_incident(a_hypothesis(confidence=0.4))
    assert world.state() is RunState.REQUESTED
    assert "confidence 0.40" in world.newest.reason
    world.time(150)
    world.tick()
    assert world.state() is RunState.ESCALATED
    assert control.production.done == []


def test_a_surer_revision_goes_on_where_policy_waited(world: World) -> None:
    world.open_incident(a_hypothesis(confidence=0.4))
    surer = revised(an_investigation(), a_hypothesis(confidence=0.9))
    world.store_incident(an_incident(TRIGGER, SYMPTOM), surer)
    world.deliver(surer)
    world.tick()
    assert world.state() is RunState.VERIFYING


def test_a_person_who_changes_the_target_meanwhile_spoils_the_automatic_success(world: World) -> None:
    world.open_incident()
    world.changed(a_change(id="hotfix", actor="ann", timestamp=at(30), summary="hotfix"))
    world.close_anomalies(45)
    world.time(100)
    world.tick()
    assert world.state() is RunState.SUCCEEDED
    assert world.newest.human_involved
    assert "ann changed catalog: hotfix" in str([run.reason for run in world.published])
    assert scorecard(world.published).total.successes == 0


def test_the_platforms_own_change_is_no_human_hand(world: World) -> None:
    world.open_incident()
    world.changed(a_change(id="own", actor="paramedic", timestamp=at(21)))
    world.close_anomalies(45)
    world.time(100)
    world.tick()
    assert not world.newest.human_involved


def test_a_person_who_changed_the_target_right_before_is_not_disturbed(world: World, control: ControlServer) -> None:
    world.changed(a_change(id="hotfix", actor="ann", timestamp=at(5), summary="hotfix"))
    world.open_incident()
    assert control.production.done == []
    assert "ann changed catalog" in world.newest.reason
    world.time(66)
    world.tick()
    assert len(control.production.done) == 1


def test_a_resolved_incident_is_left_alone(world: World, control: ControlServer) -> None:
    world.deliver(a_command(CommandKind.SET_MODE, "roll-back-deploy", 1, mode="approve"))
    world.open_incident()
    world.deliver(an_incident(TRIGGER, SYMPTOM, state=IncidentState.RESOLVED, resolved_by="recovery", version=2))
    assert world.state() is RunState.CANCELED
    assert not world.newest.human_involved


def test_resolving_by_hand_during_the_hold_is_a_human_hand(world: World) -> None:
    world.open_incident()
    world.close_anomalies(45)
    world.deliver(a_command(CommandKind.RESOLVE, "INC-000001", 50))
    world.time(100)
    world.tick()
    assert world.state() is RunState.SUCCEEDED
    assert world.newest.human_involved


def test_low_anomalies_do_not_decide(world: World) -> None:
    noise = an_anomaly("catalog", id="noise", severity=Severity.LOW)
    incident, investigation = an_incident(TRIGGER, noise), an_investigation()
    world.time(20)
    world.store_incident(incident, investigation)
    world.deliver(incident, investigation)
    world.tick()
    world.time(45)
    world.deliver(closed(TRIGGER, 45))
    world.tick()
    assert world.state() is RunState.HOLDING


@pytest.mark.parametrize(
    ("modes", "text"), [({"nothing": "auto"}, "no pattern 'nothing'"), ({"scale-out": "yolo"}, "yolo")]
)
def test_wrong_modes_in_the_settings_stop_the_service(tmp_path: Path, modes: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        World(tmp_path, modes=modes)


def test_a_second_instance_that_was_overtaken_reads_again_before_it_acts(world: World, control: ControlServer) -> None:
    world.deliver(a_command(CommandKind.SET_MODE, "roll-back-deploy", 1, mode="approve"))
    world.open_incident()
    first, second = world.handler, world.new_handler()
    second.tick(world.now)  # has read the run that waits
    world.deliver(a_command(CommandKind.REJECT, world.newest.id, 25))
    world.handler = second
    approval = a_command(CommandKind.APPROVE, "incident-1", 26)
    with pytest.raises(Unavailable, match="another instance"):
        world.deliver(approval)
    with pytest.raises(InvalidMessage, match="is canceled"):
        world.deliver(approval)
    world.tick(2)
    assert control.production.done == []
    first.close()


def test_a_log_line_cut_short_by_a_kill_does_not_swallow_the_next(world: World) -> None:
    path = world.folder / "logs" / "self_healing.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"id": "cut sho')
    world.open_incident()
    lines = path.read_text().splitlines()
    assert lines[0] == '{"id": "cut sho'
    assert [json.loads(line)["version"] for line in lines[1:]] == [run.version for run in world.published]


def test_what_the_broker_did_not_confirm_is_returned_again_even_after_later_decisions(world: World) -> None:
    world.open_incident()
    told = [run.version for run in world.published]
    world.time(45)
    lost = world.handler.handle(events_of(closed(TRIGGER, 45), closed(SYMPTOM, 45)))
    assert [emit.record.version for emit in lost if isinstance(emit.record, RemediationChanged)] == [told[-1] + 1]
    world.handler.failed()
    world.time(100)
    world.tick()
    assert [run.version for run in world.published] == list(range(1, told[-1] + 3))
    assert world.state() is RunState.SUCCEEDED
