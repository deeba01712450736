"""The handler on real stores: durable, idempotent, complete."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.command import CommandKind
from libs.contracts.document import Section
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState
from libs.contracts.investigation import CauseKind, Hypothesis, InvestigationCompleted
from libs.contracts.records import Record
from libs.contracts.remediation import Mode, RemediationChanged, RunState
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from libs.errors import InvalidMessage, Unavailable
from libs.stores.incidents import IncidentQuery
from tests.unit.services.ticketing.said import command, log_lines

MakeAnomaly = Callable[..., AnomalyDetected]
Moment = Callable[[float], datetime]
World = Any


def test_an_anomaly_becomes_a_numbered_ticket_in_the_store_and_on_the_topic(world: World, anomaly: MakeAnomaly) -> None:
    (opened,) = world.feed(anomaly("catalog", 0))
    assert (opened.change, opened.number, opened.version) == (IncidentChange.OPENED, "INC-000001", 1)
    assert world.document("INC-000001").incident == opened


def test_the_ticket_log_proves_what_was_opened_when_and_why(world: World, anomaly: MakeAnomaly) -> None:
    first = anomaly("catalog", 0)
    (opened,) = world.feed(first)
    (line,) = log_lines(world)
    assert (line["incident"], line["number"], line["change"]) == (opened.id, "INC-000001", "opened")
    assert line["opened_at"] == opened.opened_at.isoformat()
    assert line["anomaly_ids"] == [first.id]
    assert "expected 0.03..0.06 s" in line["why"]


def test_a_redelivered_batch_changes_nothing(world: World, anomaly: MakeAnomaly) -> None:
    batch = [anomaly("catalog", 0), anomaly("gateway", 2)]
    world.feed(*batch)
    before = world.document("INC-000001")
    assert world.feed(*batch) == []
    world.handler.tick(world.now)
    world.restart()
    assert world.feed(*batch) == []
    assert world.document("INC-000001") == before
    assert len(log_lines(world)) == 2


def test_an_old_anomaly_redelivered_after_its_incident_was_forgotten_opens_nothing(
    world: World, anomaly: MakeAnomaly, moment: Moment
) -> None:
    (opened,) = world.feed(anomaly("catalog", 0))
    world.feed(command(CommandKind.CANCEL, opened.id, moment))
    world.feed(anomaly("catalog", 0, closed_s=90))
    world.handler.tick(world.now)
    world.restart()
    assert world.feed(anomaly("catalog", 0)) == []
    assert world.document(opened.id).incident.state is IncidentState.CANCELED


def test_without_an_acknowledgement_the_same_emits_come_again(world: World, anomaly: MakeAnomaly) -> None:
    world.handler.wait_for_acknowledgement()
    emitted = world.feed(anomaly("catalog", 0))
    world.handler.failed()
    assert world.feed(anomaly("catalog", 0)) == emitted
    world.handler.acknowledged()
    assert world.feed(anomaly("catalog", 0)) == []


def test_a_kill_before_the_acknowledgement_tells_everything_again_after_the_restart(
    world: World, anomaly: MakeAnomaly
) -> None:
    world.handler.wait_for_acknowledgement()
    emitted = world.feed(anomaly("catalog", 0), anomaly("gateway", 1))
    world.restart()
    world.handler.wait_for_acknowledgement()
    told = world.tick(12)
    assert [core for core in told if core.change is not IncidentChange.CONTEXT_ADDED] == emitted
    world.handler.acknowledged()
    world.tick(13)
    world.restart()
    assert world.tick(14) == []


class Killed(BaseException):
    """What a kill -9 leaves: nothing runs any more."""


class DyingStore:
    """Passes everything to a store and dies before or after its n-th write."""

    def __init__(self, store: Any, writes: int, *, after: bool) -> None:
        self._store = store
        self._left = writes
        self._after = after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in ("put", "put_state", "number"):
            return method

        def write(*args: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Killed
            result = method(*args, **more)
            if self._left == 0:
                raise Killed
            return result

        return write


def story(anomaly: MakeAnomaly, moment: Moment, incident: str) -> list[list[Record]]:
    cause = Hypothesis(rank=1, service="catalog", kind=CauseKind.DEPLOY, cause="slow", confidence=0.9)
    found = InvestigationCompleted(
        id="i1", incident_id=incident, revision=1, as_of=moment(12), started_at=moment(12), duration_s=1.0,
        hypotheses=(cause,),
    )  # fmt: skip
    run = RemediationChanged(
        id="r1", incident_id=incident, pattern="rollback", mode=Mode.AUTO, action="rollback_deploy",
        target="catalog", state=RunState.SUCCEEDED, version=1, requested_at=moment(30), updated_at=moment(50),
    )  # fmt: skip
    return [
        [anomaly("catalog", 0)],
        [anomaly("gateway", 2), found],
        [command(CommandKind.ACKNOWLEDGE, incident, moment), anomaly("catalog", 0, closed_s=40)],
        [command(CommandKind.COMMENT, incident, moment, text="looking"), run],
    ]


def play(world: World, batches: Sequence[tuple[int, Sequence[Record]]], told: list[IncidentChanged]) -> None:
    for place, batch in batches:
        told.extend(world.feed(*batch))
        world.handler.acknowledged()
        told.extend(world.tick(61 + 15 * place))
        world.handler.acknowledged()


def stripped(world: World, incident: str) -> tuple[Any, ...]:
    document = world.document(incident)
    return (document.incident, document.timeline, document.root_cause, document.context)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_write_loses_and_doubles_nothing(
    tmp_path_factory: pytest.TempPathFactory, world: World, anomaly: MakeAnomaly, moment: Moment, after: bool
) -> None:
    told: list[IncidentChanged] = []
    (opened,) = world.feed(anomaly("catalog", 0))
    expected = [opened]
    play(world, list(enumerate(story(anomaly, moment, opened.id))), expected)
    writes, died = 0, True
    while died:
        writes += 1
        died = False
        other = type(world)(tmp_path_factory.mktemp("killed"))
        other.platform.__dict__["incidents"] = DyingStore(other.platform.incidents, writes, after=after)
        other.restart()
        other.handler.wait_for_acknowledgement()
        told = []
        for place, batch in enumerate(story(anomaly, moment, opened.id)):
            try:
                play(other, [(place, batch)], told)
            except Killed:
                died = True
                other.restart()
                other.handler.wait_for_acknowledgement()
                play(other, [(place, batch)], told)
        assert stripped(other, opened.id) == stripped(world, opened.id), writes
        assert {core.version: core for core in told} == {core.version: core for core in expected}, writes
        assert sorted(line["id"] for line in log_lines(other)) == sorted(line["id"] for line in log_lines(world))
        other.close()
    assert writes > 20


def test_a_conflict_with_another_writer_is_held_and_decided_anew(
    world: World, anomaly: MakeAnomaly, moment: Moment
) -> None:
    (opened,) = world.feed(anomaly("catalog", 0))
    theirs = replace(opened, version=2, title="changed elsewhere")
    world.platform.incidents.put(opened.id, Section.INCIDENT, theirs)
    with pytest.raises(Unavailable):
        world.feed(command(CommandKind.ACKNOWLEDGE, opened.id, moment))
    told = world.feed(command(CommandKind.ACKNOWLEDGE, opened.id, moment))
    assert [core.state for core in told][-1] is IncidentState.IN_PROGRESS


def test_a_refused_command_is_answered_in_the_log_and_leaves_the_batch_undone(
    world: World, anomaly: MakeAnomaly, moment: Moment
) -> None:
    bad = command(CommandKind.RESOLVE, "INC-000777", moment)
    with pytest.raises(InvalidMessage, match="INC-000777"):
        world.feed(anomaly("catalog", 0), bad)
    assert world.platform.incidents.get("INC-000001") is None
    with pytest.raises(InvalidMessage, match="INC-000777"):
        world.feed(bad)
    (line,) = log_lines(world)
    assert line["outcome"] == "refused: resolve by ada: no incident 'INC-000777'"


def test_a_command_for_another_service_is_in_the_audit_trail_once(world: World, moment: Moment) -> None:
    halt = command(CommandKind.HALT, "", moment)
    assert world.feed(halt, halt) == []
    assert world.feed(halt) == []
    (line,) = log_lines(world)
    assert (line["change"], line["actor"], line["outcome"]) == ("command_halt", "ada", "passed on")


def test_an_investigation_of_nothing_is_refused(world: World, moment: Moment) -> None:
    found = InvestigationCompleted(
        id="i1", incident_id="nothing", revision=1, as_of=moment(0), started_at=moment(0), duration_s=1.0
    )
    with pytest.raises(InvalidMessage, match="no incident 'nothing'"):
        world.feed(found)


def test_numbers_that_are_no_numbers_are_stored_as_something_that_is(world: World, anomaly: MakeAnomaly) -> None:
    odd = replace(anomaly("catalog", 0), observed=math.nan, expected_upper=math.inf, deviation=-math.inf)
    world.feed(odd)
    (stored,) = world.document("INC-000001").incident.anomalies
    assert (stored.observed, stored.expected_upper, stored.deviation) == (0.0, 1e300, -1e300)


def test_a_command_may_name_the_number(world: World, anomaly: MakeAnomaly, moment: Moment) -> None:
    world.feed(anomaly("catalog", 0))
    (told,) = world.feed(command(CommandKind.ACKNOWLEDGE, "inc-000001", moment))
    assert told.state is IncidentState.IN_PROGRESS


def test_recovery_follows_the_telemetry_s_time(world: World, anomaly: MakeAnomaly, moment: Moment) -> None:
    world.feed(anomaly("catalog", 0, closed_s=60))
    world.tick(179)
    assert world.document("INC-000001").incident.state is IncidentState.NEW
    world.tick(181)
    recovered = world.document("INC-000001").incident
    assert (recovered.state, recovered.resolved_by) == (IncidentState.RESOLVED, "recovery")
    assert recovered.resolved_at == moment(180)


def test_live_batches_and_one_replayed_batch_give_the_same_tickets(
    tmp_path_factory: pytest.TempPathFactory, world: World, anomaly: MakeAnomaly
) -> None:
    world.call("gateway", "catalog", -300.0)
    records = [
        anomaly("catalog", 0),
        anomaly("gateway", 5),
        anomaly("printer", 7),
        anomaly("catalog", 0, closed_s=60),
        anomaly("gateway", 5, closed_s=65),
    ]
    for record in records:
        world.feed(record)
        world.tick(70)
    other = type(world)(tmp_path_factory.mktemp("replayed"))
    other.call("gateway", "catalog", -300.0)
    other.feed(*reversed(records))
    other.tick(70)
    for number in ("INC-000001", "INC-000002"):
        live, replayed = world.document(number).incident, other.document(number).incident
        assert (live.id, live.services, live.opened_at) == (replayed.id, replayed.services, replayed.opened_at)
        assert live.anomalies == replayed.anomalies
    other.close()


@pytest.mark.parametrize(("actor", "tickets"), [("ada", 2), ("paramedic", 1)])
def test_only_what_others_changed_begins_another_incident(
    world: World, anomaly: MakeAnomaly, moment: Moment, actor: str, tickets: int
) -> None:
    world.feed(anomaly("catalog", 0, peer="sqlite"))
    deploy = ChangeEvent(
        id="d1", kind=ChangeKind.DEPLOY, service="catalog", timestamp=moment(60), version="2.4.0", actor=actor
    )
    world.platform.telemetry.write(changes=[deploy])
    world.feed(anomaly("catalog", 65))
    assert len(world.platform.incidents.search(IncidentQuery()).incidents) == tickets
