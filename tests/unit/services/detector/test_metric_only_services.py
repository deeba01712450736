"""Services that send metrics and no spans, at any interval: rows of a minute or five, months between them."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pytest

from libs.contracts.anomaly import AnomalyDetected, Severity, Signal
from libs.contracts.batch_rows import SpanIn
from libs.contracts.batches import MetricBatchBuilder, SpanBatchBuilder
from libs.contracts.codec import ns_from_utc
from libs.contracts.telemetry import MetricBatch
from libs.contracts.topics import TELEMETRY_METRICS, TELEMETRY_SPANS
from libs.streaming.handler import Event
from tests.unit.services.detector.new_handler import new_handler
from tests.unit.services.detector.simulated_shop import BEGIN

NS = 1_000_000_000
Row = tuple[float, float, float]  # requests in the interval, availability in per cent, p95 in seconds


def batch(second: float, row: Row) -> MetricBatch:
    builder = MetricBatchBuilder("petsite", {}, BEGIN + timedelta(seconds=second + 1))
    at_ns = ns_from_utc(BEGIN) + int(second * NS)
    requests, availability, p95 = row
    builder.add(("requests", "value", "", ()), at_ns, requests)
    builder.add(("availability", "value", "%", ()), at_ns, availability)
    builder.add(("latency", "p95", "s", ()), at_ns, p95)
    builder.add(("latency", "p50", "s", ()), at_ns, p95 / 3)
    return builder.build()[0]


def judge(rows: Sequence[tuple[float, Row]]) -> list[AnomalyDetected]:
    handler, found = new_handler(), []
    for offset, (second, row) in enumerate(rows):
        event = Event(topic=TELEMETRY_METRICS, partition=0, offset=offset, key="petsite", record=batch(second, row))
        found += [e.record for e in handler.handle([event])]
    return [a for a in found if isinstance(a, AnomalyDetected) and a.severity is not Severity.LOW]


def normal(count: int, seed: int, requests: float = 400.0, level_s: float = 0.2) -> list[Row]:
    chance = np.random.default_rng(seed)
    return [
        (
            float(chance.poisson(requests)),
            100.0 - 100.0 * float(chance.binomial(int(requests), 0.0005)) / requests,
            float(level_s * chance.lognormal(0.0, 0.15)),
        )
        for _ in range(count)
    ]


def spaced(rows: Sequence[Row], interval_s: float, begin_s: float = 0.0) -> list[tuple[float, Row]]:
    return [(begin_s + number * interval_s, row) for number, row in enumerate(rows)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("interval_s", [60.0, 300.0])
def test_two_days_of_normal_rows_open_nothing(interval_s: float, seed: int) -> None:
    assert judge(spaced(normal(400, seed), interval_s)) == []


@pytest.mark.parametrize(("learned", "is_heard"), [(12, False), (30, True)])
def test_rows_of_a_minute_are_judged_once_two_dozen_are_known(learned: int, *, is_heard: bool) -> None:
    """A median of eight single values says little; a window of seconds over many requests says more."""
    rows = spaced([*normal(learned, 2), *[(400.0, 100.0, 2.0)] * 3], 60.0)
    assert bool(judge(rows)) is is_heard


def test_lost_availability_is_found_at_its_first_row() -> None:
    rows = spaced([*normal(50, 1), (400.0, 90.0, 0.2), (400.0, 89.0, 0.2)], 300.0)
    (anomaly,) = [a for a in judge(rows) if a.detector == "error_ratio"]
    assert (anomaly.signal, anomaly.metric) == (Signal.ERRORS, "availability")
    assert anomaly.detected_at == BEGIN + timedelta(seconds=50 * 300)


def test_one_failed_request_of_three_is_no_anomaly() -> None:
    rows = spaced([*normal(50, 1, requests=3.0), (3.0, 66.7, 0.2), *normal(5, 2, requests=3.0)], 300.0)
    assert judge(rows) == []


def test_slower_rows_months_later_are_found_although_the_level_has_drifted() -> None:
    months_s = 90 * 86_400.0
    drifted = normal(2, 7, level_s=0.35)
    incident: list[Row] = [(400.0, 100.0, 1.6), (400.0, 100.0, 1.7), (400.0, 100.0, 1.8)]
    found = judge(spaced(normal(589, 1), 300.0) + spaced([*drifted, *incident], 300.0, months_s))
    assert [a.detector for a in found] == ["latency"]
    assert found[0].metric == "latency"
    assert found[0].started_at >= BEGIN + timedelta(seconds=months_s + 300.0)
    assert found[0].expected == pytest.approx(0.35, rel=0.35)


@pytest.mark.parametrize("seed", range(5))
def test_five_normal_rows_months_later_open_nothing(seed: int) -> None:
    months_s = 90 * 86_400.0
    rows = spaced(normal(589, seed), 300.0) + spaced(normal(5, 50 + seed, level_s=0.35), 300.0, months_s)
    assert judge(rows) == []


def test_minutes_without_history_open_nothing() -> None:
    rows: list[Row] = [(400.0, 100.0, 0.2), (400.0, 100.0, 2.0), (400.0, 100.0, 2.0), (900.0, 100.0, 2.0)]
    assert judge(spaced(rows, 60.0)) == []


def played_with_spans(
    rows: Sequence[tuple[float, Row]], spans_from_s: float, spans_to_s: float
) -> list[AnomalyDetected]:
    """Metrics as given, and a span a second over a stretch of time."""
    events = [
        (second, Event(topic=TELEMETRY_METRICS, partition=0, offset=n, key="petsite", record=batch(second, row)))
        for n, (second, row) in enumerate(rows)
    ]
    for number in range(int(spans_to_s - spans_from_s)):
        second = spans_from_s + number
        builder = SpanBatchBuilder("petsite", {}, BEGIN + timedelta(seconds=second + 1))
        identity = (number + 1).to_bytes(8)
        at_ns = ns_from_utc(BEGIN) + int(second * NS)
        builder.add(
            SpanIn(trace_id=bytes(8) + identity, span_id=identity, start=at_ns, duration=NS // 5, kind=2, name="GET")
        )
        [record] = builder.build()
        events.append((second, Event(topic=TELEMETRY_SPANS, partition=0, offset=number, key="petsite", record=record)))
    handler, found = new_handler(), []
    for _, one in sorted(events, key=lambda event: event[0]):
        found += [e.record for e in handler.handle([one])]
    return [a for a in found if isinstance(a, AnomalyDetected) and a.severity is not Severity.LOW]


def test_a_sample_of_spans_does_not_silence_metrics_that_know_more_of_normal_operation() -> None:
    slow = [(400.0, 100.0, 2.0)] * 5
    rows = spaced(normal(120, seed=3), 60.0) + spaced(slow, 60.0, begin_s=7200.0)
    found = played_with_spans(rows, spans_from_s=7100.0, spans_to_s=7400.0)
    assert {(a.signal, a.metric) for a in found} == {(Signal.LATENCY, "latency")}


def test_metrics_of_requests_that_are_seen_as_spans_from_the_beginning_say_nothing_twice() -> None:
    slow = [(400.0, 100.0, 2.0)] * 5
    rows = spaced(normal(20, seed=3), 60.0) + spaced(slow, 60.0, begin_s=1200.0)
    assert played_with_spans(rows, spans_from_s=0.0, spans_to_s=1500.0) == []


def two_latencies(server_s: float | None, client_s: float, second: float) -> MetricBatch:
    builder = MetricBatchBuilder("orders", {}, BEGIN + timedelta(seconds=second + 1))
    at_ns = ns_from_utc(BEGIN) + int(second * NS)
    if server_s is not None:
        builder.add(("server_latency_p99", "value", "s", ()), at_ns, server_s)
    builder.add(("client_latency_p99", "value", "s", ()), at_ns, client_s)
    return builder.build()[0]


@pytest.mark.parametrize(("server_s", "opens"), [(0.2, False), (2.0, True)])
def test_slow_calls_are_context_until_the_service_itself_is_slow(server_s: float, opens: bool) -> None:
    handler, found = new_handler(), []
    for number in range(60):
        batch_now = (
            two_latencies(0.2, 0.1, number * 60.0) if number < 55 else two_latencies(server_s, 3.0, number * 60.0)
        )
        one = Event(topic=TELEMETRY_METRICS, partition=0, offset=number, key="orders", record=batch_now)
        found += [e.record for e in handler.handle([one]) if isinstance(e.record, AnomalyDetected)]
    told = {a.metric: a.severity for a in found if a.detector == "latency"}
    assert told["client_latency_p99"] is Severity.LOW
    assert ("server_latency_p99" in told and told["server_latency_p99"] is not Severity.LOW) == opens


def test_slow_calls_never_take_the_place_of_the_latency_of_a_minute_without_requests() -> None:
    handler, found = new_handler(), []
    for number in range(60):
        served, calls = (0.2, 0.1) if number < 55 else (None, 3.0)
        record = two_latencies(served, calls, number * 60.0)
        one = Event(topic=TELEMETRY_METRICS, partition=0, offset=number, key="orders", record=record)
        found += [e.record for e in handler.handle([one]) if isinstance(e.record, AnomalyDetected)]
    assert {a.severity for a in found if a.detector == "latency"} <= {Severity.LOW}
