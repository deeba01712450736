"""The detector behind the Handler protocol: telemetry in, anomaly episodes out, state per topic and partition.

A batch is checked whole before anything changes, so a malformed message leaves no trace. A message that is handed in
again (because its anomalies could not be written) gives the same anomalies again; older ones change nothing.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.batch_rows import LogIn
from libs.contracts.telemetry import LogBatch, MetricBatch, SpanBatch
from libs.contracts.topics import ANOMALIES, TELEMETRY_LOGS, TELEMETRY_METRICS, TELEMETRY_SPANS
from libs.errors import InvalidMessage
from libs.streaming.broker import TopicPartition
from libs.streaming.handler import Emit, Event
from services.detector.counters import DetectorCounters
from services.detector.detector import Detector, DetectorOptions, Feed
from services.detector.engine import of_feed
from services.detector.log_partition import LogPartition
from services.detector.metric_partition import MetricColumns, MetricPartition
from services.detector.presence import silences
from services.detector.span_partition import SpanPartition
from services.detector.span_windows import SpanColumns

SUBSCRIPTIONS: Final = (TELEMETRY_METRICS, TELEMETRY_LOGS, TELEMETRY_SPANS)
_PRESENCE_NAMES: Final = {TELEMETRY_METRICS: "metrics", TELEMETRY_SPANS: "spans"}

Partition = MetricPartition | LogPartition | SpanPartition
Columns = MetricColumns | SpanColumns | list[LogIn]


class DetectorHandler:
    """Judges telemetry; plain, synchronous and on event time only.

    Args:
        detectors: Every detector.
        options: Warm-up, objectives, thresholds and the width of windows.
        lateness_s: How long a window waits for late telemetry, in event time.
        counters: Metrics about itself.
        scores_ahead: Whether the metrics of a batch are scored in a thread of their own while the messages before are
            judged: the same anomalies, sooner where there is a second processor.
    """

    subscriptions = SUBSCRIPTIONS

    def __init__(
        self,
        detectors: Sequence[Detector[Any, Any]],
        options: DetectorOptions,
        *,
        lateness_s: float,
        counters: DetectorCounters,
        scores_ahead: bool = False,
    ) -> None:
        self._detectors = tuple(detectors)
        self._options = options
        self._width_ns = int(options.window_s * 1e9)
        self._lateness_ns = int(lateness_s * 1e9)
        self._counters = counters
        self._partitions: dict[TopicPartition, Partition] = {}
        self._outbox: dict[TopicPartition, dict[int, list[Emit]]] = {}
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="scores") if scores_ahead else None
        self._presence = of_feed(self._detectors, Feed.PRESENCE)
        self.is_current: Callable[[TopicPartition], bool] = lambda _: True
        """Whether nothing of a partition waits to be read: what lags behind is not silent."""

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        """Judge a batch in order; `InvalidMessage` names the bad column before anything has changed."""
        checked = [(event, self._check(event)) for event in events]
        self._acknowledge(events)
        self._score_ahead(checked)
        emits: list[Emit] = []
        for event, columns in checked:
            emits.extend(self._take(event, columns))
        return emits

    def tick(self, now: datetime) -> Sequence[Emit]:
        """Look for services that have stopped speaking while others go on; the wall clock plays no part."""
        emits: list[Emit] = []
        for topic, name in _PRESENCE_NAMES.items():
            partitions = [
                (place, partition)
                for place, partition in sorted(self._partitions.items(), key=lambda item: item[0])
                if place[0] == topic and not isinstance(partition, LogPartition)
            ]
            everybody = [item for _, p in partitions for item in p.memory.presence.services.items()]
            for place, partition in partitions:
                if not self.is_current(place):
                    continue
                found = silences(
                    partition.memory.presence, name, everybody, counts_items=isinstance(partition, SpanPartition)
                )
                for presence in found:
                    for detector in self._presence:
                        key = f"{name}\x00{presence.service}"
                        emits.extend(self._emits(partition.engine.observe(detector, key, presence)))
        return emits

    def end(self) -> Sequence[Emit]:
        """Judge every window that is complete in event time, without waiting for late data: a recording has ended.

        The window in which a partition ends is not judged: half a window looks like a fall of traffic.
        """
        found: list[AnomalyDetected] = []
        for _, partition in sorted(self._partitions.items(), key=lambda item: item[0]):
            if not isinstance(partition, MetricPartition):
                found.extend(partition.end())
        return self._emits(found)

    def close(self) -> None:
        """End its thread; snapshots belong to whoever runs the handler."""
        if self._ahead is not None:
            self._ahead.shutdown()

    def snapshot(self, place: TopicPartition) -> tuple[int, bytes] | None:
        """Offset of the newest message that the state of a partition rests on, and the state; None without any."""
        partition = self._partitions.get(place)
        return None if partition is None else (partition.memory.offset, partition.snapshot())

    def restore(self, place: TopicPartition, content: bytes, *, keep_offset: bool = True) -> int:
        """Go on from a snapshot.

        Args:
            place: Topic and partition.
            content: From `snapshot`.
            keep_offset: False when the partition began anew (another broker): what was learned stays, its place
                in the stream does not.
        Returns:
            The offset of the newest message that the state rests on, -1 for none.
        Raises:
            ValueError: the snapshot does not fit (of another version).
        """
        partition = self._new_partition(place[0])
        partition.restore(content)
        if not keep_offset:
            partition.memory.offset = -1
        self._partitions[place] = partition
        self._outbox.pop(place, None)
        return partition.memory.offset

    def forget(self, place: TopicPartition) -> None:
        """Let go of a partition that another worker has taken over."""
        self._partitions.pop(place, None)
        self._outbox.pop(place, None)

    def places(self) -> frozenset[TopicPartition]:
        """Topics and partitions that have a state."""
        return frozenset(self._partitions)

    def _check(self, event: Event) -> Columns:
        partition, record = self._partition((event.topic, event.partition)), event.record
        if isinstance(partition, MetricPartition) and isinstance(record, MetricBatch):
            return partition.parse(record)
        if isinstance(partition, SpanPartition) and isinstance(record, SpanBatch):
            return partition.parse(record)
        if isinstance(partition, LogPartition) and isinstance(record, LogBatch):
            return partition.parse(record)
        raise InvalidMessage(f"{event.topic} does not carry {type(record).__name__}")

    def _score_ahead(self, checked: Sequence[tuple[Event, Columns]]) -> None:
        if self._ahead is None or len(checked) < 2:
            return
        begun: dict[TopicPartition, list[tuple[int, MetricBatch, MetricColumns]]] = {}
        for event, columns in checked:
            place = (event.topic, event.partition)
            if isinstance(columns, MetricColumns) and event.offset > self._partition(place).memory.offset:
                assert isinstance(event.record, MetricBatch)
                begun.setdefault(place, []).append((event.offset, event.record, columns))
        for place, batches in begun.items():
            partition = self._partition(place)
            assert isinstance(partition, MetricPartition)
            partition.score_ahead(batches, self._ahead)

    def _take(self, event: Event, columns: Columns) -> Iterable[Emit]:
        place = (event.topic, event.partition)
        partition, record = self._partition(place), event.record
        if event.offset <= partition.memory.offset:
            return self._outbox.get(place, {}).get(event.offset, ())
        found: list[AnomalyDetected] = []
        if isinstance(partition, MetricPartition) and isinstance(columns, MetricColumns):
            assert isinstance(record, MetricBatch)
            found = partition.add(event.offset, record, columns)
            self._counters.points.inc(len(columns.times))
        elif isinstance(partition, SpanPartition) and isinstance(columns, SpanColumns):
            assert isinstance(record, SpanBatch)
            found = partition.add(record, columns)
            self._counters.spans.inc(len(columns.ends))
        elif isinstance(partition, LogPartition) and isinstance(columns, list):
            assert isinstance(record, LogBatch)
            found = partition.add(record, columns)
            self._counters.logs.inc(len(columns))
        partition.memory.offset = event.offset
        emits = self._emits(found)
        if emits:
            self._outbox.setdefault(place, {})[event.offset] = emits
        return emits

    def _acknowledge(self, events: Sequence[Event]) -> None:
        """A new message says that the emits of the ones before have been written: nobody will ask for them again."""
        firsts: dict[TopicPartition, int] = {}
        for event in events:
            place = (event.topic, event.partition)
            firsts[place] = min(firsts.get(place, event.offset), event.offset)
        for place, first in firsts.items():
            kept = self._outbox.get(place)
            if kept:
                self._outbox[place] = {offset: emits for offset, emits in kept.items() if offset >= first}

    def _partition(self, place: TopicPartition) -> Partition:
        partition = self._partitions.get(place)
        if partition is None:
            partition = self._partitions[place] = self._new_partition(place[0])
        return partition

    def _new_partition(self, topic: str) -> Partition:
        if topic == TELEMETRY_METRICS:
            return MetricPartition(self._detectors, self._options, self._spans_since_ns)
        if topic == TELEMETRY_SPANS:
            return SpanPartition(self._detectors, self._options, self._width_ns, self._lateness_ns)
        if topic == TELEMETRY_LOGS:
            return LogPartition(self._detectors, self._options, self._width_ns, self._lateness_ns)
        raise InvalidMessage(f"the detector does not read {topic}")

    def _spans_since_ns(self, service: str) -> int:
        since = [p.spans_since_ns(service) for p in self._partitions.values() if isinstance(p, SpanPartition)]
        return min(filter(None, since), default=0)

    def _emits(self, found: Sequence[AnomalyDetected]) -> list[Emit]:
        for anomaly in found:
            self._counters.anomalies.labels(anomaly.detector, anomaly.state.value).inc()
        return [Emit(topic=ANOMALIES, key=anomaly.service, record=anomaly) for anomaly in found]

    def count_state(self) -> None:
        """Publish what the state holds."""
        windows = [p.memory.windows for p in self._partitions.values() if not isinstance(p, MetricPartition)]
        self._counters.late.set(sum(w.late for w in windows))
        self._counters.dropped.set(sum(w.dropped for w in windows))
        series = [p.series_count for p in self._partitions.values() if isinstance(p, MetricPartition)]
        self._counters.series.set(sum(series))
