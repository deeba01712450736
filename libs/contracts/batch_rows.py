"""Batches as rows: what a builder takes, and what reading a columnar batch gives back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from libs.contracts.columns import unpack_float64, unpack_index, unpack_int8, unpack_int64
from libs.contracts.telemetry import LogBatch, MetricBatch, MetricSeries, SpanBatch
from libs.errors import InvalidMessage

TRACE_ID_BYTES: Final = 16
SPAN_ID_BYTES: Final = 8
NO_TRACE_ID: Final = bytes(TRACE_ID_BYTES)
NO_SPAN_ID: Final = bytes(SPAN_ID_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventIn:
    """An event of a span.

    Attributes:
        name: Event name.
        timestamp: Unix nanoseconds.
        attributes: Event attributes.
    """

    name: str
    timestamp: int
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanIn:
    """One span as a row.

    Attributes:
        trace_id: 16 bytes.
        span_id: 8 bytes.
        parent_span_id: 8 bytes, zeros for a root.
        start: Unix nanoseconds.
        duration: Nanoseconds, never negative.
        kind: OTLP SpanKind.
        status: OTLP StatusCode.
        name: Span name.
        peer: Callee as the caller names it, "" for none.
        user: User id, "" for none.
        attributes: Remaining attributes.
        events: Span events.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes = NO_SPAN_ID
    start: int
    duration: int
    kind: int = 1
    status: int = 0
    name: str
    peer: str = ""
    user: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    events: tuple[EventIn, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIn:
    """One log record as a row.

    Attributes:
        timestamp: Unix nanoseconds.
        severity: OTLP SeverityNumber, 0 for unspecified.
        body: Message.
        trace_id: 16 bytes, zeros for none.
        span_id: 8 bytes, zeros for none.
        logger: Logger name, "" for none.
        user: User id, "" for none.
        attributes: Remaining attributes.
    """

    timestamp: int
    severity: int = 0
    body: str
    trace_id: bytes = NO_TRACE_ID
    span_id: bytes = NO_SPAN_ID
    logger: str = ""
    user: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def metric_points(batch: MetricBatch) -> Iterator[tuple[MetricSeries, int, float]]:
    """Series, unix nanoseconds and value of each point, in order; `InvalidMessage` names a bad column."""
    timestamps = unpack_int64(batch.timestamps, "timestamps")
    count = len(timestamps)
    index = unpack_index(batch.series_index, "series_index", count, len(batch.series))
    values = unpack_float64(batch.values, "values", count)
    series = batch.series
    for position, timestamp, value in zip(index.tolist(), timestamps.tolist(), values.tolist(), strict=True):
        yield series[position], timestamp, value


def spans(batch: SpanBatch) -> Iterator[SpanIn]:
    """The spans of a batch, in order; `InvalidMessage` names a bad column."""
    starts = unpack_int64(batch.starts, "starts")
    count = len(starts)
    traces = _ids(batch.trace_ids, "trace_ids", TRACE_ID_BYTES, count)
    ids = _ids(batch.span_ids, "span_ids", SPAN_ID_BYTES, count)
    parents = _ids(batch.parent_span_ids, "parent_span_ids", SPAN_ID_BYTES, count)
    names = unpack_index(batch.name_index, "name_index", count, len(batch.names)).tolist()
    peers = unpack_index(batch.peer_index, "peer_index", count, len(batch.peers), optional=True).tolist()
    users = unpack_index(batch.user_index, "user_index", count, len(batch.users), optional=True).tolist()
    sets = unpack_index(batch.attribute_index, "attribute_index", count, len(batch.attribute_sets)).tolist()
    numbers = zip(
        starts.tolist(),
        unpack_int64(batch.durations, "durations", count).tolist(),
        unpack_int8(batch.kinds, "kinds", count).tolist(),
        unpack_int8(batch.statuses, "statuses", count).tolist(),
        strict=True,
    )
    events = _events_by_span(batch, count)
    for row, (start, duration, kind, status) in enumerate(numbers):
        yield SpanIn(
            trace_id=traces[row],
            span_id=ids[row],
            parent_span_id=parents[row],
            start=start,
            duration=duration,
            kind=kind,
            status=status,
            name=batch.names[names[row]],
            peer=batch.peers[peers[row]] if peers[row] >= 0 else "",
            user=batch.users[users[row]] if users[row] >= 0 else "",
            attributes=batch.attribute_sets[sets[row]],
            events=tuple(events.get(row, ())),
        )


def logs(batch: LogBatch) -> Iterator[LogIn]:
    """The records of a batch, in order; `InvalidMessage` names a bad column."""
    timestamps = unpack_int64(batch.timestamps, "timestamps")
    count = len(timestamps)
    if len(batch.bodies) != count:
        raise InvalidMessage(f"bodies: {len(batch.bodies)} values where {count} were expected")
    traces = _ids(batch.trace_ids, "trace_ids", TRACE_ID_BYTES, count)
    span_ids = _ids(batch.span_ids, "span_ids", SPAN_ID_BYTES, count)
    loggers = unpack_index(batch.logger_index, "logger_index", count, len(batch.loggers), optional=True).tolist()
    users = unpack_index(batch.user_index, "user_index", count, len(batch.users), optional=True).tolist()
    sets = unpack_index(batch.attribute_index, "attribute_index", count, len(batch.attribute_sets)).tolist()
    severities = unpack_int8(batch.severities, "severities", count).tolist()
    for row, timestamp in enumerate(timestamps.tolist()):
        yield LogIn(
            timestamp=timestamp,
            severity=severities[row],
            body=batch.bodies[row],
            trace_id=traces[row],
            span_id=span_ids[row],
            logger=batch.loggers[loggers[row]] if loggers[row] >= 0 else "",
            user=batch.users[users[row]] if users[row] >= 0 else "",
            attributes=batch.attribute_sets[sets[row]],
        )


def _ids(column: bytes, name: str, width: int, count: int) -> list[bytes]:
    if len(column) != width * count:
        raise InvalidMessage(f"column {name}: {len(column)} bytes where {width * count} were expected")
    return [column[at : at + width] for at in range(0, len(column), width)]


def _events_by_span(batch: SpanBatch, count: int) -> dict[int, list[EventIn]]:
    by_span: dict[int, list[EventIn]] = {}
    for event in batch.events:
        if not 0 <= event.span_index < count:
            raise InvalidMessage(f"events: span_index {event.span_index} lies outside the batch of {count}")
        row = EventIn(name=event.name, timestamp=event.timestamp, attributes=event.attributes)
        by_span.setdefault(event.span_index, []).append(row)
    return by_span
