"""What comes late is not lost: a look that lacked telemetry or a change is made again, once, when that has come."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from libs.contracts.incident import IncidentChange, IncidentState
from libs.contracts.investigation import CauseKind, InvestigationCompleted
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from libs.service.platform import Platform
from services.investigator.handler import InvestigatorHandler
from tests.unit.services.investigator.handled import TICKET, Clock, core, event, opened, record_shop, results
from tests.unit.services.investigator.shop_telemetry import change

DEPLOY = change(ChangeKind.DEPLOY, "catalog", 3.0, version="2.0", previous_version="1.0")
RESOLVED = replace(TICKET, state=IncidentState.RESOLVED, change=IncidentChange.RESOLVED)


def record(platform: Platform, *changes: ChangeEvent) -> None:
    platform.telemetry.write(changes=changes)


def ticks(
    service: InvestigatorHandler, clock: Clock, seconds: float = 30.0, step_s: float = 1.0
) -> Sequence[InvestigationCompleted]:
    """What comes out while time passes."""
    found: list[InvestigationCompleted] = []
    for _ in range(int(seconds / step_s)):
        clock.now += timedelta(seconds=step_s)
        found += results(service.tick(clock.now))
    return found


def looked_too_early(platform: Platform, clock: Clock) -> InvestigatorHandler:
    """The recorder is held by an outage with the deploy and all telemetry of the incident in hand."""
    record_shop(platform, now_s=5.0)
    opened(platform)
    service = core(platform)
    assert results(service.handle([event(DEPLOY), event(TICKET)])) == []
    [first] = ticks(service, clock)
    assert first.hypotheses[0].kind is not CauseKind.DEPLOY
    return service


def test_telemetry_that_was_held_is_looked_at_when_it_has_come(platform: Platform, clock: Clock) -> None:
    service = looked_too_early(platform, clock)
    record(platform, DEPLOY)
    record_shop(platform)
    [second] = ticks(service, clock)
    assert second.revision == 2
    assert second.as_of == TICKET.updated_at
    assert (second.hypotheses[0].service, second.hypotheses[0].kind) == ("catalog", CauseKind.DEPLOY)


@pytest.mark.parametrize("deploy_first", [True, False])
def test_a_change_and_the_spans_of_its_moment_come_in_any_order(
    platform: Platform, clock: Clock, deploy_first: bool
) -> None:
    service = looked_too_early(platform, clock)
    if deploy_first:
        record(platform, DEPLOY)
    else:
        record_shop(platform)
    assert ticks(service, clock) == []
    record(platform, DEPLOY)
    record_shop(platform)
    [second] = ticks(service, clock)
    assert second.hypotheses[0].kind is CauseKind.DEPLOY


def test_a_ticket_that_was_resolved_meanwhile_still_gets_its_cause(platform: Platform, clock: Clock) -> None:
    service = looked_too_early(platform, clock)
    opened(platform, RESOLVED)
    assert results(service.handle([event(RESOLVED)])) == []
    record(platform, DEPLOY)
    record_shop(platform)
    [second] = ticks(service, clock)
    assert second.hypotheses[0].kind is CauseKind.DEPLOY


def test_a_restart_between_looks_again_too(platform: Platform, clock: Clock) -> None:
    looked_too_early(platform, clock)
    service = core(platform)
    [again] = results(service.tick(clock.now))  # the stored result, told once more
    assert again.revision == 1
    record(platform, DEPLOY)
    record_shop(platform)
    [second] = ticks(service, clock)
    assert second.hypotheses[0].kind is CauseKind.DEPLOY


def test_the_first_look_waits_for_a_change_that_was_told(platform: Platform, clock: Clock) -> None:
    record_shop(platform)
    opened(platform)
    service = core(platform)
    assert results(service.handle([event(DEPLOY), event(TICKET)])) == []
    record(platform, DEPLOY)
    [first] = ticks(service, clock)
    assert (first.revision, first.hypotheses[0].kind) == (1, CauseKind.DEPLOY)


def test_a_change_that_is_told_afterwards_is_considered(platform: Platform, clock: Clock) -> None:
    """Many systems report a deploy when it has ended, minutes after it took effect."""
    record_shop(platform)
    opened(platform)
    service = core(platform)
    [first] = results(service.handle([event(TICKET)]))
    assert first.hypotheses[0].kind is not CauseKind.DEPLOY
    record(platform, DEPLOY)
    assert results(service.handle([event(DEPLOY)])) == []
    [second] = ticks(service, clock)
    assert second.hypotheses[0].kind is CauseKind.DEPLOY


def test_a_change_that_was_seen_or_cannot_matter_asks_for_nothing(platform: Platform, clock: Clock) -> None:
    record_shop(platform)
    record(platform, DEPLOY)
    opened(platform)
    service = core(platform)
    assert len(results(service.handle([event(TICKET)]))) == 1
    too_old, after = change(ChangeKind.DEPLOY, "cart", 7200.0), change(ChangeKind.DEPLOY, "cart", -300.0)
    record(platform, too_old, after)
    assert results(service.handle([event(DEPLOY), event(too_old), event(after)])) == []
    assert ticks(service, clock) == []


def test_nobody_waits_for_a_change_of_long_ago(platform: Platform) -> None:
    record_shop(platform)
    opened(platform)
    handed_in = change(ChangeKind.DEPLOY, "catalog", 5 * 3600.0)
    assert len(results(core(platform).handle([event(handed_in), event(TICKET)]))) == 1


def test_a_change_that_never_comes_is_not_waited_for_for_ever(platform: Platform, clock: Clock) -> None:
    """The recorder refused it: looks wait their three seconds, and after a quarter of an hour nobody waits."""
    record_shop(platform)
    opened(platform)
    service = core(platform)
    assert results(service.handle([event(DEPLOY), event(TICKET)])) == []
    [first] = ticks(service, clock, 5)
    assert first.revision == 1
    assert ticks(service, clock, 1200, 20.0) == []
    record(platform, DEPLOY)
    assert ticks(service, clock) == []
