"""Telemetry batches checked and laid out as the telemetry stores keep them: one record array per batch."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from libs.contracts.codec import ns_from_utc
from libs.contracts.columns import (
    Int8Array,
    Int32Array,
    Int64Array,
    unpack_float64,
    unpack_index,
    unpack_int8,
    unpack_int64,
)
from libs.contracts.telemetry import LogBatch, MetricBatch, SpanBatch
from libs.errors import InvalidMessage

RecordArray = npt.NDArray[np.void]

SPAN_ROW: Final = np.dtype(
    [
        ("start", "<i8"),
        ("duration", "<i8"),
        ("name", "<i4"),
        ("peer", "<i4"),
        ("user", "<i4"),
        ("attributes", "<i4"),
        ("call", "<i4"),
        ("kind", "i1"),
        ("status", "i1"),
    ]
)
SPAN_IDS: Final = np.dtype([("trace", "V16"), ("span", "V8"), ("parent", "V8")])
LOG_ROW: Final = np.dtype(
    [("time", "<i8"), ("logger", "<i4"), ("user", "<i4"), ("attributes", "<i4"), ("severity", "i1"), ("trace", "V16")]
)
SERVER_KINDS: Final = (2, 5)  # OTLP SpanKind server, consumer
CALLER_KINDS: Final = (3, 4)  # OTLP SpanKind client, producer
# Intake refuses what runs further ahead; here it would move the watermark, and with it retention, for every reader.
AHEAD_NS: Final = 600 * 1_000_000_000
_LATEST_NS: Final = 2**62  # the year 2116: sums of a start and a duration stay inside int64
_DIGESTER: Final = msgspec.msgpack.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricColumns:
    """A checked metric batch; arrays have one entry per point.

    Attributes:
        batch: Where it came from.
        digest: 16 bytes that tell batches apart whatever time they were received at.
        index: Position in `batch.series`.
        timestamps: Unix nanoseconds.
    """

    batch: MetricBatch
    digest: bytes
    index: Int32Array
    timestamps: Int64Array


@dataclass(frozen=True, slots=True, kw_only=True)
class LogColumns:
    """A checked log batch.

    Attributes:
        batch: Where it came from.
        digest: As in MetricColumns.
        rows: LOG_ROW, one per record.
    """

    batch: LogBatch
    digest: bytes
    rows: RecordArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanColumns:
    """A checked span batch.

    Attributes:
        batch: Where it came from.
        digest: As in MetricColumns.
        rows: SPAN_ROW, one per span; `call` is 0 until the store fills it in.
        ids: SPAN_IDS, one per span.
        ends: Unix nanoseconds.
        exceptions: Span position and attributes of each exception event.
    """

    batch: SpanBatch
    digest: bytes
    rows: RecordArray
    ids: RecordArray
    ends: Int64Array
    exceptions: tuple[tuple[int, Mapping[str, str]], ...]


def metric_columns(batch: MetricBatch) -> MetricColumns:
    """Check a metric batch; `InvalidMessage` names the column that is wrong."""
    timestamps = unpack_int64(batch.timestamps, "timestamps")
    index = unpack_index(batch.series_index, "series_index", len(timestamps), len(batch.series))
    unpack_float64(batch.values, "values", len(timestamps))
    _require_plausible(timestamps, batch.observed_at)
    fields = (batch.service, batch.resource, batch.series, batch.series_index, batch.timestamps, batch.values)
    return MetricColumns(batch=batch, digest=_digest(fields), index=index, timestamps=timestamps)


def log_columns(batch: LogBatch) -> LogColumns:
    """Check a log batch; `InvalidMessage` names the column that is wrong."""
    size = len(batch.bodies)
    rows = np.zeros(size, LOG_ROW)
    rows["time"] = unpack_int64(batch.timestamps, "timestamps", size)
    rows["severity"] = unpack_int8(batch.severities, "severities", size)
    rows["trace"] = _identifiers(batch.trace_ids, 16, "trace_ids", size)
    _identifiers(batch.span_ids, 8, "span_ids", size)
    rows["logger"] = unpack_index(batch.logger_index, "logger_index", size, len(batch.loggers), optional=True)
    rows["user"] = unpack_index(batch.user_index, "user_index", size, len(batch.users), optional=True)
    rows["attributes"] = _attribute_index(batch.attribute_index, size, batch.attribute_sets)
    _require_plausible(rows["time"], batch.observed_at)
    fields = (
        *(batch.service, batch.resource, batch.timestamps, batch.severities, batch.bodies, batch.trace_ids),
        *(batch.span_ids, batch.loggers, batch.logger_index, batch.users, batch.user_index),
        *(batch.attribute_sets, batch.attribute_index),
    )
    return LogColumns(batch=batch, digest=_digest(fields), rows=rows)


def span_columns(batch: SpanBatch) -> SpanColumns:
    """Check a span batch; `InvalidMessage` names the column that is wrong."""
    starts = unpack_int64(batch.starts, "starts")
    size = len(starts)
    rows, ids = np.zeros(size, SPAN_ROW), np.zeros(size, SPAN_IDS)
    durations = unpack_int64(batch.durations, "durations", size)
    if size and (int(durations.min()) < 0 or int(durations.max()) > _LATEST_NS):
        raise InvalidMessage("column durations: a span has a negative or absurd duration")
    _require_plausible(starts, batch.observed_at)
    ends = starts + durations
    _require_plausible(ends, batch.observed_at)
    rows["start"], rows["duration"] = starts, durations
    rows["kind"] = unpack_int8(batch.kinds, "kinds", size)
    rows["status"] = unpack_int8(batch.statuses, "statuses", size)
    rows["name"] = unpack_index(batch.name_index, "name_index", size, len(batch.names))
    rows["peer"] = unpack_index(batch.peer_index, "peer_index", size, len(batch.peers), optional=True)
    rows["user"] = unpack_index(batch.user_index, "user_index", size, len(batch.users), optional=True)
    rows["attributes"] = _attribute_index(batch.attribute_index, size, batch.attribute_sets)
    ids["trace"] = _identifiers(batch.trace_ids, 16, "trace_ids", size)
    ids["span"] = _identifiers(batch.span_ids, 8, "span_ids", size)
    ids["parent"] = _identifiers(batch.parent_span_ids, 8, "parent_span_ids", size)
    if any(not 0 <= event.span_index < size for event in batch.events):
        raise InvalidMessage(f"events: a span_index lies outside the {size} spans")
    fields = (
        *(batch.service, batch.resource, batch.trace_ids, batch.span_ids, batch.parent_span_ids, batch.starts),
        *(batch.durations, batch.kinds, batch.statuses, batch.names, batch.name_index, batch.peers),
        *(batch.peer_index, batch.users, batch.user_index, batch.attribute_sets, batch.attribute_index, batch.events),
    )
    exceptions = tuple((event.span_index, event.attributes) for event in batch.events if event.name == "exception")
    return SpanColumns(batch=batch, digest=_digest(fields), rows=rows, ids=ids, ends=ends, exceptions=exceptions)


def _digest(fields: Sequence[Any]) -> bytes:
    return hashlib.blake2b(_DIGESTER.encode(fields), digest_size=16).digest()


def _identifiers(column: bytes, width: int, name: str, size: int) -> RecordArray:
    if len(column) != width * size:
        raise InvalidMessage(f"column {name}: {len(column)} bytes where {width * size} were expected")
    return np.frombuffer(column, dtype=f"V{width}")


def _attribute_index(column: bytes, size: int, sets: Sequence[Mapping[str, str]]) -> Int32Array:
    return unpack_index(column, "attribute_index", size, len(sets), optional=True)


def _require_plausible(times_ns: Int64Array, observed_at: datetime) -> None:
    """Refuse event times before 1970 and far ahead of the time at which the batch was received."""
    if not len(times_ns):
        return
    earliest, latest = int(times_ns.min()), int(times_ns.max())
    if earliest < 0:
        raise InvalidMessage(f"event time {earliest} ns lies before 1970")
    ahead_ns = latest - ns_from_utc(observed_at)
    if ahead_ns > AHEAD_NS or latest > _LATEST_NS:
        raise InvalidMessage(f"event time {latest} ns is {ahead_ns / 1e9:.0f} s ahead of the time it was received")


def failed_flags(rows: RecordArray) -> Int8Array:
    """1 for each span with status error."""
    flags: Int8Array = (rows["status"] == 2).astype(np.int8)
    return flags
