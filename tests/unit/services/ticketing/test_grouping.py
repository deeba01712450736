"""Which anomalies become one incident."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.contracts.anomaly import AnomalyDetected, Severity, Signal
from libs.contracts.incident import IncidentState
from libs.stores.telemetry import Edge, RedWindow
from services.ticketing.decide import decide
from services.ticketing.deviation import differs
from services.ticketing.episodes import order
from services.ticketing.facts import in_order
from services.ticketing.graph import CallGraph, call_graph
from services.ticketing.grouping import undecided
from services.ticketing.ticket import State, Surroundings

MakeAnomaly = Callable[..., AnomalyDetected]
SERVICES = ("gateway", "catalog", "cart", "checkout", "inventory", "payments", "mailer", "printer")


def grouped(anomalies: Iterable[AnomalyDetected], around: Surroundings, state: State | None = None) -> State:
    state = state or State()
    for fact in in_order(list(anomalies)):
        assert isinstance(fact, AnomalyDetected)
        state, _ = decide(state, fact, around)
    return state


def groups(state: State) -> set[tuple[str, frozenset[str]]]:
    return {
        (tracked.core.id, frozenset(anomaly.id for anomaly in tracked.core.anomalies))
        for tracked in state.incidents.values()
    }


def at(seconds: float) -> datetime:
    return datetime(2026, 3, 2, 10, 0, tzinfo=UTC) + timedelta(seconds=seconds)


def services_of(state: State) -> list[tuple[str, ...]]:
    return sorted(tracked.core.services for tracked in state.incidents.values())


def test_neighbours_in_the_same_window_become_one_incident(anomaly: MakeAnomaly, around: Surroundings) -> None:
    state = grouped([anomaly("catalog", 0), anomaly("gateway", 3)], around)
    assert services_of(state) == [("catalog", "gateway")]


def test_services_far_apart_stay_apart(anomaly: MakeAnomaly, around: Surroundings) -> None:
    state = grouped([anomaly("catalog", 0), anomaly("payments", 0)], around)
    assert services_of(state) == [("catalog",), ("payments",)]


def test_two_calls_apart_needs_a_deviating_service_between(anomaly: MakeAnomaly, around: Surroundings) -> None:
    pair = [anomaly("payments", 0), anomaly("gateway", 1)]
    assert len(grouped(pair, around).incidents) == 2
    assert len(grouped(pair, replace(around, deviating=frozenset({"checkout"}))).incidents) == 1
    assert len(grouped(pair, replace(around, deviating=frozenset({"catalog"}))).incidents) == 2


def test_only_services_on_the_way_are_asked_about(anomaly: MakeAnomaly, around: Surroundings) -> None:
    cores = [tracked.core for tracked in grouped([anomaly("payments", 0)], around).incidents.values()]
    assert undecided(anomaly("gateway", 1), cores, around.graph, 120.0) == {"checkout"}
    assert undecided(anomaly("checkout", 1), cores, around.graph, 120.0) == frozenset()
    assert undecided(anomaly("gateway", 500), cores, around.graph, 120.0) == frozenset()


def test_the_callee_of_an_edge_counts_as_near_before_the_graph_knows_it(
    anomaly: MakeAnomaly, around: Surroundings
) -> None:
    bare = replace(around, graph=CallGraph())
    state = grouped([anomaly("payments", 0, peer="bank"), anomaly("refunds", 2, peer="bank")], bare)
    assert services_of(state) == [("payments", "refunds")]


def test_a_deviation_that_starts_too_late_is_another_incident(anomaly: MakeAnomaly, around: Surroundings) -> None:
    assert len(grouped([anomaly("catalog", 0), anomaly("gateway", 119)], around).incidents) == 1
    assert len(grouped([anomaly("catalog", 0), anomaly("gateway", 121)], around).incidents) == 2


def test_a_change_of_a_service_in_the_middle_of_an_incident_begins_another(
    anomaly: MakeAnomaly, around: Surroundings
) -> None:
    """A surge keeps the gateway slow; a minute later somebody deploys a catalog that is slow by itself."""
    surge, deployed = anomaly("gateway", 0), replace(around, changed_at=(at(60),))
    assert services_of(grouped([anomaly("catalog", 65)], deployed, grouped([surge], around))) == [
        ("catalog",),
        ("gateway",),
    ]


def test_the_change_that_the_incident_is_about_separates_nothing(anomaly: MakeAnomaly, around: Surroundings) -> None:
    """The caller's window began before the deploy inside it, the callee's after it: one fault."""
    deployed = replace(around, changed_at=(at(3),))
    assert services_of(grouped([anomaly("gateway", 0), anomaly("catalog", 5)], deployed)) == [("gateway", "catalog")]


def test_a_change_before_the_incident_or_after_the_anomaly_separates_nothing(
    anomaly: MakeAnomaly, around: Surroundings
) -> None:
    pair = [anomaly("gateway", 60), anomaly("catalog", 90)]
    assert len(grouped(pair, replace(around, changed_at=(at(50),))).incidents) == 1
    assert len(grouped(pair, replace(around, changed_at=(at(99),))).incidents) == 1


def test_a_signal_that_returned_does_not_hide_that_the_incident_had_stopped_growing(
    anomaly: MakeAnomaly, around: Surroundings
) -> None:
    flapping = grouped([anomaly("gateway", 0, closed_s=50), anomaly("gateway", 62)], around)
    assert len(flapping.incidents) == 1
    deployed = replace(around, changed_at=(at(60),))
    assert services_of(grouped([anomaly("catalog", 65)], deployed, flapping)) == [("catalog",), ("gateway",)]


def test_a_signal_that_returns_after_a_change_is_the_same_disruption(
    anomaly: MakeAnomaly, around: Surroundings
) -> None:
    """A fix by hand that did not help is no new incident."""
    slow = grouped([anomaly("catalog", 0, closed_s=60)], around)
    assert len(grouped([anomaly("catalog", 75)], replace(around, changed_at=(at(55),)), slow).incidents) == 1


def test_time_is_counted_from_the_newest_start(anomaly: MakeAnomaly, around: Surroundings) -> None:
    chain = [anomaly("payments", 0), anomaly("checkout", 100), anomaly("gateway", 200)]
    assert len(grouped(chain, around).incidents) == 1


def test_a_cause_that_closed_just_before_still_takes_its_echo(anomaly: MakeAnomaly, around: Surroundings) -> None:
    assert len(grouped([anomaly("catalog", 0, closed_s=30), anomaly("gateway", 34)], around).incidents) == 1
    assert len(grouped([anomaly("catalog", 0, closed_s=30), anomaly("gateway", 36)], around).incidents) == 2


def test_the_same_signal_back_within_thirty_seconds_is_a_recurrence(anomaly: MakeAnomaly, around: Surroundings) -> None:
    first = anomaly("catalog", 0, closed_s=200)
    assert len(grouped([first, anomaly("catalog", 229)], around).incidents) == 1
    assert len(grouped([first, anomaly("catalog", 231)], around).incidents) == 2
    assert len(grouped([first, anomaly("catalog", 229, signal=Signal.ERRORS)], around).incidents) == 2


def test_starts_read_off_five_minute_metrics_are_near_within_two_intervals(
    anomaly: MakeAnomaly, around: Surroundings
) -> None:
    def coarse(service: str, at_s: float, **more: object) -> AnomalyDetected:
        return replace(anomaly(service, at_s, **more), window_s=300.0)

    assert len(grouped([coarse("catalog", 0), coarse("gateway", 310)], around).incidents) == 1
    assert len(grouped([coarse("catalog", 0), coarse("gateway", 601)], around).incidents) == 2
    assert len(grouped([coarse("catalog", 0), coarse("payments", 310)], around).incidents) == 2
    assert len(grouped([coarse("catalog", 0, closed_s=300), coarse("gateway", 310)], around).incidents) == 1


def test_a_signal_of_minutes_recurs_within_three_of_its_windows(anomaly: MakeAnomaly, around: Surroundings) -> None:
    first = replace(anomaly("catalog", 0, closed_s=600), window_s=60.0)
    assert len(grouped([first, replace(anomaly("catalog", 779), window_s=60.0)], around).incidents) == 1
    assert len(grouped([first, replace(anomaly("catalog", 781), window_s=60.0)], around).incidents) == 2


def test_an_anomaly_between_two_incidents_joins_the_older(anomaly: MakeAnomaly, around: Surroundings) -> None:
    state = grouped([anomaly("payments", 0), anomaly("gateway", 5)], around)
    state = grouped([anomaly("checkout", 10)], around, state)
    assert services_of(state) == [("gateway",), ("payments", "checkout")]


def test_low_anomalies_open_nothing_and_join_what_is_near(anomaly: MakeAnomaly, around: Surroundings) -> None:
    low = anomaly("cart", 2, severity=Severity.LOW, signal=Signal.SATURATION)
    assert not grouped([low], around).incidents
    state = grouped([low, anomaly("gateway", 0)], around)
    (tracked,) = state.incidents.values()
    assert tracked.core.services == ("gateway",)
    assert len(tracked.core.anomalies) == 2


def test_a_low_anomaly_that_gets_worse_opens_a_ticket(anomaly: MakeAnomaly, around: Surroundings) -> None:
    low = anomaly("cart", 0, severity=Severity.LOW)
    worse = replace(low, severity=Severity.MEDIUM, sequence=1)
    assert services_of(grouped([worse], around, grouped([low], around))) == [("cart",)]


def test_grouping_is_blind_to_the_state_of_the_ticket(anomaly: MakeAnomaly, around: Surroundings) -> None:
    state = grouped([anomaly("catalog", 0)], around)
    for over in (IncidentState.RESOLVED, IncidentState.CANCELED, IncidentState.ON_HOLD, IncidentState.CLOSED):
        (tracked,) = state.incidents.values()
        ended = state.with_(replace(tracked, core=replace(tracked.core, state=over)))
        assert len(grouped([anomaly("gateway", 5)], around, ended).incidents) == 1, over


anomalies = st.lists(
    st.tuples(
        st.sampled_from(SERVICES),
        st.integers(0, 400),
        st.sampled_from([None, 20, 60, 200]),
        st.sampled_from([Signal.LATENCY, Signal.ERRORS]),
        st.sampled_from([Severity.LOW, Severity.MEDIUM, Severity.CRITICAL]),
        st.sampled_from([None, "bank", "cart"]),
    ),
    max_size=9,
    unique_by=lambda row: (row[0], row[1], row[3], row[5]),
)


def built(
    anomaly: MakeAnomaly, rows: Sequence[tuple[str, int, int | None, Signal, Severity, str | None]]
) -> list[AnomalyDetected]:
    return [
        anomaly(
            service,
            start,
            closed_s=None if lasted is None else start + 10 + lasted,
            signal=signal,
            severity=severity,
            peer=peer,
        )
        for service, start, lasted, signal, severity, peer in rows
    ]


@settings(max_examples=150, deadline=None)
@given(rows=anomalies, data=st.data())
def test_the_order_inside_a_batch_changes_nothing(
    anomaly: MakeAnomaly,
    around: Surroundings,
    rows: list[tuple[str, int, int | None, Signal, Severity, str | None]],
    data: st.DataObject,
) -> None:
    batch = built(anomaly, rows)
    shuffled = data.draw(st.permutations(batch))
    assert groups(grouped(batch, around)) == groups(grouped(shuffled, around))


@settings(max_examples=150, deadline=None)
@given(rows=anomalies, cuts=st.lists(st.integers(0, 9), max_size=3))
def test_cutting_a_batch_changes_nothing(
    anomaly: MakeAnomaly,
    around: Surroundings,
    rows: list[tuple[str, int, int | None, Signal, Severity, str | None]],
    cuts: list[int],
) -> None:
    batch = sorted(built(anomaly, rows), key=order)
    state, last = State(), 0
    for cut in [*sorted(cuts), len(batch)]:
        state, last = grouped(batch[last:cut], around, state), max(last, cut)
    assert groups(state) == groups(grouped(batch, around))


@settings(max_examples=150, deadline=None)
@given(rows=anomalies, data=st.data())
def test_duplicates_and_older_states_change_nothing(
    anomaly: MakeAnomaly,
    around: Surroundings,
    rows: list[tuple[str, int, int | None, Signal, Severity, str | None]],
    data: st.DataObject,
) -> None:
    batch = built(anomaly, rows)
    once = grouped(batch, around)
    again = data.draw(st.lists(st.sampled_from(batch), max_size=6)) if batch else []
    # a low anomaly that found no incident is kept nowhere, so handing it in again is no duplicate of anything
    held = [one for one in again if once.holder_of(one.id)]
    assert grouped([*held, *(replace(one, sequence=0) for one in held)], around, once) == once


@settings(max_examples=150, deadline=None)
@given(rows=anomalies)
def test_every_anomaly_that_counts_is_in_one_incident(
    anomaly: MakeAnomaly, around: Surroundings, rows: list[tuple[str, int, int | None, Signal, Severity, str | None]]
) -> None:
    batch = built(anomaly, rows)
    state = grouped(batch, around)
    held = [one.id for tracked in state.incidents.values() for one in tracked.core.anomalies]
    assert len(held) == len(set(held))
    assert {one.id for one in batch if one.severity is not Severity.LOW} <= set(held)


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 110), names=st.permutations(["left", "right"]))
def test_islands_of_the_graph_never_meet(
    anomaly: MakeAnomaly, around: Surroundings, start: int, names: list[str]
) -> None:
    edges = [
        Edge(caller=f"{side}-front", callee=f"{side}-back", calls=1, errors=0, first_seen_ns=0, last_seen_ns=1)
        for side in ("left", "right")
    ]
    islands = replace(around, graph=call_graph(edges), deviating=frozenset({"left-front", "right-front"}))
    batch = [anomaly(f"{side}-{end}", start) for side in names for end in ("front", "back")]
    assert services_of(grouped(batch, islands)) == [("left-back", "left-front"), ("right-back", "right-front")]


def red(start_s: int, requests: int, errors: int = 0, mean_s: float = 0.02) -> RedWindow:
    return RedWindow(
        service="checkout",
        peer="",
        start_ns=start_s * 10**9,
        requests=requests,
        errors=errors,
        duration_sum_s=requests * mean_s,
        p50_s=mean_s,
        p95_s=mean_s,
        p99_s=mean_s,
    )


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ([red(120, 20)], False),
        ([red(120, 20, errors=1)], False),
        ([red(120, 20, errors=4)], True),
        ([red(120, 20, mean_s=0.05)], True),
        ([red(120, 50)], True),
        ([red(120, 2, errors=2)], False),
        ([], False),
    ],
)
def test_a_service_between_deviates_by_failures_duration_or_rate(after: list[RedWindow], expected: bool) -> None:
    before = [red(start, 20) for start in range(0, 120, 5)]
    assert differs(before, after) is expected


def test_the_moment_of_an_incident_is_event_time(
    anomaly: MakeAnomaly, around: Surroundings, moment: Callable[[float], datetime]
) -> None:
    (tracked,) = grouped([anomaly("gateway", 7), anomaly("catalog", 2)], around).incidents.values()
    assert tracked.core.opened_at == moment(12)
    assert tracked.core.started_at == moment(2)
    assert tracked.core.services == ("catalog", "gateway")
