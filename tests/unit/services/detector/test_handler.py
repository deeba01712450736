"""The handler keeps its promises: all or nothing, harmless twice, bounded, deaf to clock jumps."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from libs.contracts.anomaly import AnomalyDetected, Signal
from libs.contracts.batch_rows import SpanIn
from libs.contracts.batches import MetricBatchBuilder, SpanBatchBuilder
from libs.contracts.codec import ns_from_utc
from libs.contracts.columns import pack_float64, pack_int32, pack_int64
from libs.contracts.records import Record
from libs.contracts.telemetry import ChangeEvent, ChangeKind, LogBatch, MetricBatch, MetricSeries, SpanBatch
from libs.contracts.topics import TELEMETRY_LOGS, TELEMETRY_METRICS, TELEMETRY_SPANS
from libs.errors import InvalidMessage
from libs.streaming.handler import Emit, Event
from services.detector.handler import DetectorHandler
from tests.unit.services.detector.new_handler import new_handler
from tests.unit.services.detector.simulated_shop import BEGIN, Fault, Shop

NS = 1_000_000_000


def event(record: Record, offset: int, topic: str = TELEMETRY_SPANS, partition: int = 0) -> Event:
    return Event(topic=topic, partition=partition, offset=offset, key="", record=record)


def spans(second: float, count: int, *, took_s: float = 0.02, service: str = "cart", failed: int = 0) -> SpanBatch:
    builder = SpanBatchBuilder(service, {}, BEGIN + timedelta(seconds=second + 2))
    for number in range(count):
        at_ns = ns_from_utc(BEGIN) + int((second + number / count) * NS)
        builder.add(
            SpanIn(
                trace_id=number.to_bytes(16, "big"),
                span_id=number.to_bytes(8, "big"),
                start=at_ns - int(took_s * NS),
                duration=int(took_s * NS),
                kind=2,
                status=2 if number < failed else 0,
                name="GET",
            )
        )
    return builder.build()[0]


def gauge(second: float, value: float, *, interval_s: float = 5.0, name: str = "process.memory.usage") -> MetricBatch:
    builder = MetricBatchBuilder("cart", {"service.instance.id": "cart-1"}, BEGIN + timedelta(seconds=second + 2))
    at_ns = ns_from_utc(BEGIN) + int(second * NS)
    builder.add((name, "value", "By", ()), at_ns, value)
    builder.add(("container.memory.limit", "value", "By", ()), at_ns, 256e6)
    return builder.build()[0]


def failing_run(seconds: int = 120, since: int = 80) -> list[Event]:
    found = [spans(second, 10, failed=5 if second >= since else 0) for second in range(seconds)]
    return [event(batch, offset) for offset, batch in enumerate(found)]


def one_by_one(handler: DetectorHandler, events: Sequence[Event]) -> list[Emit]:
    return [emit for one in events for emit in handler.handle([one])]


def test_how_messages_are_batched_changes_nothing() -> None:
    events = failing_run()
    single = one_by_one(new_handler(), events)
    handler = new_handler()
    batched: list[Emit] = []
    for start in range(0, len(events), 17):
        batched += handler.handle(events[start : start + 17])
    assert single == batched
    assert single


def test_a_message_that_was_judged_changes_nothing_when_it_comes_again() -> None:
    events, handler = failing_run(), new_handler()
    emits = one_by_one(handler, events)
    state = handler.snapshot((TELEMETRY_SPANS, 0))
    assert one_by_one(handler, events[:-20]) == []
    assert handler.snapshot((TELEMETRY_SPANS, 0)) == state
    assert emits == one_by_one(new_handler(), events)


def test_a_batch_that_is_held_gives_the_same_anomalies_again() -> None:
    events, handler = failing_run(), new_handler()
    handler.handle(events[:80])
    first = handler.handle(events[80:])
    assert first
    assert handler.handle(events[80:]) == first


def test_a_malformed_message_leaves_no_trace_of_its_batch() -> None:
    events, handler = failing_run(), new_handler()
    handler.handle(events[:100])
    before = handler.snapshot((TELEMETRY_SPANS, 0))
    good = events[100].record
    assert isinstance(good, SpanBatch)
    with pytest.raises(InvalidMessage, match="durations"):
        handler.handle([events[100], event(replace(good, durations=b"\0" * 7), 101)])
    assert handler.snapshot((TELEMETRY_SPANS, 0)) == before


METRICS = MetricBatch(
    service="cart",
    observed_at=BEGIN,
    series=(MetricSeries(name="m"),),
    series_index=pack_int32([0]),
    timestamps=pack_int64([ns_from_utc(BEGIN)]),
    values=pack_float64([1.0]),
)


@pytest.mark.parametrize(
    ("topic", "record"),
    [
        (TELEMETRY_METRICS, replace(METRICS, values=b"123")),
        (TELEMETRY_METRICS, replace(METRICS, series_index=pack_int32([1]))),
        (TELEMETRY_METRICS, replace(METRICS, series_index=pack_int32([-1]))),
        (TELEMETRY_METRICS, replace(METRICS, timestamps=pack_int64([-5]))),
        (TELEMETRY_METRICS, replace(METRICS, timestamps=pack_int64([2**63 - 1]))),
        (TELEMETRY_SPANS, replace(spans(0, 2), starts=pack_int64([2**63 - 1] * 2))),
        (TELEMETRY_SPANS, replace(spans(0, 2), durations=pack_int64([-1, 0]))),
        (TELEMETRY_SPANS, replace(spans(0, 2), trace_ids=b"short")),
        (TELEMETRY_SPANS, replace(spans(0, 2), peer_index=pack_int32([0, 7]))),
        (TELEMETRY_LOGS, LogBatch(service="cart", observed_at=BEGIN, timestamps=pack_int64([1]))),
        (TELEMETRY_LOGS, METRICS),
        (TELEMETRY_SPANS, ChangeEvent(id="1", kind=ChangeKind.DEPLOY, service="cart", timestamp=BEGIN)),
        ("incidents", METRICS),
    ],
)
def test_malformed_columns_are_refused(topic: str, record: Record) -> None:
    with pytest.raises(InvalidMessage):
        new_handler().handle([event(record, 0, topic)])


def test_empty_batches_are_nothing() -> None:
    handler = new_handler()
    assert not handler.handle([event(SpanBatch(service="cart", observed_at=BEGIN), 0)])
    assert not handler.handle([event(LogBatch(service="cart", observed_at=BEGIN), 0, TELEMETRY_LOGS)])
    assert not handler.handle([event(MetricBatch(service="cart", observed_at=BEGIN), 0, TELEMETRY_METRICS)])


def test_a_restored_handler_goes_on_with_the_same_ids() -> None:
    events = failing_run()
    whole = one_by_one(new_handler(), events)
    for cut in (40, 85, 92, 97, 110):
        first = new_handler()
        before = one_by_one(first, events[:cut])
        taken = first.snapshot((TELEMETRY_SPANS, 0))
        assert taken is not None
        second = new_handler()
        assert second.restore((TELEMETRY_SPANS, 0), taken[1]) == cut - 1
        assert before + one_by_one(second, events[max(0, cut - 10) :]) == whole


@pytest.mark.parametrize("topic", [TELEMETRY_METRICS, TELEMETRY_LOGS, TELEMETRY_SPANS])
def test_every_kind_of_partition_goes_on_from_its_snapshot(topic: str) -> None:
    shop = Shop(seed=4, seconds=110, metric_series=20, faults=(Fault("leak", "cart", 60, 110, 4e6),))
    records = [record for name, record in shop.arrivals() if name == topic]
    events = [event(record, offset, topic) for offset, record in enumerate(records)]
    whole, cut = one_by_one(new_handler(), events), len(events) * 3 // 4
    first = new_handler()
    before = one_by_one(first, events[:cut])
    taken = first.snapshot((topic, 0))
    assert taken is not None
    second = new_handler()
    second.restore((topic, 0), taken[1])
    assert before + one_by_one(second, events[cut:]) == whole
    assert second.snapshot((topic, 0)) is not None


def test_a_snapshot_of_something_else_does_not_fit() -> None:
    handler = new_handler()
    one_by_one(handler, failing_run(30))
    taken = handler.snapshot((TELEMETRY_SPANS, 0))
    assert taken is not None
    with pytest.raises(ValueError, match="kind"):
        new_handler().restore((TELEMETRY_METRICS, 0), taken[1])
    with pytest.raises(ValueError, match="truncated"):
        new_handler().restore((TELEMETRY_SPANS, 0), taken[1][:-5])


def test_one_clock_that_jumps_ahead_closes_nobodys_windows() -> None:
    events, handler = failing_run(), new_handler()
    ahead = spans(3 * 3600, 5, service="broken-clock")
    honest = replace(ahead, observed_at=BEGIN + timedelta(seconds=60))
    emits = one_by_one(handler, events[:60]) + list(handler.handle([event(honest, 60)]))
    emits += [e for one in events[60:] for e in handler.handle([replace(one, offset=one.offset + 1)])]
    assert emits == one_by_one(new_handler(), events)


def test_a_recording_with_a_gap_of_months_goes_on_after_it() -> None:
    handler = new_handler()
    one_by_one(handler, failing_run(100, since=1000))
    later = 90 * 24 * 3600
    after = [event(spans(later + second, 10, failed=6 if second > 30 else 0), 100 + second) for second in range(80)]
    emits = one_by_one(handler, after)
    assert {emit.record.detector for emit in emits} >= {"error_ratio"}  # type: ignore[union-attr]  # anomalies
    assert min(emit.record.started_at for emit in emits) > BEGIN + timedelta(seconds=later)  # type: ignore[union-attr]


def anomalies(emits: Sequence[Emit]) -> list[AnomalyDetected]:
    return [emit.record for emit in emits if isinstance(emit.record, AnomalyDetected)]


def test_the_end_of_a_recording_judges_complete_windows_without_waiting_for_late_data() -> None:
    handler = new_handler(window_s=5.0, lateness_s=60.0)
    waiting = one_by_one(handler, failing_run(seconds=101, since=80))
    assert anomalies(waiting) == []  # the windows since second 40 wait for late spans
    assert {found.signal for found in anomalies(handler.end())} == {Signal.ERRORS}


def test_the_end_of_a_recording_is_no_fall_of_traffic() -> None:
    handler = new_handler(window_s=5.0)
    steady = [event(spans(second, 50), second) for second in range(300)]
    last = event(spans(300, 1), 300)  # a recording that stops in the middle of a window
    assert anomalies([*one_by_one(handler, [*steady, last]), *handler.end(), *handler.tick(BEGIN)]) == []


def test_after_the_end_nothing_is_left_to_judge() -> None:
    handler = new_handler(window_s=5.0, lateness_s=60.0)
    one_by_one(handler, failing_run(seconds=101, since=80))
    assert handler.end()
    assert handler.end() == []


def test_a_gap_in_everybodys_telemetry_is_no_fall_of_traffic() -> None:
    handler = new_handler(window_s=5.0)
    before = [spans(second, 20, service=service) for second in range(122) for service in ("cart", "search")]
    after = [spans(second, 20, service=service) for second in range(241, 300) for service in ("cart", "search")]
    events = [event(batch, offset) for offset, batch in enumerate([*before, *after])]
    assert anomalies([*one_by_one(handler, events), *handler.end()]) == []


def test_a_service_that_falls_silent_while_its_neighbour_speaks_is_noticed() -> None:
    handler = new_handler(window_s=5.0)
    batches = [spans(second, 20) for second in range(122)]
    batches += [spans(second, 20, service="search") for second in range(300)]
    batches.sort(key=lambda batch: batch.observed_at)
    found = anomalies(one_by_one(handler, [event(batch, offset) for offset, batch in enumerate(batches)]))
    assert (Signal.TRAFFIC, "cart") in {(one.signal, one.service) for one in found}


def test_a_fault_after_a_gap_is_found() -> None:
    handler = new_handler(window_s=5.0)
    before = [spans(second, 20) for second in range(120)]
    after = [spans(second, 20, failed=10) for second in range(240, 300)]
    found = anomalies(one_by_one(handler, [event(batch, offset) for offset, batch in enumerate([*before, *after])]))
    assert {one.signal for one in found} == {Signal.ERRORS}


def test_late_spans_are_counted_and_change_nothing() -> None:
    handler = new_handler()
    one_by_one(handler, failing_run(60, since=1000))
    assert not handler.handle([event(spans(5, 500, failed=500), 60)])
    handler.count_state()
    assert handler._counters.late._value.get() == 500


def test_nan_and_infinite_points_are_no_anomaly_and_leave_the_rest_alone() -> None:
    handler = new_handler()
    emits: list[Emit] = []
    for number in range(60):
        value = (math.nan, math.inf, 80e6)[number % 3]
        emits += handler.handle([event(gauge(number * 5.0, value), number, TELEMETRY_METRICS)])
    assert emits == []


def test_repeated_and_reordered_points_change_nothing() -> None:
    points = [gauge(5.0 * n, 80e6 + (max(0, n - 30) * 15e6 if n > 30 else n % 3 * 1e5)) for n in range(42)]
    straight = one_by_one(new_handler(), [event(p, n, TELEMETRY_METRICS) for n, p in enumerate(points)])
    doubled = [p for n, p in enumerate(points) for p in ((p, points[n - 1], p) if n else (p, p))]
    repeated = one_by_one(new_handler(), [event(p, n, TELEMETRY_METRICS) for n, p in enumerate(doubled)])
    assert [e.record for e in straight] == [e.record for e in repeated]
    assert straight


def test_an_instance_that_is_gone_takes_its_anomalies_with_it() -> None:
    handler = new_handler()
    emits: list[Emit] = []
    for number in range(42):
        value = 80e6 + (max(0, number - 30) * 15e6 if number > 30 else number % 3 * 1e5)
        emits += handler.handle([event(gauge(5.0 * number, value), number, TELEMETRY_METRICS)])
    assert any(e.record.state == "opened" for e in emits)  # type: ignore[union-attr]  # anomalies
    replaced: list[Emit] = []
    for number in range(42, 50):
        batch = replace(gauge(5.0 * number, 80e6), resource={"service.instance.id": "cart-2"})
        replaced += handler.handle([event(batch, number, TELEMETRY_METRICS)])
    assert {e.record.state for e in replaced} == {"closed"}  # type: ignore[union-attr]  # anomalies
    closed_at = max(e.record.closed_at for e in replaced)  # type: ignore[union-attr,type-var]  # anomalies
    assert isinstance(closed_at, datetime)
    assert closed_at <= BEGIN + timedelta(seconds=41 * 5 + 30)


def test_five_thousand_series_of_one_service_fit() -> None:
    handler, chance = new_handler(), np.random.default_rng(1)
    series = tuple(MetricSeries(name="queue.size", attributes={"queue": str(n)}) for n in range(5000))
    for number in range(3):
        at_ns = ns_from_utc(BEGIN) + number * 5 * NS
        batch = MetricBatch(
            service="broker",
            observed_at=BEGIN + timedelta(seconds=number * 5),
            series=series,
            series_index=pack_int32(np.arange(5000)),
            timestamps=pack_int64(np.full(5000, at_ns)),
            values=pack_float64(chance.uniform(0, 10, 5000)),
        )
        assert handler.handle([event(batch, number, TELEMETRY_METRICS)]) == []
    handler.count_state()
    assert handler._counters.series._value.get() == 5000
