"""Builders of batches: what goes in comes back in order, and no message grows past its limit."""

from datetime import UTC, datetime

import pytest

from libs.contracts.batch_rows import EventIn, LogIn, SpanIn, logs, metric_points, spans
from libs.contracts.batches import LogBatchBuilder, MetricBatchBuilder, SpanBatchBuilder
from libs.contracts.codec import Codec
from libs.contracts.columns import pack_int32
from libs.contracts.telemetry import LogBatch, MetricBatch, SpanBatch, SpanEvent
from libs.errors import InvalidMessage

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RESOURCE = {"service.instance.id": "cart-1", "host.name": "knoten-ä"}
CODEC = Codec()
ROWS = [
    SpanIn(
        trace_id=bytes([n + 1]) * 16,
        span_id=bytes([n + 1]) * 8,
        start=n,
        duration=n * 2,
        kind=n % 6,
        status=n % 3,
        name=["GET /", "", "PÖST"][n % 3],
        peer=["", "db"][n % 2],
        user=["u-1", "", "u-2"][n % 3],
        attributes={"route": str(n % 4)},
        events=(EventIn(name="exception", timestamp=n, attributes={"a": "b"}),) * (n % 3),
    )
    for n in range(50)
]
RECORDS = [
    LogIn(
        timestamp=n,
        severity=n % 25,
        body=f"message {n} ✓",
        trace_id=bytes([n]) * 16,
        span_id=bytes([n]) * 8,
        logger=["", "a", "b"][n % 3],
        user=["", "u"][n % 2],
        attributes={"k": str(n % 3)},
    )
    for n in range(50)
]


def span_batches(rows: list[SpanIn], max_bytes: int = 900_000) -> list[SpanBatch]:
    builder = SpanBatchBuilder("cart", RESOURCE, NOON, max_bytes)
    for row in rows:
        builder.add(row)
    return builder.build()


def log_batches(rows: list[LogIn], max_bytes: int = 900_000) -> list[LogBatch]:
    builder = LogBatchBuilder("cart", RESOURCE, NOON, max_bytes)
    for row in rows:
        builder.add(row)
    return builder.build()


def metric_batches(points: int, max_bytes: int = 900_000) -> list[MetricBatch]:
    builder = MetricBatchBuilder("cart", RESOURCE, NOON, max_bytes)
    for n in range(points):
        builder.add((f"m{n % 7}", "value", "By", (("ü", str(n % 5)),)), n, n / 2)
    return builder.build()


@pytest.mark.parametrize("max_bytes", [600, 2_000, 900_000])
def test_spans_come_back_as_they_were(max_bytes: int) -> None:
    assert [row for batch in span_batches(ROWS, max_bytes) for row in spans(batch)] == ROWS


@pytest.mark.parametrize("max_bytes", [600, 2_000, 900_000])
def test_log_records_come_back_as_they_were(max_bytes: int) -> None:
    assert [row for batch in log_batches(RECORDS, max_bytes) for row in logs(batch)] == RECORDS


@pytest.mark.parametrize("max_bytes", [400, 2_000, 900_000])
def test_points_come_back_as_they_were(max_bytes: int) -> None:
    found = [(s.name, t, v) for batch in metric_batches(100, max_bytes) for s, t, v in metric_points(batch)]
    assert found == [(f"m{n % 7}", n, n / 2) for n in range(100)]


@pytest.mark.parametrize("max_bytes", [600, 1_000, 5_000])
def test_no_message_is_larger_than_asked_for(max_bytes: int) -> None:
    for topic, batches in (
        ("telemetry-spans", span_batches(ROWS * 5, max_bytes)),
        ("telemetry-logs", log_batches(RECORDS * 5, max_bytes)),
        ("telemetry-metrics", metric_batches(500, max_bytes)),
    ):
        assert len(batches) > 1
        assert max(len(CODEC.encode(topic, batch)) for batch in batches) <= max_bytes


def test_repeated_texts_are_stored_once() -> None:
    (batch,) = span_batches(ROWS)
    assert batch.names == ("GET /", "", "PÖST")
    assert batch.peers == ("db",)
    assert len(batch.attribute_sets) == 4


def test_nothing_added_is_no_batch_and_a_builder_starts_anew() -> None:
    builder = SpanBatchBuilder("cart", {}, NOON)
    assert builder.build() == []
    builder.add(ROWS[0])
    assert len(builder.build()) == 1
    assert builder.build() == []


def test_a_row_larger_than_a_message_is_refused_and_the_others_are_kept() -> None:
    huge = "x" * 2_000
    span_builder = SpanBatchBuilder("cart", {}, NOON, 1_000)
    span_builder.add(ROWS[0])
    with pytest.raises(InvalidMessage, match="larger than a message"):
        span_builder.add(SpanIn(trace_id=bytes(16), span_id=bytes(8), start=0, duration=0, name=huge))
    assert [row for batch in span_builder.build() for row in spans(batch)] == ROWS[:1]
    with pytest.raises(InvalidMessage, match="larger than a message"):
        LogBatchBuilder("cart", {}, NOON, 1_000).add(LogIn(timestamp=0, body=huge))
    with pytest.raises(InvalidMessage, match="larger than a message"):
        MetricBatchBuilder("cart", {}, NOON, 1_000).add((huge, "value", "", ()), 0, 1.0)


def test_columns_that_contradict_each_other_are_refused_when_read() -> None:
    (batch,) = span_batches(ROWS[:2])
    fields = {name: getattr(batch, name) for name in batch.__slots__}
    for wrong in (
        {"trace_ids": b"x"},
        {"name_index": pack_int32([0, 9])},
        {"events": (SpanEvent(span_index=2, name="x", timestamp=0),)},
    ):
        with pytest.raises(InvalidMessage):
            list(spans(SpanBatch(**{**fields, **wrong})))
