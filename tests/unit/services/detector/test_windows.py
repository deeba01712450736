"""Windows of event time: what falls where, what is late, what is due, and what the clock may not do."""

import numpy as np
import pytest

from libs.contracts.batch_rows import LogIn
from libs.observability.log_patterns import PatternMiner
from services.detector.duration_buckets import (
    BUCKETS,
    bucket_of,
    first_bucket_above,
    lower_bound_s,
    quantile_s,
)
from services.detector.log_windows import LogWindows
from services.detector.span_windows import SpanWindows, span_columns
from services.detector.watermark import AHEAD_NS, Watermark
from services.detector.window_clock import GAP_WINDOWS, WindowClock
from tests.unit.services.detector.test_handler import spans

NS = 1_000_000_000
WIDTH_NS = 5 * NS


def due_numbers(clock: WindowClock, watermark: Watermark, first_open: int | None = None) -> list[int]:
    return [due.number for due in clock.due(watermark, WIDTH_NS, WIDTH_NS, lambda: first_open)]


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 0.99])
def test_a_quantile_from_buckets_is_within_five_per_cent(share: float) -> None:
    durations = np.random.default_rng(1).lognormal(17.0, 0.8, 20_000).astype(np.int64)
    histogram = np.bincount(bucket_of(durations), minlength=BUCKETS).astype(float)
    assert quantile_s(histogram, share) == pytest.approx(np.quantile(durations, share) / 1e9, rel=0.05)


def test_every_duration_has_a_bucket() -> None:
    assert bucket_of(np.array([0, 1, 10_000, 2**62])).tolist() == [0, 0, 0, BUCKETS - 1]
    assert np.isnan(quantile_s(np.zeros(BUCKETS), 0.5))


def test_what_is_above_a_duration_begins_at_the_next_bucket() -> None:
    for duration_s in (1e-6, 0.001, 0.25, 1.0, 30.0):
        assert lower_bound_s(first_bucket_above(duration_s)) > duration_s


def test_a_span_belongs_to_the_window_of_its_end() -> None:
    windows, batch = SpanWindows(), spans(0, 1, took_s=0.5)
    columns = span_columns(batch)
    windows.add("cart", (), columns, WIDTH_NS, 0)
    (number,) = windows.windows
    assert number == int(columns.ends[0]) // WIDTH_NS
    (window,) = windows.close(number, WIDTH_NS).values()
    assert (window.requests, window.errors, window.service, window.peer) == (1.0, 0.0, "cart", "")
    assert window.latency == pytest.approx(0.5, rel=0.09)
    assert windows.open_count == 0


def test_failed_and_slowest_traces_are_kept_as_exemplars() -> None:
    windows = SpanWindows()
    columns = span_columns(spans(0, 40, failed=8))
    windows.add("cart", (), columns, WIDTH_NS, 0)
    window = next(iter(next(iter(windows.windows.values())).values()))
    assert window.errors == 8
    assert len(window.failed) == 5
    assert len(window.slowest) == 5
    assert window.failed[0][1] == (7).to_bytes(16, "big").hex()


def test_a_late_span_is_counted_and_left_out() -> None:
    windows, columns = SpanWindows(), span_columns(spans(0, 10))
    windows.add("cart", (), columns, WIDTH_NS, int(columns.ends[0]) // WIDTH_NS + 1)
    assert (windows.late, windows.windows) == (10, {})


def test_log_records_below_warning_are_only_counted() -> None:
    windows, miner = LogWindows(), PatternMiner()
    records = [LogIn(timestamp=NS, severity=9, body="fine"), LogIn(timestamp=2 * NS, severity=17, body="failed 1")]
    windows.add("cart", [*records, LogIn(timestamp=3 * NS, severity=17, body="failed 22")], miner, WIDTH_NS, 0)
    window = windows.close(0, WIDTH_NS)["cart"]
    assert window.ordinary == 1
    assert [(p.count, p.template) for p in window.patterns.values()] == [(2, "failed <n>")]


def test_windows_are_due_in_order_once_the_watermark_has_passed_them() -> None:
    clock, watermark = WindowClock(), Watermark()
    clock.begin(10, 10)
    watermark.advance("cart", 13 * WIDTH_NS, 13 * WIDTH_NS)
    assert due_numbers(clock, watermark) == [10, 11]
    assert due_numbers(clock, watermark) == []
    watermark.advance("cart", 14 * WIDTH_NS, 14 * WIDTH_NS)
    assert due_numbers(clock, watermark) == [12]


def test_a_gap_is_skipped_and_said() -> None:
    clock, watermark = WindowClock(), Watermark(newest_ns=1_000_000 * WIDTH_NS)
    clock.begin(10, 10)
    (due,) = clock.due(watermark, WIDTH_NS, WIDTH_NS, lambda: None)
    assert due.number == 1_000_000 - 2
    assert due.after_gap_ns == (1_000_000 - 2 - 10) * WIDTH_NS


def test_open_windows_in_a_gap_are_not_skipped() -> None:
    clock, watermark = WindowClock(), Watermark(newest_ns=10_000 * WIDTH_NS)
    clock.begin(10, 10)
    still_open = [500, 4_000]

    def first_open() -> int | None:
        return still_open[0] if still_open else None

    closed = []
    for due in clock.due(watermark, WIDTH_NS, WIDTH_NS, first_open):
        closed.append(due.number)
        if due.number in still_open:
            still_open.remove(due.number)
    assert {500, 4_000} <= set(closed)
    assert len(closed) < 10


def test_a_first_batch_starts_at_most_a_gap_back() -> None:
    clock = WindowClock()
    clock.begin(10, 10_000)
    assert clock.next_number == 10_000 - GAP_WINDOWS


def test_a_batch_from_the_future_of_its_receiver_moves_nothing() -> None:
    watermark = Watermark()
    assert watermark.advance("cart", 100 * NS, 100 * NS)
    assert not watermark.advance("broken", 100 * NS + 2 * AHEAD_NS, 101 * NS)
    assert watermark.newest_ns == 100 * NS
    assert watermark.jumps_held == 1


def test_a_jump_that_another_service_confirms_is_time_moving_on() -> None:
    watermark, later_ns = Watermark(newest_ns=100 * NS), 100 * NS + 50 * AHEAD_NS
    assert not watermark.advance("cart", later_ns, later_ns)
    assert watermark.newest_ns == 100 * NS
    assert watermark.advance("catalog", later_ns + NS, later_ns + NS)
    assert watermark.newest_ns == later_ns + NS


def test_a_lonely_service_confirms_its_own_jump_in_the_end() -> None:
    watermark, later_ns = Watermark(newest_ns=100 * NS), 100 * NS + 50 * AHEAD_NS
    moved = [watermark.advance("cart", later_ns + n * NS, later_ns + n * NS) for n in range(10)]
    assert moved.index(True) == 7


def test_a_broken_clock_never_confirms_itself_while_others_live_in_the_old_time() -> None:
    watermark, later_ns = Watermark(newest_ns=100 * NS), 100 * NS + 50 * AHEAD_NS
    for number in range(30):
        assert not watermark.advance("broken", later_ns + number * NS, later_ns + number * NS)
        assert watermark.advance("cart", (101 + number) * NS, later_ns)
    assert watermark.newest_ns == 130 * NS
