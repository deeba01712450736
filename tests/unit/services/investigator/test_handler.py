"""The handler: once per moment, after the telemetry, again when it grows or settles, and nothing lost by a restart."""

from dataclasses import replace
from datetime import timedelta
from time import monotonic
from typing import Any

import pytest

from libs.contracts.batches import MetricBatchBuilder
from libs.contracts.codec import ns_from_utc
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import Section
from libs.contracts.incident import IncidentChange, IncidentState
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.telemetry import ChangeKind
from libs.errors import InvalidMessage, Unavailable
from libs.service.platform import Platform
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from services.investigator.command import investigate as investigate_command
from services.investigator.further import Further
from services.investigator.handler import InvestigatorHandler
from services.investigator.pending import due_for
from tests.unit.services.investigator.handled import TICKET, Clock, core, event, opened, record_shop, results
from tests.unit.services.investigator.shop_telemetry import BEGAN, change
from tests.unit.services.investigator.test_further import Scripted, answer, asking, call


def test_an_opened_incident_is_investigated_written_and_emitted(platform: Platform) -> None:
    record_shop(platform)
    opened(platform)
    [found] = results(core(platform).handle([event(TICKET)]))
    assert found.revision == 1
    assert found.hypotheses[0].service == "catalog"
    stored = platform.incidents.section(TICKET.id, Section.INVESTIGATION)
    assert stored is not None
    assert stored[0] == found


def test_the_same_message_twice_is_investigated_once(platform: Platform) -> None:
    record_shop(platform)
    opened(platform)
    service = core(platform)
    assert len(results(service.handle([event(TICKET), event(TICKET, 1)]))) == 1
    assert results(service.handle([event(TICKET, 2)])) == []


def test_it_waits_for_the_telemetry_and_then_looks(platform: Platform) -> None:
    record_shop(platform, now_s=5.0)
    opened(platform)
    service = core(platform)
    assert results(service.handle([event(TICKET)])) == []
    assert results(service.tick(BEGAN)) == []
    late = MetricBatchBuilder("late", {}, BEGAN)
    late.add(("m", "value", "", ()), ns_from_utc(TICKET.updated_at), 1.0)
    platform.telemetry.write(metrics=late.build())
    assert len(results(service.tick(BEGAN))) == 1


def test_it_does_not_wait_longer_than_three_seconds(platform: Platform, clock: Clock) -> None:
    record_shop(platform, now_s=5.0)
    opened(platform)
    service = core(platform)
    assert results(service.handle([event(TICKET)])) == []
    clock.now += timedelta(seconds=3)
    assert len(results(service.tick(clock.now))) == 1


def test_an_incident_that_grows_for_long_is_looked_at_less_and_less_often() -> None:
    """Every second brings an anomaly for five minutes: nine looks instead of 31."""
    stored = InvestigationCompleted(
        id="1", incident_id=TICKET.id, revision=1, as_of=TICKET.opened_at, started_at=BEGAN, duration_s=1.0
    )
    looks = 1
    for second in range(1, 301):
        growing = replace(
            TICKET,
            change=IncidentChange.ANOMALY_ADDED,
            updated_at=TICKET.opened_at + timedelta(seconds=second),
        )
        due = due_for(growing, stored, growing.updated_at)
        if due is not None and due.as_of <= growing.updated_at:
            looks, stored = looks + 1, replace(stored, as_of=due.as_of)
    assert looks == 9


def test_growth_is_investigated_at_most_every_ten_seconds_of_event_time(platform: Platform) -> None:
    record_shop(platform, now_s=60.0)
    opened(platform)
    service = core(platform)
    service.handle([event(TICKET)])
    grown = replace(
        TICKET,
        version=2,
        change=IncidentChange.ANOMALY_ADDED,
        services=("gateway", "catalog", "checkout"),
        updated_at=TICKET.updated_at + timedelta(seconds=2),
    )
    opened(platform, grown)
    [found] = results(service.handle([event(grown)]))
    assert found.revision == 2
    assert found.as_of == TICKET.updated_at + timedelta(seconds=10)
    again = replace(grown, version=3, updated_at=TICKET.updated_at + timedelta(seconds=4))
    assert results(service.handle([event(again)])) == []


def test_an_incident_that_stays_open_is_looked_at_again_when_slow_metrics_have_come(platform: Platform) -> None:
    record_shop(platform, now_s=70.0)
    opened(platform)
    service = core(platform)
    service.handle([event(TICKET)])
    [found] = results(service.tick(BEGAN))
    assert found.revision == 2
    assert found.as_of == TICKET.opened_at + timedelta(seconds=30)
    assert results(service.tick(BEGAN)) == []


@pytest.mark.parametrize(("actor", "looks"), [("paramedic", 0), ("ana", 2)])
def test_what_a_recorded_fix_made_of_it_is_not_investigated(platform: Platform, actor: str, looks: int) -> None:
    """A recording has no remediation: that Paramedic scaled a suspect out is a change like others there."""
    record_shop(platform, now_s=70.0)
    platform.telemetry.write(changes=[change(ChangeKind.SCALE, "catalog", -30.0, actor=actor)])
    opened(platform)
    service = core(platform)
    assert len(results(service.handle([event(TICKET)]))) == 1
    assert len(results((*service.tick(BEGAN), *service.end()))) == looks


def test_a_later_look_waits_for_something_new_to_look_at(platform: Platform, clock: Clock) -> None:
    record_shop(platform, now_s=(TICKET.updated_at - BEGAN).total_seconds() - 5.0)
    opened(platform)
    service = core(platform)
    service.handle([event(TICKET)])
    clock.now += timedelta(seconds=3)
    [first] = results(service.tick(clock.now))
    late = MetricBatchBuilder("late", {}, BEGAN)
    late.add(("m", "value", "", ()), ns_from_utc(TICKET.opened_at + timedelta(seconds=60)), 1.0)
    platform.telemetry.write(metrics=late.build())
    assert results(service.tick(BEGAN)) == []  # the look after 30 s would see what the first one saw
    later = MetricBatchBuilder("late", {}, BEGAN)
    later.add(("m", "value", "", ()), ns_from_utc(TICKET.opened_at + timedelta(seconds=121)), 1.0)
    platform.telemetry.write(metrics=later.build())
    [second] = results(service.tick(BEGAN))
    assert second.revision == first.revision + 1
    assert second.as_of == TICKET.opened_at + timedelta(seconds=120)


def test_the_end_of_a_recording_has_every_open_incident_looked_at_with_all_its_telemetry(platform: Platform) -> None:
    record_shop(platform, now_s=70.0)
    opened(platform)
    service = core(platform)
    service.handle([event(TICKET)])
    [found] = results(service.end())
    assert found.revision == 2
    assert 0 <= ns_from_utc(found.as_of) - platform.telemetry.watermark_ns() < 1_000


def test_the_end_of_a_recording_waits_for_no_telemetry(platform: Platform) -> None:
    record_shop(platform, now_s=5.0)
    opened(platform)
    service = core(platform)
    assert results(service.handle([event(TICKET)])) == []
    assert len(results(service.end())) == 1
    assert results(service.tick(BEGAN)) == []


def test_the_end_of_a_recording_leaves_resolved_incidents_alone(platform: Platform) -> None:
    record_shop(platform, now_s=70.0)
    resolved = replace(TICKET, state=IncidentState.RESOLVED, change=IncidentChange.RESOLVED)
    opened(platform, resolved)
    assert results(core(platform).end()) == []


def test_a_resolved_incident_is_left_alone(platform: Platform) -> None:
    record_shop(platform, now_s=70.0)
    resolved = replace(TICKET, state=IncidentState.RESOLVED, change=IncidentChange.RESOLVED)
    opened(platform, resolved)
    service = core(platform)
    assert results(service.handle([event(resolved)])) == []
    assert results(service.tick(BEGAN)) == []


def test_a_restart_finds_the_incident_that_was_never_investigated(platform: Platform) -> None:
    record_shop(platform)
    opened(platform)
    [found] = results(core(platform).tick(BEGAN))
    assert found.incident_id == TICKET.id


def test_a_restart_emits_a_stored_result_again_without_another_revision(platform: Platform) -> None:
    record_shop(platform)
    opened(platform)
    [before] = results(core(platform).handle([event(TICKET)]))
    assert results(core(platform).tick(BEGAN)) == [before]


def test_a_person_asks_and_the_same_command_asks_once(platform: Platform) -> None:
    record_shop(platform)
    opened(platform)
    service = core(platform)
    service.handle([event(TICKET)])
    command = Command(id="c1", kind=CommandKind.INVESTIGATE, target=TICKET.number, actor="ann", issued_at=BEGAN)
    [found] = results(service.handle([event(command)]))
    assert found.revision == 2
    assert results(service.handle([event(command, 1)])) == []


def test_a_command_on_an_unknown_incident_is_refused(platform: Platform) -> None:
    command = Command(id="c2", kind=CommandKind.INVESTIGATE, target="INC-999999", actor="ann", issued_at=BEGAN)
    with pytest.raises(InvalidMessage, match="INC-999999"):
        core(platform).handle([event(command)])


def test_other_commands_are_not_its_business(platform: Platform) -> None:
    command = Command(id="c3", kind=CommandKind.ACKNOWLEDGE, target="INC-999999", actor="ann", issued_at=BEGAN)
    assert core(platform).handle([event(command)]) == []


def test_an_outage_in_the_middle_of_a_batch_loses_no_result(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_shop(platform)
    second = replace(TICKET, id="incident-2", number="INC-000002")
    opened(platform)
    opened(platform, second)
    service = core(platform)
    whole = SqliteIncidentStore.get

    def broken(self: SqliteIncidentStore, incident_id: str) -> Any:
        if incident_id == "incident-2":
            raise Unavailable("down")
        return whole(self, incident_id)

    monkeypatch.setattr(SqliteIncidentStore, "get", broken)
    with pytest.raises(Unavailable):
        service.handle([event(TICKET), event(second, 1)])
    monkeypatch.setattr(SqliteIncidentStore, "get", whole)
    found = results(service.handle([event(TICKET), event(second, 1)]))
    assert {result.incident_id for result in found} == {TICKET.id, "incident-2"}
    assert all(result.revision == 1 for result in found)


def test_the_command_line_investigates_again_and_keeps_the_result(platform: Platform) -> None:
    record_shop(platform)
    opened(platform)
    core(platform).handle([event(TICKET)])
    found = investigate_command(platform, platform.settings, TICKET.number)
    assert found.revision == 2
    stored = platform.incidents.section(TICKET.id, Section.INVESTIGATION)
    assert stored is not None
    assert stored[0] == found


def test_what_a_model_found_is_the_next_revision_and_is_emitted(platform: Platform) -> None:
    record_shop(platform)
    opened(platform)
    model = Scripted(script=[call("get_requests", {"service": "catalog"}), answer()])
    further = Further("scripted:one", 60.0, platform.log, open_model=lambda *_: model, open_tools=asking())
    service = InvestigatorHandler(
        telemetry=platform.telemetry,
        incidents=platform.incidents,
        runbooks=(),
        window_s=5.0,
        clock=platform.clock,
        log=platform.log,
        further=further,
    )
    [statistical] = results(service.handle([event(TICKET)]))
    found: list[InvestigationCompleted] = []
    deadline_s = monotonic() + 60.0
    while not found:
        assert monotonic() < deadline_s
        found = [result for result in results(service.tick(BEGAN)) if result.author != statistical.author]
    service.close()
    assert (found[0].author, found[0].incident_id) == ("scripted:one", TICKET.id)
    assert found[0].revision > statistical.revision
    stored = platform.incidents.section(TICKET.id, Section.INVESTIGATION)
    assert stored is not None
    assert stored[0] == found[0]


def test_the_stores_are_the_embedded_ones(platform: Platform) -> None:
    assert isinstance(platform.telemetry, SqliteTelemetryStore)
