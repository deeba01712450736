"""Spans to windows: per service (server and consumer spans) and per call edge (client and producer spans by peer).

A span belongs to the window of its END time. Works on columns: one numpy grouping per batch, no object per span.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.contracts.batch_rows import TRACE_ID_BYTES
from libs.contracts.columns import (
    FloatArray,
    Int8Array,
    Int32Array,
    Int64Array,
    unpack_index,
    unpack_int8,
    unpack_int64,
)
from libs.contracts.telemetry import SpanBatch
from libs.errors import InvalidMessage
from services.detector.duration_buckets import BUCKETS, bucket_of
from services.detector.request_window import Kind, RequestWindow, span_window

EXEMPLARS: Final = 5
_SERVER, _CLIENT, _PRODUCER, _CONSUMER = 2, 3, 4, 5  # OTLP SpanKind
_FAILED: Final = 2
_MAX_OPEN: Final = 20_000  # open windows of all targets: 2,000 targets with 10 open windows each
_MAX_KINDS: Final = 20  # of one window; a service that puts ids into its span names has thousands
_OTHER_KINDS: Final = "\x00"
_NO_TARGET: Final = -2
_OWN: Final = -1

Target = tuple[str, str]  # service, peer ("" for the service's own requests)


@dataclass(frozen=True, slots=True)
class SpanColumns:
    """The columns of a batch that windows need, checked."""

    ends: Int64Array
    durations: Int64Array
    targets: npt.NDArray[np.int64]
    failed: npt.NDArray[np.bool_]
    trace_ids: bytes
    kinds: Int32Array
    names: tuple[str, ...]


@dataclass(slots=True)
class OpenWindow:
    """Requests of one target in one window, still growing.

    Attributes:
        histogram: Requests per duration bucket.
        kinds: The same by span name; beyond 20 names the others are one.
        errors: Failed requests.
        duration_sum_s: Sum of durations.
        failed: (end time in ns, trace id in hex) of failed requests, newest first.
        slowest: (duration in ns, trace id in hex), slowest first.
    """

    histogram: FloatArray = field(default_factory=lambda: np.zeros(BUCKETS))
    kinds: dict[str, Kind] = field(default_factory=dict)
    errors: int = 0
    duration_sum_s: float = 0.0
    failed: list[tuple[int, str]] = field(default_factory=list)
    slowest: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class SpanWindows:
    """Open windows of a partition.

    Attributes:
        windows: By window number (event time // width), then by target.
        late: Spans that came after their window was closed.
        dropped: Spans beyond the bound of open windows, or too far ahead.
    """

    windows: dict[int, dict[Target, OpenWindow]] = field(default_factory=dict)
    late: int = 0
    dropped: int = 0
    open_count: int = 0

    def add(self, service: str, peers: tuple[str, ...], columns: SpanColumns, width_ns: int, first_open: int) -> None:
        """Count the spans of a batch; those of windows below `first_open` are late."""
        relevant = columns.targets != _NO_TARGET
        numbers = columns.ends // width_ns
        late = relevant & (numbers < first_open)
        self.late += int(late.sum())
        rows = np.flatnonzero(relevant & ~late)
        if not len(rows):
            return
        order = np.lexsort((columns.targets[rows], numbers[rows]))
        rows = rows[order]
        changed = np.flatnonzero(np.diff(numbers[rows]) | np.diff(columns.targets[rows])) + 1
        for group in np.split(rows, changed):
            target = int(columns.targets[group[0]])
            window = self._open(int(numbers[group[0]]), (service, "" if target == _OWN else peers[target]))
            if window is None:
                self.dropped += len(group)
            else:
                _count(window, columns, group)

    def _open(self, number: int, target: Target) -> OpenWindow | None:
        known = self.windows.get(number, {}).get(target)
        if known is not None or self.open_count >= _MAX_OPEN:
            return known
        window = self.windows.setdefault(number, {})[target] = OpenWindow()
        self.open_count += 1
        return window

    def close(self, number: int, width_ns: int) -> dict[Target, RequestWindow]:
        """Take the finished windows of a window number."""
        finished = self.windows.pop(number, {})
        self.open_count -= len(finished)
        return {
            target: span_window(
                *target,
                number * width_ns,
                (number + 1) * width_ns,
                histogram=window.histogram,
                kinds=window.kinds,
                errors=window.errors,
                duration_sum_s=window.duration_sum_s,
                failed_traces=tuple(trace for _, trace in window.failed),
                slow_traces=tuple(trace for _, trace in window.slowest),
            )
            for target, window in sorted(finished.items())
        }

    def first_number(self) -> int | None:
        """The oldest window number that is open."""
        return min(self.windows, default=None)


def empty_window(target: Target, number: int, width_ns: int) -> RequestWindow:
    """The window of a known target in which nothing finished."""
    return span_window(
        *target, number * width_ns, (number + 1) * width_ns, histogram=np.zeros(BUCKETS), errors=0, duration_sum_s=0.0
    )


def span_columns(batch: SpanBatch) -> SpanColumns:
    """Read and check the columns of a batch; `InvalidMessage` names the bad one."""
    starts = unpack_int64(batch.starts, "starts")
    count = len(starts)
    durations = unpack_int64(batch.durations, "durations", count)
    if count and int(durations.min()) < 0:
        raise InvalidMessage("column durations: a duration is negative")
    if count and (int(starts.min()) < 0 or int(starts.max()) > _MAX_NS or int(durations.max()) > _MAX_NS):
        raise InvalidMessage("columns starts and durations: a time lies beyond the year 2116")
    kinds = unpack_int8(batch.kinds, "kinds", count)
    statuses = unpack_int8(batch.statuses, "statuses", count)
    peers = unpack_index(batch.peer_index, "peer_index", count, len(batch.peers), optional=True)
    if len(batch.trace_ids) != TRACE_ID_BYTES * count:
        raise InvalidMessage(f"column trace_ids: {len(batch.trace_ids)} bytes for {count} spans")
    return SpanColumns(
        ends=starts + durations,
        durations=durations,
        targets=_targets(kinds, peers),
        failed=statuses == _FAILED,
        trace_ids=batch.trace_ids,
        kinds=unpack_index(batch.name_index, "name_index", count, len(batch.names)),
        names=batch.names,
    )


_MAX_NS: Final = 2**62  # start + duration stay inside int64


def _targets(kinds: Int8Array, peers: Int32Array) -> npt.NDArray[np.int64]:
    targets = np.full(len(kinds), _NO_TARGET, np.int64)
    # Compared one by one: isin takes 30 us a batch, ten times as long.
    targets[(kinds == _SERVER) | (kinds == _CONSUMER)] = _OWN
    calls = ((kinds == _CLIENT) | (kinds == _PRODUCER)) & (peers >= 0)
    targets[calls] = peers[calls]
    return targets


def _count(window: OpenWindow, columns: SpanColumns, rows: Int64Array) -> None:
    durations = columns.durations[rows]
    buckets = bucket_of(durations)
    window.histogram += np.bincount(buckets, minlength=BUCKETS)
    _count_kinds(window, columns, rows, buckets)
    window.duration_sum_s += float(durations.sum()) / 1e9
    failed = rows[columns.failed[rows]]
    window.errors += len(failed)
    if len(failed):
        newest = failed[np.argsort(-columns.ends[failed], kind="stable")[:EXEMPLARS]]
        window.failed = _best(window.failed, newest, columns.ends, columns.trace_ids)
    slowest = rows[np.argsort(-durations, kind="stable")[:EXEMPLARS]]
    window.slowest = _best(window.slowest, slowest, columns.durations, columns.trace_ids)


def _count_kinds(window: OpenWindow, columns: SpanColumns, rows: Int64Array, buckets: Int64Array) -> None:
    kinds = columns.kinds[rows]
    for index in np.unique(kinds).tolist():
        name = columns.names[index]
        if name not in window.kinds and len(window.kinds) >= _MAX_KINDS:
            name = _OTHER_KINDS
        kind = window.kinds.setdefault(name, Kind())
        mine = kinds == index
        kind.requests += int(mine.sum())
        kind.histogram += np.bincount(buckets[mine], minlength=BUCKETS)
        kind.duration_sum_s += float(columns.durations[rows[mine]].sum()) / 1e9


def _best(known: list[tuple[int, str]], rows: Int64Array, ranks: Int64Array, trace_ids: bytes) -> list[tuple[int, str]]:
    found = [
        (int(ranks[row]), trace_ids[int(row) * TRACE_ID_BYTES : (int(row) + 1) * TRACE_ID_BYTES].hex()) for row in rows
    ]
    best: dict[str, int] = {}
    for rank, trace in sorted(known + found, key=lambda item: (-item[0], item[1])):
        best.setdefault(trace, rank)
    return [(rank, trace) for trace, rank in list(best.items())[:EXEMPLARS]]
