"""The demo's judge sees each expectation that does not hold."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import schemas
from libs.contracts.anomaly import AnomalyDetected, EpisodeState
from libs.contracts.codec import from_json
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState
from libs.contracts.investigation import CauseKind, InvestigationCompleted
from libs.contracts.records import Record
from libs.contracts.remediation import RemediationChanged, RunState
from paramedic.demo.judge import judge
from paramedic.demo.observer import Seen, last_closed
from paramedic.demo.scenario import Ending, Scenario

LIVE = datetime(2026, 11, 24, 9, tzinfo=UTC)
SCENARIO = Scenario(
    name="slow-query",
    title="a slow query",
    services=("catalog",),
    kinds=(CauseKind.DEPLOY,),
    ending=Ending.HEALED,
    action="rollback_deploy",
)


def example(kind: type[Any], name: str) -> Any:
    return from_json((Path(schemas.ROOT) / "examples" / name / "typical.json").read_bytes(), kind)


ANOMALY: AnomalyDetected = example(AnomalyDetected, "anomaly-detected")
INCIDENT: IncidentChanged = example(IncidentChanged, "incident-changed")
INVESTIGATION: InvestigationCompleted = example(InvestigationCompleted, "investigation-completed")
RUN: RemediationChanged = example(RemediationChanged, "remediation-changed")
RESOLVED = dataclasses.replace(INCIDENT, change=IncidentChange.RESOLVED, state=IncidentState.RESOLVED, version=9)
HEALED = dataclasses.replace(RUN, state=RunState.SUCCEEDED, version=9)


def at(seconds: float, record: Record) -> Seen:
    return Seen(at=LIVE + timedelta(seconds=seconds), record=record)


GOOD = [at(12, ANOMALY), at(12.2, INCIDENT), at(13, INVESTIGATION), at(60, HEALED), at(61, RESOLVED)]


def failures(events: list[Seen], scenario: Scenario = SCENARIO) -> str:
    return "; ".join(judge(scenario, events, LIVE, LIVE).failures)


def test_a_healed_fault_has_no_failures_and_measured_delays() -> None:
    outcome = judge(SCENARIO, GOOD, LIVE, LIVE)
    assert outcome.failures == ()
    assert outcome.detected_after_s == 12
    assert outcome.ticket_after_s is not None
    assert abs(outcome.ticket_after_s - 0.2) < 1e-9
    assert outcome.cause_right
    assert outcome.first_at_once


def test_a_fault_without_a_ticket_is_a_failure() -> None:
    assert "no ticket" in failures([])


def test_a_ticket_from_before_the_fault_does_not_count() -> None:
    assert "no ticket" in failures([at(-5, INCIDENT), at(12, INCIDENT)])


def test_a_wrong_first_hypothesis_is_a_failure() -> None:
    wrong = dataclasses.replace(INVESTIGATION.hypotheses[0], service="gateway")
    events = [*GOOD[:2], at(13, dataclasses.replace(INVESTIGATION, hypotheses=(wrong,))), *GOOD[3:]]
    assert "first hypothesis is gateway: deploy" in failures(events)


def test_an_unverified_fix_is_a_failure() -> None:
    assert "not verified" in failures([*GOOD[:3], at(60, dataclasses.replace(HEALED, state=RunState.FAILED)), GOOD[4]])


def test_a_human_in_a_run_that_should_heal_alone_is_a_failure() -> None:
    touched = dataclasses.replace(HEALED, human_involved=True)
    assert "a human was involved" in failures([*GOOD[:3], at(60, touched), GOOD[4]])


def test_an_action_where_no_pattern_is_known_is_a_failure() -> None:
    human = dataclasses.replace(SCENARIO, ending=Ending.HUMAN, action="")
    assert "rollback_deploy was applied where no pattern is known" in failures(GOOD, human)


def test_an_approval_that_nobody_gave_is_a_failure() -> None:
    approved = dataclasses.replace(SCENARIO, ending=Ending.APPROVED)
    assert "no human was asked" in failures(GOOD, approved)


def test_an_incident_left_open_is_a_failure() -> None:
    assert "still new" in failures(GOOD[:4])


def test_a_second_ticket_is_a_failure() -> None:
    other = dataclasses.replace(INCIDENT, id="other", number="INC-000043")
    assert "more tickets than one: INC-000043" in failures([*GOOD, at(70, other)])


def approved(applied_s: float | None) -> str:
    """Failures of a fault whose approval, 20 s after it was live, was applied this long after it; None is never."""
    scenario = dataclasses.replace(SCENARIO, ending=Ending.APPROVED)
    touched = dataclasses.replace(HEALED, human_involved=True, applied_at=LIVE if applied_s is not None else None)
    applied = dataclasses.replace(touched, state=RunState.VERIFYING, version=5)
    waiting = dataclasses.replace(applied, state=RunState.AWAITING_APPROVAL, applied_at=None, version=3)
    events = [*GOOD[:3], at(14, waiting), at(20 + (applied_s or 0.0), applied), at(60, touched), GOOD[4]]
    return "; ".join(judge(scenario, events, LIVE, LIVE, LIVE + timedelta(seconds=20)).failures)


def test_an_approval_that_is_applied_at_once_is_measured() -> None:
    assert approved(1.5) == ""


def test_an_approval_that_takes_long_or_is_never_applied_is_a_failure() -> None:
    assert "applied 2.5 s after it, expected within 2 s" in approved(2.5)
    assert "applied never" in approved(None)


def test_a_fault_is_over_when_its_last_anomaly_has_closed() -> None:
    ids = [anomaly.id for anomaly in INCIDENT.anomalies]
    opened = [dataclasses.replace(ANOMALY, id=one, state=EpisodeState.OPENED) for one in ids]
    closed = [dataclasses.replace(ANOMALY, id=one, state=EpisodeState.CLOSED) for one in ids]
    events = [at(10 + number, one) for number, one in enumerate(opened)]
    assert last_closed(events, INCIDENT) is None
    events += [at(40 + number, one) for number, one in enumerate(closed)]
    assert last_closed(events, INCIDENT) == LIVE + timedelta(seconds=39 + len(ids))


def test_an_echo_that_opens_its_ticket_first_is_the_extra_one() -> None:
    echo = dataclasses.replace(INCIDENT, id="echo", number="INC-000042", anomalies=())
    outcome = judge(SCENARIO, [at(2, echo), *GOOD], LIVE, LIVE)
    assert outcome.incident == INCIDENT.number
    assert outcome.extra_tickets == ("INC-000042",)
    assert "more tickets than one: INC-000042" in "; ".join(outcome.failures)
