"""The whole detector on a simulated shop: quiet runs stay quiet, faults are found soon, and close when they end."""

from datetime import timedelta
from functools import cache

import pytest

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from tests.unit.services.detector.new_handler import new_handler
from tests.unit.services.detector.simulated_shop import Fault, Played, Shop, play, second_of

FAULT_S, MENDED_S, RUN_S = 75.0, 110.0, 145


def opened_by(played: Played, detector: str, service: str, peer: str | None = None) -> AnomalyDetected:
    found = [
        a
        for a in played.anomalies
        if a.state is EpisodeState.OPENED and (a.detector, a.service, a.peer) == (detector, service, peer)
    ]
    assert found, [f"{a.detector} {a.service} {a.peer}" for a in played.anomalies]
    return found[0]


@cache
def run(fault: Fault) -> Played:
    return play(new_handler(), Shop(seed=3, seconds=RUN_S, faults=(fault,), metric_series=20).arrivals())


@pytest.mark.parametrize("seed", range(3))
def test_a_quiet_run_with_its_start_up_opens_nothing_above_low(seed: int) -> None:
    played = play(new_handler(), Shop(seed=seed, seconds=150, metric_series=20).arrivals())
    assert [a.explanation for a in played.opened(Severity.MEDIUM)] == []


def test_a_slow_service_is_found_within_thirty_seconds_and_closes_when_mended() -> None:
    played = run(Fault("slow", "catalog", FAULT_S, MENDED_S, 8.0))
    anomaly = opened_by(played, "latency", "catalog")
    assert anomaly.signal is Signal.LATENCY
    assert anomaly.statistic == "p95"
    assert FAULT_S <= second_of(anomaly.detected_at) <= FAULT_S + 30
    assert second_of(anomaly.started_at) <= FAULT_S + 5
    assert anomaly.observed > anomaly.expected_upper > anomaly.expected > 0
    assert anomaly.trace_ids
    assert "ms" in anomaly.explanation
    closed = [a for a in played.anomalies if a.id == anomaly.id and a.state is EpisodeState.CLOSED]
    assert len(closed) == 1
    assert closed[0].closed_at is not None
    assert MENDED_S <= second_of(closed[0].closed_at) <= MENDED_S + 30


def test_failing_requests_are_found_on_the_service_and_on_the_call_to_it() -> None:
    played = run(Fault("throw", "checkout", FAULT_S, MENDED_S, 0.6))
    anomaly = opened_by(played, "error_ratio", "checkout")
    assert anomaly.severity in (Severity.HIGH, Severity.CRITICAL)
    assert second_of(anomaly.detected_at) <= FAULT_S + 30
    edge = opened_by(played, "error_ratio", "gateway", "checkout")
    assert edge.metric == "span.client.errors"
    logs = opened_by(played, "log_pattern", "checkout")
    assert "KeyError" in logs.explanation


def test_one_failure_in_seven_is_found_on_three_requests_a_second() -> None:
    played = run(Fault("errors", "cart", FAULT_S, MENDED_S, 0.15))
    assert second_of(opened_by(played, "error_ratio", "cart").detected_at) <= FAULT_S + 40


def test_a_leak_of_three_megabytes_a_second_is_foreseen_before_the_limit() -> None:
    played = run(Fault("leak", "cart", FAULT_S, MENDED_S, 3e6))
    anomaly = opened_by(played, "trend", "cart")
    assert second_of(anomaly.detected_at) <= FAULT_S + 40
    assert anomaly.attributes == {"service.instance.id": "cart-1"}
    assert "reaches the limit of 256 MB in" in anomaly.explanation
    assert anomaly.observed < 256e6
    assert any(a.id == anomaly.id and a.state is EpisodeState.CLOSED for a in played.anomalies)


def test_a_callee_that_hangs_is_seen_from_its_caller_although_it_sends_nothing() -> None:
    played = run(Fault("hang", "bank", FAULT_S, MENDED_S, 4.0))
    anomaly = opened_by(played, "error_ratio", "payments", "bank")
    assert anomaly.severity is Severity.CRITICAL
    assert opened_by(played, "latency", "payments", "bank").observed > 3.0


def test_four_times_the_traffic_is_a_surge() -> None:
    played = run(Fault("surge", "gateway", FAULT_S, MENDED_S, 4.0))
    anomaly = opened_by(played, "traffic", "gateway")
    assert anomaly.observed > 2 * anomaly.expected
    assert second_of(anomaly.detected_at) <= FAULT_S + 30


def test_a_service_that_stops_speaking_is_silent_from_the_moment_it_stopped() -> None:
    played = run(Fault("silence", "recommendations", FAULT_S, 1e9, 0.0))
    anomaly = opened_by(played, "silence", "recommendations")
    assert FAULT_S - 6 <= second_of(anomaly.started_at) <= FAULT_S + 1
    assert second_of(anomaly.detected_at) <= FAULT_S + 30
    assert {a.service for a in played.anomalies if a.detector == "silence"} == {"recommendations"}


def test_the_end_of_everything_is_nobodys_silence() -> None:
    handler = new_handler()
    played = play(handler, Shop(seed=5, seconds=90, metric_series=20).arrivals())
    assert not [a for a in played.anomalies if a.detector == "silence"]
    later = max(a.observed_at for _, a in Shop(seed=5, seconds=90, metric_series=20).arrivals()) + timedelta(hours=1)  # type: ignore[union-attr]  # telemetry
    assert [list(handler.tick(later)) for _ in range(5)] == [[]] * 5


def test_the_same_telemetry_gives_the_same_anomalies() -> None:
    fault = Fault("slow", "catalog", FAULT_S, MENDED_S, 8.0)
    first, second = run(fault), run.__wrapped__(fault)
    assert first.anomalies == second.anomalies
    assert first.anomalies


def test_episodes_count_their_changes_from_zero_without_a_gap() -> None:
    played = run(Fault("hang", "bank", FAULT_S, MENDED_S, 4.0))
    by_id: dict[str, list[AnomalyDetected]] = {}
    for anomaly in played.anomalies:
        by_id.setdefault(anomaly.id, []).append(anomaly)
    for changes in by_id.values():
        assert [change.sequence for change in changes] == list(range(len(changes)))
        assert changes[0].state is EpisodeState.OPENED
        assert all(change.state is EpisodeState.UPDATED for change in changes[1:-1])
        assert all(c.started_at <= c.detected_at <= c.updated_at for c in changes)
