"""Builders of columnar batches: one place for intake, recordings and tests; `batch_rows` reads batches back.

A builder interns repeated texts, keeps the order of its rows and starts a new batch before a message grows past
`BATCH_MAX_BYTES`. Metric points are given as columns (no object per point), spans and logs as small rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from typing import Final, Generic, TypeVar

from libs.contracts.batch_rows import LogIn, SpanIn
from libs.contracts.columns import pack_float64, pack_int8, pack_int32, pack_int64
from libs.contracts.telemetry import LogBatch, MetricBatch, MetricSeries, SpanBatch, SpanEvent
from libs.errors import InvalidMessage

BATCH_MAX_BYTES: Final = 900_000  # Kafka's default message.max.bytes is 1,048,588; one seventh stays for the estimate
_HEAD_BYTES: Final = 200  # lengths of columns and the time, most of what any signal has
_POINT_BYTES: Final = 20  # int32 + int64 + float64
_SPAN_BYTES: Final = 66  # ids 32, start and duration 16, kind and status 2, four indexes 16
_EVENT_BYTES: Final = 16
_LOG_BYTES: Final = 48  # ids 24, time 8, severity 1, three indexes 12, the body's length

AttributePairs = tuple[tuple[str, str], ...]
SeriesKey = tuple[str, str, str, AttributePairs]  # name, statistic, unit, sorted attributes
K = TypeVar("K", bound=Hashable)
B = TypeVar("B", MetricBatch, SpanBatch, LogBatch)


def text_bytes(text: str) -> int:
    """Most bytes of a text in Avro: UTF-8 with its length prefix."""
    return (len(text) if text.isascii() else len(text.encode())) + 3


def pair_bytes(pairs: AttributePairs) -> int:
    """Most bytes of attributes as an Avro map."""
    joined = "".join(map("".join, pairs))  # one pass in C: 0.6 us for eight attributes, a loop takes 1.1 to 1.5
    return 4 + 6 * len(pairs) + (len(joined) if joined.isascii() else len(joined.encode()))


class _Distinct(Generic[K]):
    """Distinct keys by position, in order of appearance, and what a new one adds to a message."""

    def __init__(self, size: Callable[[K], int], *, none: K | None = None) -> None:
        self._size = size
        self._none = none
        self._positions: dict[K, int] = {}

    def added_bytes(self, key: K) -> int:
        """Bytes that a key adds: 0 when it is already here or means none."""
        return 0 if key == self._none or key in self._positions else self._size(key)

    def position(self, key: K) -> int:
        """Position of a key, -1 for none."""
        if key == self._none:
            return -1
        found = self._positions.get(key)
        if found is None:
            found = self._positions[key] = len(self._positions)
        return found

    def all(self) -> tuple[K, ...]:
        """The keys by position."""
        return tuple(self._positions)


class SeriesCatalog:
    """Series as records with their sizes, kept over batches: most exports repeat the series of the one before.

    Args:
        capacity: Series kept; beyond it the catalog starts anew.
    """

    def __init__(self, capacity: int = 50_000) -> None:
        self._capacity = capacity
        self._entries: dict[SeriesKey, tuple[MetricSeries, int]] = {}

    def entry(self, key: SeriesKey) -> tuple[MetricSeries, int]:
        """The record of a series, and its bytes in a message."""
        found = self._entries.get(key)
        if found is None:
            if len(self._entries) >= self._capacity:
                self._entries.clear()
            name, statistic, unit, attributes = key
            series = MetricSeries(name=name, statistic=statistic, unit=unit, attributes=dict(attributes))
            size = text_bytes(name) + text_bytes(statistic) + text_bytes(unit) + pair_bytes(attributes)
            found = self._entries[key] = (series, size)
        return found


class _BatchBuilder(ABC, Generic[B]):
    """What builders of every signal share: the resource, the size, and batches that are full.

    Args:
        service: service.name.
        resource: Resource attributes.
        observed_at: When the telemetry was received.
        max_bytes: Estimated size at which the next batch begins.
    """

    def __init__(
        self, service: str, resource: Mapping[str, str], observed_at: datetime, max_bytes: int = BATCH_MAX_BYTES
    ) -> None:
        self._service, self._resource, self._observed_at = service, resource, observed_at
        self._overhead = _HEAD_BYTES + text_bytes(service) + pair_bytes(tuple(resource.items()))
        self._max_bytes = max_bytes
        self._finished: list[B] = []
        self._begin()

    def _begin(self) -> None:
        """Start an empty batch."""
        self._bytes = self._overhead

    @abstractmethod
    def _batch(self) -> B | None:
        """What was collected since the batch began, None for nothing."""

    def _finish(self) -> None:
        batch = self._batch()
        if batch is not None:
            self._finished.append(batch)
        self._begin()

    def build(self) -> list[B]:
        """The batches, none of them empty; the builder starts anew."""
        self._finish()
        finished, self._finished = self._finished, []
        return finished


class MetricBatchBuilder(_BatchBuilder[MetricBatch]):
    """Collects metric points of one resource.

    Args:
        service: service.name.
        resource: Resource attributes.
        observed_at: When the points were received.
        max_bytes: Estimated size at which the next batch begins.
        catalog: Shared by the builders of one thread.
    """

    def __init__(
        self,
        service: str,
        resource: Mapping[str, str],
        observed_at: datetime,
        max_bytes: int = BATCH_MAX_BYTES,
        catalog: SeriesCatalog | None = None,
    ) -> None:
        self._catalog = SeriesCatalog() if catalog is None else catalog
        super().__init__(service, resource, observed_at, max_bytes)

    def _begin(self) -> None:
        super()._begin()
        self._positions: dict[SeriesKey, int] = {}
        self._series: list[MetricSeries] = []
        self._index: list[int] = []
        self._timestamps: list[int] = []
        self._values: list[float] = []

    def add(self, key: SeriesKey, timestamp: int, value: float) -> None:
        """Add a point; `InvalidMessage` when its series alone is larger than a message may be."""
        position = self._positions.get(key)
        if position is None or self._bytes + _POINT_BYTES > self._max_bytes:
            position = self._place(key)
        self._bytes += _POINT_BYTES
        self._index.append(position)
        self._timestamps.append(timestamp)
        self._values.append(value)

    def _place(self, key: SeriesKey) -> int:
        series, series_bytes = self._catalog.entry(key)
        needed = series_bytes + _POINT_BYTES
        if self._bytes + needed > self._max_bytes:
            if self._overhead + needed > self._max_bytes:
                raise InvalidMessage("one series with its resource is larger than a message may be")
            self._finish()
        position = self._positions[key] = len(self._series)
        self._series.append(series)
        self._bytes += series_bytes
        return position

    def _batch(self) -> MetricBatch | None:
        if not self._index:
            return None
        return MetricBatch(
            service=self._service,
            resource=self._resource,
            observed_at=self._observed_at,
            series=tuple(self._series),
            series_index=pack_int32(self._index),
            timestamps=pack_int64(self._timestamps),
            values=pack_float64(self._values),
        )


class SpanBatchBuilder(_BatchBuilder[SpanBatch]):
    """Collects spans of one resource; arguments as `MetricBatchBuilder`."""

    def _begin(self) -> None:
        super()._begin()
        self._rows: list[tuple[bytes, bytes, bytes, int, int, int, int, int, int, int, int]] = []
        self._names = _Distinct(text_bytes)
        self._peers = _Distinct(text_bytes, none="")
        self._users = _Distinct(text_bytes, none="")
        self._sets = _Distinct(pair_bytes)
        self._events: list[SpanEvent] = []

    def _needed(self, span: SpanIn, attributes: AttributePairs) -> int:
        needed = _SPAN_BYTES + self._names.added_bytes(span.name) + self._sets.added_bytes(attributes)
        needed += self._peers.added_bytes(span.peer) + self._users.added_bytes(span.user)
        for event in span.events:
            needed += _EVENT_BYTES + text_bytes(event.name) + pair_bytes(tuple(event.attributes.items()))
        return needed

    def add(self, span: SpanIn) -> None:
        """Add a span; `InvalidMessage` when it alone is larger than a message may be."""
        attributes = tuple(span.attributes.items())
        needed = self._needed(span, attributes)
        if self._bytes + needed > self._max_bytes:
            self._finish()
            needed = self._needed(span, attributes)
            if self._bytes + needed > self._max_bytes:
                raise InvalidMessage("one span with its resource is larger than a message may be")
        self._bytes += needed
        for event in span.events:
            self._events.append(
                SpanEvent(
                    span_index=len(self._rows),
                    name=event.name,
                    timestamp=event.timestamp,
                    attributes=event.attributes,
                )
            )
        self._rows.append(
            (
                span.trace_id,
                span.span_id,
                span.parent_span_id,
                span.start,
                span.duration,
                span.kind,
                span.status,
                self._names.position(span.name),
                self._peers.position(span.peer),
                self._users.position(span.user),
                self._sets.position(attributes),
            )
        )

    def _batch(self) -> SpanBatch | None:
        if not self._rows:
            return None
        traces, ids, parents, starts, durations, kinds, statuses, names, peers, users, sets = zip(
            *self._rows, strict=True
        )
        return SpanBatch(
            service=self._service,
            resource=self._resource,
            observed_at=self._observed_at,
            trace_ids=b"".join(traces),
            span_ids=b"".join(ids),
            parent_span_ids=b"".join(parents),
            starts=pack_int64(starts),
            durations=pack_int64(durations),
            kinds=pack_int8(kinds),
            statuses=pack_int8(statuses),
            names=self._names.all(),
            name_index=pack_int32(names),
            peers=self._peers.all(),
            peer_index=pack_int32(peers),
            users=self._users.all(),
            user_index=pack_int32(users),
            attribute_sets=tuple(dict(pairs) for pairs in self._sets.all()),
            attribute_index=pack_int32(sets),
            events=tuple(self._events),
        )


class LogBatchBuilder(_BatchBuilder[LogBatch]):
    """Collects log records of one resource; arguments as `MetricBatchBuilder`."""

    def _begin(self) -> None:
        super()._begin()
        self._rows: list[tuple[int, int, str, bytes, bytes, int, int, int]] = []
        self._loggers = _Distinct(text_bytes, none="")
        self._users = _Distinct(text_bytes, none="")
        self._sets = _Distinct(pair_bytes)

    def _needed(self, log: LogIn, attributes: AttributePairs) -> int:
        needed = _LOG_BYTES + text_bytes(log.body) + self._sets.added_bytes(attributes)
        return needed + self._loggers.added_bytes(log.logger) + self._users.added_bytes(log.user)

    def add(self, log: LogIn) -> None:
        """Add a record; `InvalidMessage` when it alone is larger than a message may be."""
        attributes = tuple(log.attributes.items())
        needed = self._needed(log, attributes)
        if self._bytes + needed > self._max_bytes:
            self._finish()
            needed = self._needed(log, attributes)
            if self._bytes + needed > self._max_bytes:
                raise InvalidMessage("one log record with its resource is larger than a message may be")
        self._bytes += needed
        logger, user = self._loggers.position(log.logger), self._users.position(log.user)
        sets = self._sets.position(attributes)
        self._rows.append((log.timestamp, log.severity, log.body, log.trace_id, log.span_id, logger, user, sets))

    def _batch(self) -> LogBatch | None:
        if not self._rows:
            return None
        timestamps, severities, bodies, traces, spans, loggers, users, sets = zip(*self._rows, strict=True)
        return LogBatch(
            service=self._service,
            resource=self._resource,
            observed_at=self._observed_at,
            timestamps=pack_int64(timestamps),
            severities=pack_int8(severities),
            bodies=bodies,
            trace_ids=b"".join(traces),
            span_ids=b"".join(spans),
            loggers=self._loggers.all(),
            logger_index=pack_int32(loggers),
            users=self._users.all(),
            user_index=pack_int32(users),
            attribute_sets=tuple(dict(pairs) for pairs in self._sets.all()),
            attribute_index=pack_int32(sets),
        )
