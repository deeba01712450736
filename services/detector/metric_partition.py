"""Everything that one partition of metrics remembers, and what a batch of points does to it."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from libs.contracts.anomaly import AnomalyDetected, Signal
from libs.contracts.codec import ns_from_utc
from libs.contracts.columns import (
    FloatArray,
    Int32Array,
    Int64Array,
    unpack_float64,
    unpack_index,
    unpack_int64,
)
from libs.contracts.telemetry import MetricBatch
from libs.errors import ConfigurationError, InvalidMessage
from services.detector.detector import Detector, DetectorOptions, Feed
from services.detector.engine import Engine, StoredSubject, of_feed
from services.detector.gauges import GaugePoint, Limit, ScoredPoint
from services.detector.instance_vectors import InstanceVectors
from services.detector.metric_requests import window_of
from services.detector.presence import PresenceLog
from services.detector.series_catalog import INSTANCE, Entry, SeriesCatalog, Shape, ShapeCache
from services.detector.snapshot_codec import pack, unpack
from services.detector.watermark import AHEAD_NS

LEVEL_GAP_NS: Final = 3600 * 1_000_000_000
# Spans that began long after the metrics of the same requests (tracing switched on, a recording with samples of traces)
# have been learned when the level of the span detectors has filled its memory: 120 windows of 5 s.
SPANS_LEARNED_NS: Final = 600 * 1_000_000_000
_GONE_INTERVALS: Final = 4.0
_LEAST_GONE_S: Final = 15.0
# Messages of 500 points: 54,000 points/s one by one, 66,000 with so many points at once; of 50: 14,400 and 16,000.
_TOGETHER_POINTS: Final = 2_000
_MAX_NS: Final = 2**62


@dataclass(frozen=True, slots=True)
class MetricColumns:
    """The columns of a batch, checked."""

    index: Int32Array
    times: Int64Array
    values: FloatArray


@dataclass(slots=True)
class MetricMemory:
    """What a snapshot holds of a metrics partition.

    Attributes:
        kind: Tells its snapshots from those of other topics.
        offset: Offset of the newest batch, -1 before the first.
        catalog: Timings and limits of series.
        presence: When services were last heard of.
        bank: Arrays of the series bank.
        subjects: What detectors know.
        ahead: Batches from the future that were left out.
    """

    kind: Literal["metrics"] = "metrics"
    offset: int = -1
    catalog: SeriesCatalog = field(default_factory=SeriesCatalog)
    presence: PresenceLog = field(default_factory=PresenceLog)
    bank: dict[str, FloatArray] = field(default_factory=dict)
    subjects: dict[str, dict[str, StoredSubject]] = field(default_factory=dict)
    ahead: int = 0


class MetricPartition:
    """Metrics of one partition.

    Args:
        detectors: Every detector.
        options: Warm-up and thresholds.
        spans_since_ns: Since when a service's requests have been seen as spans, 0 for never: its request metrics
            would say the same twice.
    """

    def __init__(
        self, detectors: Sequence[Detector[Any, Any]], options: DetectorOptions, spans_since_ns: Callable[[str], int]
    ) -> None:
        from services.detector.scoring import SeriesBank

        self.engine = Engine(detectors, options)
        self._gauges = of_feed(detectors, Feed.GAUGES)
        self._scores = of_feed(detectors, Feed.SCORES)
        self._vectors = of_feed(detectors, Feed.VECTORS)
        self._requests = of_feed(detectors, Feed.REQUESTS)
        self._judging: dict[frozenset[Signal], list[Detector[Any, Any]]] = {}
        self._spans_since_ns = spans_since_ns
        self._warmup_ns = int(options.warmup_s * 1e9)
        self._thresholds = frozenset(threshold.metric for threshold in options.thresholds)
        self._bank = SeriesBank()
        self._ahead: dict[int, tuple[Future[list[Any]], int]] = {}
        self._instances = InstanceVectors()
        self.memory = MetricMemory()
        self._shapes = ShapeCache(self.memory.catalog, self._thresholds)

    def parse(self, batch: MetricBatch) -> MetricColumns:
        """Check a batch before anything changes; `InvalidMessage` names the bad column."""
        times = unpack_int64(batch.timestamps, "timestamps")
        if len(times) and (int(times.min()) < 0 or int(times.max()) > _MAX_NS):
            raise InvalidMessage("column timestamps: a time lies before 1970 or beyond 2116")
        index = unpack_index(batch.series_index, "series_index", len(times), len(batch.series))
        return MetricColumns(index=index, times=times, values=unpack_float64(batch.values, "values", len(times)))

    def score_ahead(self, batches: Sequence[tuple[int, MetricBatch, MetricColumns]], thread: Executor) -> None:
        """Begin to score batches that `add` gets next, several at once: a forest judges many rows faster than few.

        Args:
            batches: (offset, batch, its columns), in order.
            thread: One thread, so that batches are scored in order; nothing else touches the series bank meanwhile.
        """
        together: list[tuple[int, Shape, MetricColumns]] = []
        points = 0
        for offset, batch, columns in batches:
            if offset in self._ahead or not len(columns.times) or _is_from_future(batch, columns):
                continue
            together.append((offset, self._shapes.shape(batch.service, batch.resource, batch.series), columns))
            points += len(columns.times)
            if points >= _TOGETHER_POINTS:
                self._begin(together, thread)
                together, points = [], 0
        self._begin(together, thread)

    def _begin(self, together: Sequence[tuple[int, Shape, MetricColumns]], thread: Executor) -> None:
        if together:
            begun = thread.submit(self._score, [(shape, columns) for _, shape, columns in together])
            self._ahead |= {offset: (begun, place) for place, (offset, _, _) in enumerate(together)}

    def add(self, offset: int, batch: MetricBatch, columns: MetricColumns) -> list[AnomalyDetected]:
        """Score a batch, unless that has begun, and judge its points."""
        if not len(columns.times):
            return []
        newest_ns = int(columns.times.max())
        if _is_from_future(batch, columns):
            self.memory.ahead += 1
            return []
        self.memory.presence.hear(batch.service, newest_ns, len(columns.times), counts_items=False)
        shape = self._shapes.shape(batch.service, batch.resource, batch.series)
        before = np.array([entry.timing.last_ns for entry in shape.entries], np.int64)
        gaps = self._see(shape, columns)
        self._keep_limits(batch, shape, columns)
        emitted = self._judge_points(batch, shape, columns, self._scores_of(offset, shape, columns), before.tolist())
        emitted += self._judge_requests(batch.service, shape, columns, gaps, before)
        emitted += self._judge_vectors(batch.service, shape, columns)
        interval_s = max((entry.timing.interval_s for entry in shape.entries), default=0.0)
        silent_ns = int(max(_LEAST_GONE_S, _GONE_INTERVALS * interval_s) * 1e9)
        return emitted + self.engine.expire(batch.service, newest_ns, silent_ns)

    def _see(self, shape: Shape, columns: MetricColumns) -> frozenset[int]:
        """Update the timings; positions of series after a gap of more than an hour."""
        gaps = set()
        for position, first, last, count in _extents(columns):
            timing = shape.entries[position].timing
            gap_ns = first - timing.last_ns
            if timing.see(first, last, count) and gap_ns > LEVEL_GAP_NS:
                gaps.add(position)
        return frozenset(gaps)

    def _keep_limits(self, batch: MetricBatch, shape: Shape, columns: MetricColumns) -> None:
        if not shape.has_limits:
            return
        instance = _instance_key(batch)
        for row in np.flatnonzero(shape.limits[columns.index] & np.isfinite(columns.values)):
            entry, value = shape.entries[int(columns.index[row])], float(columns.values[row])
            if self.memory.catalog.is_limit_known(instance, entry, value):
                continue
            limit = Limit(
                metric=entry.series.metric,
                unit=entry.series.unit,
                resource=entry.series.kind.resource,
                attributes={k: v for k, v in entry.series.attributes.items() if k != INSTANCE},
                value=value,
            )
            self.memory.catalog.set_limit(instance, entry.key, limit)

    def _scores_of(self, offset: int, shape: Shape, columns: MetricColumns) -> Any:
        begun, place = self._ahead.pop(offset, (None, 0))
        if begun is None or begun.exception() is not None:  # what fails together is tried alone: one is at fault
            wait([other for other, _ in self._ahead.values()])
            return self._score([(shape, columns)])[0]
        return begun.result()[place]

    def _score(self, batches: Sequence[tuple[Shape, MetricColumns]]) -> list[Any]:
        """Scores of batches, as if they were taken one after the other."""
        if len(batches) > 1 and any(shape.slots_of != self._bank.evicted_series for shape, _ in batches):
            return [self._score([batch])[0] for batch in batches]  # new series, which may take the place of others
        slots = [self._slots(shape)[columns.index] for shape, columns in batches]
        scores = self._bank.update(
            np.concatenate(slots),
            np.concatenate([columns.times for _, columns in batches]),
            np.concatenate([columns.values for _, columns in batches]),
        )
        ends = np.cumsum([len(one) for one in slots]).tolist()
        return [scores.part(begin, end) for begin, end in pairwise([0, *ends])]

    def _judge_points(
        self, batch: MetricBatch, shape: Shape, columns: MetricColumns, scores: Any, judged_ns: list[int]
    ) -> list[AnomalyDetected]:
        followed = self._followed(batch.service, shape)
        wanted = (shape.watched | followed)[columns.index] | scores.is_anomaly
        rows = np.flatnonzero(wanted & np.isfinite(columns.values))
        scored = scores.is_anomaly[rows] | followed[columns.index[rows]]
        of_rows = (rows, columns.index[rows], columns.times[rows], columns.values[rows], scored)
        instance, emitted = _instance_key(batch), []
        for row, position, at_ns, value, is_scored in zip(*(column.tolist() for column in of_rows), strict=True):
            if at_ns <= judged_ns[position]:
                continue  # late or repeated: it was judged, or its successors were
            judged_ns[position] = at_ns
            entry = shape.entries[position]
            if entry.is_watched:
                emitted += self._judge_gauge(instance, entry, at_ns, value)
            if is_scored:
                emitted += self._judge_score(entry, columns, scores, row)
        return emitted

    def _followed(self, service: str, shape: Shape) -> npt.NDArray[np.bool_]:
        """Series whose scores matter beyond an onset: they have an episode."""
        keys = self.engine.followed(service, self._scores)
        if not keys:
            return np.zeros(len(shape.entries), np.bool_)
        return np.array([entry.key in keys for entry in shape.entries], np.bool_)

    def _judge_gauge(self, instance: str, entry: Entry, at_ns: int, value: float) -> list[AnomalyDetected]:
        gauge = GaugePoint(
            series=entry.series,
            at_ns=at_ns,
            value=value,
            limit=self.memory.catalog.limit_of(instance, entry),
            interval_s=entry.timing.interval_s,
        )
        return [anomaly for detector in self._gauges for anomaly in self.engine.observe(detector, entry.key, gauge)]

    def _judge_score(self, entry: Entry, columns: MetricColumns, scores: Any, row: int) -> list[AnomalyDetected]:
        scored = ScoredPoint(
            series=entry.series,
            at_ns=int(columns.times[row]),
            value=float(columns.values[row]),
            interval_s=entry.timing.interval_s,
            score=float(scores.score[row]),
            is_anomaly=bool(scores.is_anomaly[row]),
            expected=float(scores.expected[row]),
            lower=float(scores.lower[row]),
            upper=float(scores.upper[row]),
            contributions=_named(scores.contributions[row]),
            corroborated=self.engine.is_troubled(entry.series.service),
        )
        return [anomaly for detector in self._scores for anomaly in self.engine.observe(detector, entry.key, scored)]

    def _slots(self, shape: Shape) -> Int32Array:
        if shape.slots_of != self._bank.evicted_series:
            for _ in range(2):  # making a slot may evict another one of the batch: the second time all are there
                slots = [self._bank.slot(entry.key, entry.series.metric) for entry in shape.entries]
            shape.slots, shape.slots_of = np.array(slots, np.int32), self._bank.evicted_series
        return shape.slots

    def _judge_requests(
        self, service: str, shape: Shape, columns: MetricColumns, gaps: frozenset[int], before: Int64Array
    ) -> list[AnomalyDetected]:
        if not shape.plans:
            return []
        spans_since_ns = self._spans_since_ns(service)
        for plan in shape.plans:
            if plan.names.signals not in self._judging:
                told = [d for d in self._requests if not d.signals or d.signals & plan.names.signals]
                self._judging[plan.names.signals] = told
        emitted: list[AnomalyDetected] = []
        for at_ns, values in _moments(columns, shape.planned, before):
            for plan in shape.plans:
                if spans_since_ns and self._spans_tell(plan.key, at_ns, spans_since_ns):
                    continue
                interval_s = shape.entries[plan.main].timing.interval_s
                window = window_of(plan, at_ns, values, interval_s, after_gap=plan.main in gaps) if interval_s else None
                if window is None:
                    continue
                for detector in self._judging[plan.names.signals]:
                    emitted += self.engine.observe(detector, plan.key, window)
        return emitted

    def _spans_tell(self, key: str, at_ns: int, spans_since_ns: int) -> bool:
        """Whether requests seen as spans are judged as such, by detectors that know as much of normal operation."""
        metrics_since_ns = self.engine.known_since_ns(self._requests, key)
        know_more = 0 < metrics_since_ns < spans_since_ns - self._warmup_ns
        return not know_more or at_ns - spans_since_ns > SPANS_LEARNED_NS

    def _judge_vectors(self, service: str, shape: Shape, columns: MetricColumns) -> list[AnomalyDetected]:
        emitted: list[AnomalyDetected] = []
        columns_of = (columns.index, columns.times, columns.values)
        for vector in self._instances.score(service, shape, columns_of, lambda name: self._is_followed(service, name)):
            seen = replace(vector, corroborated=self.engine.is_troubled(service))
            for detector in self._vectors:
                emitted += self.engine.observe(detector, f"{service}\x00{vector.instance}", seen)
        return emitted

    def _is_followed(self, service: str, instance: str) -> bool:
        return any(self.engine.has_episode(detector, f"{service}\x00{instance}") for detector in self._vectors)

    @property
    def series_count(self) -> int:
        """Series that were seen."""
        return len(self.memory.catalog.timings)

    def snapshot(self) -> bytes:
        """Everything that is remembered, but for the instance vectors, which learn anew."""
        self.memory.subjects, self.memory.bank = self.engine.snapshot(), self._bank.snapshot()
        content = pack(self.memory)
        self.memory.subjects, self.memory.bank = {}, {}
        return content

    def restore(self, content: bytes) -> None:
        """Go on from a snapshot; `ValueError` when it does not fit."""
        from services.detector.scoring import SeriesBank

        memory = unpack(content, MetricMemory)
        try:
            self._bank = SeriesBank.restore(memory.bank)
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        self._ahead = {}
        self.engine.restore(memory.subjects)
        memory.subjects, memory.bank = {}, {}
        self.memory = memory
        self._shapes = ShapeCache(memory.catalog, self._thresholds)


def _is_from_future(batch: MetricBatch, columns: MetricColumns) -> bool:
    return int(columns.times.max()) > ns_from_utc(batch.observed_at) + AHEAD_NS


def _extents(columns: MetricColumns) -> list[tuple[int, int, int, int]]:
    """(series position, first time, last time, points) of each series of a batch."""
    order = np.argsort(columns.index, kind="stable")
    index, times = columns.index[order], columns.times[order]
    starts = np.concatenate(([0], np.flatnonzero(np.diff(index)) + 1))
    firsts, lasts = np.minimum.reduceat(times, starts), np.maximum.reduceat(times, starts)
    counts = np.diff(np.append(starts, len(index)))
    return list(zip(index[starts].tolist(), firsts.tolist(), lasts.tolist(), counts.tolist(), strict=True))


def _moments(
    columns: MetricColumns, planned: npt.NDArray[np.bool_], before: Int64Array
) -> list[tuple[int, dict[int, float]]]:
    """Values of planned series by position at each moment, in order of time, but for late and repeated points."""
    found: dict[int, dict[int, float]] = {}
    fresh = np.flatnonzero((columns.times > before[columns.index]) & planned[columns.index])
    rows = zip(
        columns.times[fresh].tolist(), columns.index[fresh].tolist(), columns.values[fresh].tolist(), strict=True
    )
    for at_ns, position, value in rows:
        found.setdefault(at_ns, {})[position] = value
    return sorted(found.items())


def _instance_key(batch: MetricBatch) -> str:
    return f"{batch.service}\x00{batch.resource.get(INSTANCE, '')}"


def _named(contributions: FloatArray) -> tuple[tuple[str, float], ...]:
    from services.detector.scoring import FEATURE_NAMES

    return tuple(zip(FEATURE_NAMES, contributions.tolist(), strict=True))
