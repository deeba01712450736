"""What events do to tickets: states, timeline, idempotence."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.command import Command, CommandKind
from libs.contracts.incident import OPEN_STATES, IncidentChange, IncidentState
from libs.contracts.investigation import CauseKind, Hypothesis, InvestigationCompleted, RecommendedAction
from libs.contracts.remediation import Mode, RemediationChanged, RunState
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from libs.errors import InvalidMessage
from services.ticketing.decide import decide
from services.ticketing.decide_anomaly import MOST_ANOMALIES
from services.ticketing.episodes import is_open
from services.ticketing.facts import Fact, Passed, Remediated, acted_on
from services.ticketing.ticket import Change, State, Surroundings, Tracked

MakeAnomaly = Callable[..., AnomalyDetected]
Moment = Callable[[float], datetime]


class Desk:
    """Feeds facts to `decide` and keeps what came of them."""

    def __init__(self, around: Surroundings, moment: Moment) -> None:
        self.around = around
        self.moment = moment
        self.state = State()
        self.changes: list[Change] = []

    def tell(self, fact: Fact) -> tuple[Change, ...]:
        self.state, changes = decide(self.state, fact, self.around)
        self.changes.extend(changes)
        return changes

    @property
    def ticket(self) -> Tracked:
        (tracked,) = self.state.incidents.values()
        return tracked

    def command(self, kind: CommandKind, command_id: str = "c1", /, **arguments: str) -> Command:
        return Command(
            id=command_id,
            kind=kind,
            target=self.ticket.core.id,
            actor="ada",
            reason="because",
            arguments=arguments,
            issued_at=self.moment(40),
        )

    def run(self, state: RunState, version: int = 1) -> RemediationChanged:
        return RemediationChanged(
            id="run-1",
            incident_id=self.ticket.core.id,
            pattern="rollback",
            mode=Mode.AUTO,
            action="rollback_deploy",
            target="catalog",
            state=state,
            version=version,
            fix="rolled back to 1.0",
            requested_at=self.moment(20),
            updated_at=self.moment(20 + version),
        )


CAUSE = Hypothesis(rank=1, service="catalog", kind=CauseKind.DEPLOY, cause="deploy 1.1 is slow", confidence=0.8)


@pytest.fixture
def desk(around: Surroundings, moment: Moment, anomaly: MakeAnomaly) -> Desk:
    """A desk with one open ticket on catalog."""
    built = Desk(around, moment)
    built.tell(anomaly("catalog", 0))
    return built


def test_opening_says_what_when_and_why(desk: Desk, moment: Moment) -> None:
    (opened,) = desk.changes
    core = opened.core
    assert (core.version, core.change, core.state) == (1, IncidentChange.OPENED, IncidentState.NEW)
    assert core.opened_at == moment(10)
    assert core.title == "catalog: slow responses, span.server.latency"
    assert core.neighbours == ("gateway",)
    assert core.fingerprint == ("catalog|latency|span.server.latency|up", "latency|span.server.latency|up")
    assert "no related incident" in opened.why
    assert "0.4 s, expected 0.03..0.06 s" in opened.why
    assert [entry.kind for entry in desk.ticket.timeline] == ["anomaly"]


def test_acknowledging_takes_the_ticket(desk: Desk, moment: Moment) -> None:
    (change,) = desk.tell(desk.command(CommandKind.ACKNOWLEDGE))
    assert change.core.state is IncidentState.IN_PROGRESS
    assert change.core.acknowledged_at == moment(40)
    assert (change.actor, change.why) == ("ada", "acknowledged: because")


def test_the_same_command_is_carried_out_once(desk: Desk) -> None:
    assert desk.tell(desk.command(CommandKind.COMMENT, text="hello"))
    assert not desk.tell(desk.command(CommandKind.COMMENT, text="hello"))
    assert desk.tell(desk.command(CommandKind.COMMENT, "c2", text="hello"))
    assert [entry.text for entry in desk.ticket.timeline if entry.kind == "comment"] == ["hello", "hello"]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (CommandKind.HOLD, IncidentState.ON_HOLD),
        (CommandKind.RESOLVE, IncidentState.RESOLVED),
        (CommandKind.CANCEL, IncidentState.CANCELED),
    ],
)
def test_a_person_moves_the_ticket(desk: Desk, kind: CommandKind, expected: IncidentState) -> None:
    (change,) = desk.tell(desk.command(kind))
    assert change.core.state is expected
    assert change.core.resolved_by == ("ada" if kind is CommandKind.RESOLVE else None)


def test_what_the_state_does_not_allow_is_refused_with_the_reason(desk: Desk) -> None:
    desk.tell(desk.command(CommandKind.RESOLVE))
    with pytest.raises(InvalidMessage, match="is resolved; acknowledge needs in_progress or new or on_hold"):
        desk.tell(desk.command(CommandKind.ACKNOWLEDGE, "c2"))


def test_a_command_on_nothing_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidMessage, match="no incident 'INC-999999'"):
        desk.tell(replace(desk.command(CommandKind.RESOLVE), target="INC-999999"))


def test_a_confirmed_root_cause_names_who_confirmed_it(desk: Desk) -> None:
    (change,) = desk.tell(
        desk.command(CommandKind.CONFIRM_ROOT_CAUSE, service="catalog", kind="deploy", text="missing index")
    )
    assert change.root_cause is not None
    assert (change.root_cause.service, change.root_cause.kind) == ("catalog", "deploy")
    assert change.root_cause.confirmed_by == "ada"
    assert desk.ticket.root_cause == change.root_cause


@pytest.mark.parametrize(
    "arguments",
    [{}, {"service": "catalog", "kind": "deploy"}, {"service": "catalog", "kind": "gremlins", "text": "x"}],
)
def test_an_incomplete_root_cause_is_refused(desk: Desk, arguments: dict[str, str]) -> None:
    with pytest.raises(InvalidMessage, match="confirm_root_cause"):
        desk.tell(desk.command(CommandKind.CONFIRM_ROOT_CAUSE, **arguments))


def test_an_investigation_is_told_once(desk: Desk, moment: Moment) -> None:
    found = InvestigationCompleted(
        id="inv-1",
        incident_id=desk.ticket.core.id,
        revision=1,
        as_of=moment(12),
        started_at=moment(12),
        duration_s=1.2,
        hypotheses=(CAUSE,),
    )
    (change,) = desk.tell(found)
    assert change.core.change is IncidentChange.INVESTIGATED
    assert "most likely deploy in catalog (80%): deploy 1.1 is slow" in change.why
    assert not desk.tell(found)


def test_a_running_fix_puts_the_ticket_in_progress_and_a_proposal_does_not(desk: Desk) -> None:
    (proposed,) = desk.tell(Remediated(run=desk.run(RunState.AWAITING_APPROVAL, 1)))
    (running,) = desk.tell(Remediated(run=desk.run(RunState.RUNNING, 2)))
    assert (proposed.core.state, running.core.state) == (IncidentState.NEW, IncidentState.IN_PROGRESS)


def test_a_verified_fix_resolves_and_proves_the_cause(desk: Desk, moment: Moment) -> None:
    (change,) = desk.tell(Remediated(run=desk.run(RunState.SUCCEEDED, 3), hypothesis=CAUSE))
    assert (change.core.state, change.core.resolved_by) == (IncidentState.RESOLVED, "remediation")
    assert change.core.resolved_at == moment(23)
    cause = desk.ticket.root_cause
    assert cause is not None
    assert (cause.confirmed_by, cause.service, cause.fixed_by) == ("verified_fix", "catalog", "rolled back to 1.0")
    assert "anomalies still open: 1" in change.why


def test_a_person_s_root_cause_is_not_overwritten_by_a_fix(desk: Desk) -> None:
    desk.tell(desk.command(CommandKind.CONFIRM_ROOT_CAUSE, service="cart", kind="config", text="limit"))
    desk.tell(Remediated(run=desk.run(RunState.SUCCEEDED, 3), hypothesis=CAUSE))
    assert desk.ticket.root_cause is not None
    assert desk.ticket.root_cause.confirmed_by == "ada"


def test_the_hypothesis_of_a_run_is_the_one_whose_action_it_took(desk: Desk) -> None:
    action = RecommendedAction(action="rollback_deploy", target="catalog")
    first = replace(CAUSE, service="cart")
    second = replace(CAUSE, rank=2, actions=(action,))
    third = replace(CAUSE, rank=3)
    run = desk.run(RunState.SUCCEEDED)
    assert acted_on(run, [third, second, first]) == second
    assert acted_on(run, [first, third]) == third
    assert acted_on(run, [first]) is None


def test_recovery_waits_for_quiet_and_is_dated_by_it(desk: Desk, moment: Moment, anomaly: MakeAnomaly) -> None:
    desk.tell(Passed(watermark=moment(1_000)))
    assert desk.ticket.core.state is IncidentState.NEW
    desk.tell(anomaly("catalog", 0, closed_s=60))
    assert not desk.tell(Passed(watermark=moment(179)))
    (change,) = desk.tell(Passed(watermark=moment(400)))
    assert (change.core.change, change.core.resolved_by) == (IncidentChange.RESOLVED, "recovery")
    assert change.core.resolved_at == moment(180)


@pytest.mark.parametrize("active", [RunState.RUNNING, RunState.VERIFYING, RunState.HOLDING, RunState.ROLLING_BACK])
def test_recovery_waits_for_a_run_that_is_active(
    desk: Desk, moment: Moment, anomaly: MakeAnomaly, active: RunState
) -> None:
    desk.tell(anomaly("catalog", 0, closed_s=60))
    desk.tell(Remediated(run=desk.run(active, 1)))
    assert not desk.tell(Passed(watermark=moment(400)))
    desk.tell(Remediated(run=desk.run(RunState.ESCALATED, 2)))
    assert desk.tell(Passed(watermark=moment(401)))


def test_a_ticket_on_hold_does_not_recover_by_itself(desk: Desk, moment: Moment, anomaly: MakeAnomaly) -> None:
    desk.tell(anomaly("catalog", 0, closed_s=60))
    desk.tell(desk.command(CommandKind.HOLD))
    assert not desk.tell(Passed(watermark=moment(4_000)))


def test_a_resolved_ticket_closes_a_day_later(desk: Desk, moment: Moment) -> None:
    desk.tell(desk.command(CommandKind.RESOLVE))
    assert not desk.tell(Passed(watermark=moment(39) + timedelta(days=1)))
    (change,) = desk.tell(Passed(watermark=moment(41) + timedelta(days=1)))
    assert change.core.state is IncidentState.CLOSED


def test_a_recurrence_reopens_a_resolved_ticket(desk: Desk, moment: Moment, anomaly: MakeAnomaly) -> None:
    desk.tell(desk.command(CommandKind.ACKNOWLEDGE))
    desk.tell(anomaly("catalog", 0, closed_s=60))
    desk.tell(desk.command(CommandKind.RESOLVE, "c2"))
    (change,) = desk.tell(anomaly("catalog", 80))
    assert change.core.change is IncidentChange.REOPENED
    assert change.core.state is IncidentState.IN_PROGRESS
    assert (change.core.resolved_at, change.core.resolved_by) == (None, None)


def test_a_canceled_ticket_stays_so_for_the_same_signal_and_reopens_for_another(
    desk: Desk, anomaly: MakeAnomaly
) -> None:
    desk.tell(anomaly("catalog", 0, closed_s=60))
    desk.tell(desk.command(CommandKind.CANCEL))
    (again,) = desk.tell(anomaly("catalog", 80))
    assert again.core.state is IncidentState.CANCELED
    (other,) = desk.tell(anomaly("gateway", 90))
    assert other.core.change is IncidentChange.REOPENED


def test_a_change_nearby_is_told_in_the_ticket(desk: Desk, moment: Moment) -> None:
    deploy = ChangeEvent(
        id="d1",
        kind=ChangeKind.DEPLOY,
        service="catalog",
        timestamp=moment(-60),
        version="1.1",
        previous_version="1.0",
        actor="ci",
    )
    (change,) = desk.tell(deploy)
    assert change.why == "deploy of catalog 1.0 -> 1.1 by ci"
    assert not desk.tell(deploy)
    assert not desk.tell(replace(deploy, id="d2", service="inventory"))
    assert not desk.tell(replace(deploy, id="d3", timestamp=moment(-1_801)))
    assert [entry.kind for entry in desk.ticket.timeline] == ["change", "anomaly"]


def test_an_incident_that_flaps_stays_bounded(desk: Desk, anomaly: MakeAnomaly) -> None:
    for turn in range(1, MOST_ANOMALIES + 60):
        start = turn * 40
        desk.tell(anomaly("catalog", start - 40, closed_s=start - 20, sequence=5))
        desk.tell(anomaly("catalog", start))
    assert len(desk.state.incidents) == 1
    core = desk.ticket.core
    assert len(core.anomalies) == MOST_ANOMALIES
    assert sum(map(is_open, core.anomalies)) == 1
    assert core.started_at == core.anomalies[0].started_at


KINDS = [
    CommandKind.ACKNOWLEDGE,
    CommandKind.COMMENT,
    CommandKind.HOLD,
    CommandKind.RESOLVE,
    CommandKind.CANCEL,
]


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(
        st.one_of(st.sampled_from(KINDS), st.sampled_from(list(RunState)), st.integers(0, 90_000)), max_size=14
    )
)
def test_whatever_happens_versions_count_up_by_one_and_states_agree_with_their_times(
    around: Surroundings, moment: Moment, anomaly: MakeAnomaly, steps: list[CommandKind | RunState | int]
) -> None:
    desk = Desk(around, moment)
    desk.tell(anomaly("catalog", 0))
    for place, what in enumerate(steps):
        try:
            if isinstance(what, int):
                if what % 2:
                    desk.tell(anomaly("catalog", 0, closed_s=60, sequence=place + 1))
                desk.tell(Passed(watermark=moment(what)))
            elif isinstance(what, RunState):
                desk.tell(Remediated(run=desk.run(what, place + 1)))
            else:
                desk.tell(desk.command(what, f"c{place}"))
        except InvalidMessage:
            assert isinstance(what, CommandKind)
    assert [change.core.version for change in desk.changes] == list(range(1, len(desk.changes) + 1))
    for change in desk.changes:
        core = change.core
        assert (core.resolved_at is not None) == (core.state in {IncidentState.RESOLVED, IncidentState.CLOSED})
        assert core.state in OPEN_STATES or core.state in {
            IncidentState.RESOLVED,
            IncidentState.CLOSED,
            IncidentState.CANCELED,
        }
    told = [entry.id for entry in desk.ticket.timeline]
    assert len(told) == len(set(told))
    assert desk.ticket.core == desk.changes[-1].core
