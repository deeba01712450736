"""The series of one partition of metrics: who they are, what they tell of, how often they come."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.contracts.anomaly import Signal
from libs.contracts.telemetry import MetricSeries
from libs.observability.signals import classify
from services.detector.gauges import Limit, Series, limit_of
from services.detector.metric_requests import RequestPlan, request_plans

INSTANCE: Final = "service.instance.id"
_MAX_ENTRIES: Final = 50_000
_MAX_SHAPES: Final = 5_000
_SMOOTHING: Final = 0.2
_GAP_INTERVALS: Final = 20.0
_WATCHED: Final = frozenset({"memory", "disk", "pool", "queue", "threads", "cpu"})


@dataclass(slots=True)
class Timing:
    """When a series was last seen, for snapshots.

    Attributes:
        last_ns: Greatest event time.
        interval_s: Smoothed time between points; 0 before the second one.
    """

    last_ns: int = 0
    interval_s: float = 0.0

    def see(self, first_ns: int, last_ns: int, points: int) -> bool:
        """Take note of points of one batch.

        Returns:
            Whether a gap of more than twenty intervals lies before them.
        """
        gap_s = (first_ns - self.last_ns) / 1e9
        is_gap = bool(self.interval_s) and gap_s > _GAP_INTERVALS * self.interval_s
        if points > 1 and last_ns > first_ns:
            self._smooth((last_ns - first_ns) / 1e9 / (points - 1))
        elif self.last_ns and gap_s > 0 and not is_gap:
            self._smooth(gap_s)
        self.last_ns = max(self.last_ns, last_ns)
        return is_gap

    def _smooth(self, interval_s: float) -> None:
        self.interval_s += (interval_s - self.interval_s) * (_SMOOTHING if self.interval_s else 1.0)


@dataclass(slots=True)
class Entry:
    """One series of the catalog.

    Attributes:
        series: Identity and meaning.
        key: Identity as one text.
        group: Service, instance and attributes without the metric: series of one group speak of the same requests.
        is_watched: Whether gauge detectors see it.
        timing: When it comes.
        limit: Its limit, while `limit_version` is the catalog's; NaN when unknown.
        limit_version: See `limit`.
    """

    series: Series
    key: str
    group: str
    is_watched: bool
    timing: Timing
    limit: float = math.nan
    limit_version: int = -1


@dataclass(slots=True)
class SeriesCatalog:
    """Entries and limits of one partition.

    Attributes:
        timings: By series key; survives in snapshots.
        limits: Limits that instances report, by instance, then by series key.
        limit_version: Counts changes of limits.
    """

    timings: dict[str, Timing] = field(default_factory=dict)
    limits: dict[str, dict[str, Limit]] = field(default_factory=dict)
    limit_version: int = 0

    def set_limit(self, instance: str, key: str, limit: Limit) -> None:
        """Take note of a limit that an instance reports."""
        known = self.limits.setdefault(instance, {})
        if known.get(key) != limit:
            known[key] = limit
            self.limit_version += 1

    def is_limit_known(self, instance: str, entry: Entry, value: float) -> bool:
        """Whether an instance said the same of a limit before, as it does with nearly every export."""
        known = self.limits.get(instance, {}).get(entry.key)
        return known is not None and known.value == value and known.unit == entry.series.unit

    def limit_of(self, instance: str, entry: Entry) -> float:
        """The limit of a series of an instance, NaN when unknown."""
        if entry.limit_version != self.limit_version:
            entry.limit = limit_of(entry.series, self.limits.get(instance, {}))
            entry.limit_version = self.limit_version
        return entry.limit

    def timing(self, key: str) -> Timing:
        """The timing of a series, made when it is new; the stalest tenth is forgotten beyond 50,000."""
        known = self.timings.get(key)
        if known is None:
            if len(self.timings) >= _MAX_ENTRIES:
                oldest = sorted(self.timings, key=lambda k: self.timings[k].last_ns)[: _MAX_ENTRIES // 10]
                for stale in oldest:
                    del self.timings[stale]
            known = self.timings[key] = Timing()
        return known


@dataclass(slots=True)
class Shape:
    """The series of a batch, resolved once for all batches that look the same.

    Attributes:
        entries: In the order of the batch's series.
        watched: Which of them gauge detectors see.
        limits: Which of them are limits.
        has_limits: Whether any is.
        planned: Which of them a plan reads.
        plans: Which of them together tell of requests.
        slots: Their slots in the series bank, while `slots_of` is the bank's number of evictions.
        slots_of: See `slots`.
    """

    entries: tuple[Entry, ...]
    watched: npt.NDArray[np.bool_]
    limits: npt.NDArray[np.bool_]
    has_limits: bool
    planned: npt.NDArray[np.bool_]
    plans: tuple[RequestPlan, ...]
    slots: npt.NDArray[np.int32]
    slots_of: int = -1


class ShapeCache:
    """Finds the shape of a batch; keys, meanings and masks are built once per series."""

    def __init__(self, catalog: SeriesCatalog, thresholds: frozenset[str]) -> None:
        self._catalog = catalog
        self._thresholds = thresholds
        self._shapes: dict[tuple[object, ...], Shape] = {}

    def shape(self, service: str, resource: Mapping[str, str], series: Sequence[MetricSeries]) -> Shape:
        """The shape of a batch of a service instance."""
        instance = resource.get(INSTANCE, "")
        signature = (
            service,
            instance,
            *[(one.name, one.statistic, one.unit, tuple(one.attributes.items())) for one in series],
        )
        shape = self._shapes.get(signature)
        if shape is None:
            if len(self._shapes) >= _MAX_SHAPES:
                self._shapes.clear()
            shape = self._shapes[signature] = self._resolve(service, instance, series)
        return shape

    def _resolve(self, service: str, instance: str, series: Sequence[MetricSeries]) -> Shape:
        entries = tuple(self._make(service, instance, one) for one in series)
        plans = request_plans(
            [entry.group for entry in entries],
            [entry.series for entry in entries],
            [entry.key for entry in entries],
        )
        read = {position for plan in plans for position in (plan.share, plan.requests, plan.latency)}
        limits = np.array([entry.series.kind.is_limit for entry in entries], np.bool_)
        return Shape(
            entries=entries,
            watched=np.array([entry.is_watched for entry in entries], np.bool_),
            limits=limits,
            has_limits=bool(limits.any()),
            planned=np.array([position in read for position in range(len(entries))], np.bool_),
            plans=plans,
            slots=np.zeros(len(entries), np.int32),
        )

    def _make(self, service: str, instance: str, one: MetricSeries) -> Entry:
        kind = classify(one.name, one.unit, one.statistic)
        attributes = dict(sorted(one.attributes.items()))
        pairs = "\x1f".join(f"{name}={value}" for name, value in attributes.items())
        group = f"{service}\x00{instance}\x00{pairs}"
        if instance:
            attributes[INSTANCE] = instance
        key = f"{group}\x00{one.name}\x00{one.statistic}"
        series = Series(
            service=service,
            metric=one.name,
            statistic=one.statistic,
            unit=one.unit,
            attributes=attributes,
            kind=kind,
        )
        is_usage = kind.signal is Signal.SATURATION and kind.resource in _WATCHED and not kind.is_limit
        return Entry(
            series=series,
            key=key,
            group=group,
            is_watched=one.name in self._thresholds or (is_usage and one.statistic in ("value", "mean")),
            timing=self._catalog.timing(key),
        )
