"""Histogram and summary points become p50, p95, p99, mean and rate of their interval."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    SummaryDataPoint,
)

from libs.contracts.batches import AttributePairs
from libs.errors import InvalidMessage
from services.intake.normalise.attributes import attributes_of, bounded
from services.intake.normalise.distributions import (
    BUCKETS_MAX,
    Distribution,
    Explicit,
    Exponential,
    checked_explicit,
    checked_exponential,
    increase,
    quantiles,
)
from services.intake.normalise.points import (
    CUMULATIVE,
    DELTA,
    NO_TEMPORALITY,
    NO_VALUE,
    NO_VALUE_FLAG,
    OUT_OF_ORDER,
    Target,
)
from services.intake.normalise.series_state import SeriesStates
from services.intake.normalise.sums import began_anew

RATE_UNIT: Final = "1/s"  # observations, whatever their unit
HistogramPoint = HistogramDataPoint | ExponentialHistogramDataPoint
Point = HistogramPoint | SummaryDataPoint


@dataclass(frozen=True, slots=True)
class HistogramState:
    """What a cumulative histogram last said: unix nanoseconds, its observations, unix nanoseconds of its start."""

    time_ns: int
    distribution: Distribution
    start_ns: int


@dataclass(frozen=True, slots=True)
class Interval:
    """What was observed in one interval, and how long it was; 0 seconds when that is unknown."""

    distribution: Distribution
    length_s: float
    least: float | None = None
    greatest: float | None = None


def write_explicit(metric: Metric, target: Target, states: SeriesStates[HistogramState]) -> None:
    """Write the points of an explicit-bucket histogram."""
    temporality = int(metric.histogram.aggregation_temporality)
    for point in metric.histogram.data_points:
        if _usable(point, len(point.bucket_counts), metric.name, target):
            _write(point, _explicit, metric, temporality, target, states)


def write_exponential(metric: Metric, target: Target, states: SeriesStates[HistogramState]) -> None:
    """Write the points of an exponential histogram."""
    temporality = int(metric.exponential_histogram.aggregation_temporality)
    for point in metric.exponential_histogram.data_points:
        buckets = max(len(point.positive.bucket_counts), len(point.negative.bucket_counts))
        if _usable(point, buckets, metric.name, target):
            _write(point, _exponential, metric, temporality, target, states)


def write_summary(metric: Metric, target: Target, states: SeriesStates[HistogramState]) -> None:
    """Write the points of a summary: its own quantiles, and the rate and mean of its count and sum."""
    name, unit = metric.name, metric.unit
    for point in metric.summary.data_points:
        if not _usable(point, len(point.quantile_values), name, target):
            continue
        attributes = _pairs(point)
        now = Explicit(count=point.count, total=point.sum if math.isfinite(point.sum) else None)
        try:
            interval = _since_last(point, now, name, attributes, target, states)
        except InvalidMessage as error:
            target.tally.reject(str(error), name)
            continue
        found = [
            (_percentile(entry.quantile), unit, entry.value)
            for entry in point.quantile_values
            if 0 <= entry.quantile <= 1 and math.isfinite(entry.value)
        ]
        if interval is not None:
            found += _mean_and_rate(interval, unit)
        target.write_all(name, attributes, point.time_unix_nano, found)


def _percentile(quantile: float) -> str:
    return "p" + f"{quantile * 100:.4f}".rstrip("0").rstrip(".")


def _usable(point: Point, buckets: int, name: str, target: Target) -> bool:
    tally, time_ns = target.tally, point.time_unix_nano
    if not tally.earliest_ns <= time_ns <= tally.latest_ns:
        tally.reject_time(time_ns, name)
        return False
    if point.flags & NO_VALUE_FLAG:
        tally.reject(NO_VALUE, name)
        return False
    if buckets > BUCKETS_MAX:
        tally.reject(f"more than {BUCKETS_MAX} buckets", name)
        return False
    return True


def _write(
    point: HistogramPoint,
    read: Callable[[Any], Distribution],
    metric: Metric,
    temporality: int,
    target: Target,
    states: SeriesStates[HistogramState],
) -> None:
    name, unit = metric.name, metric.unit
    attributes = _pairs(point)
    try:
        now = read(point)
        if temporality == CUMULATIVE:
            interval = _since_last(point, now, name, attributes, target, states)
        elif temporality == DELTA:
            interval = _delta(point, now)
        else:
            raise InvalidMessage(NO_TEMPORALITY)
    except InvalidMessage as error:
        target.tally.reject(str(error), name)
        return
    found = [] if interval is None else _mean_and_rate(interval, unit)
    if interval is not None:
        found += [
            (statistic, unit, value)
            for statistic, value in quantiles(interval.distribution, interval.least, interval.greatest)
        ]
    target.write_all(name, attributes, point.time_unix_nano, found)


def _since_last(
    point: Point,
    now: Distribution,
    name: str,
    attributes: AttributePairs,
    target: Target,
    states: SeriesStates[HistogramState],
) -> Interval | None:
    """What was observed since the last point of a cumulative series; None for its first point and a duplicate."""
    time_ns, start_ns = point.time_unix_nano, point.start_time_unix_nano
    key = (target.resource.identity, target.scope, name, attributes)
    last = states.get(key)
    if last is not None and time_ns <= last.time_ns:
        if time_ns == last.time_ns and now == last.distribution:
            return None
        raise InvalidMessage(OUT_OF_ORDER)
    states.put(key, HistogramState(time_ns, now, start_ns))
    if last is None:
        return None
    observed = increase(now, last.distribution)
    if observed is None or began_anew(last.time_ns, last.start_ns, start_ns, dropped=False):
        observed = now
    return Interval(observed, (time_ns - last.time_ns) / 1e9)


def _delta(point: HistogramPoint, now: Distribution) -> Interval:
    start_ns, time_ns = point.start_time_unix_nano, point.time_unix_nano
    return Interval(
        now,
        (time_ns - start_ns) / 1e9 if 0 < start_ns < time_ns else 0.0,
        point.min if point.HasField("min") and math.isfinite(point.min) else None,
        point.max if point.HasField("max") and math.isfinite(point.max) else None,
    )


def _mean_and_rate(interval: Interval, unit: str) -> list[tuple[str, str, float]]:
    found: list[tuple[str, str, float]] = []
    observed = interval.distribution
    if interval.length_s > 0:
        found.append(("rate", RATE_UNIT, observed.count / interval.length_s))
    if observed.count and observed.total is not None and math.isfinite(observed.total):
        found.append(("mean", unit, observed.total / observed.count))
    return found


def _explicit(point: HistogramDataPoint) -> Explicit:
    return checked_explicit(
        Explicit(
            count=point.count,
            total=point.sum if point.HasField("sum") and math.isfinite(point.sum) else None,
            bounds=tuple(point.explicit_bounds),
            counts=tuple(point.bucket_counts),
        )
    )


def _exponential(point: ExponentialHistogramDataPoint) -> Exponential:
    return checked_exponential(
        Exponential(
            count=point.count,
            total=point.sum if point.HasField("sum") and math.isfinite(point.sum) else None,
            scale=point.scale,
            zero_count=point.zero_count,
            zero_threshold=point.zero_threshold,
            positive=_buckets(point.positive),
            negative=_buckets(point.negative),
        )
    )


def _buckets(buckets: ExponentialHistogramDataPoint.Buckets) -> dict[int, int]:
    return {index: count for index, count in enumerate(buckets.bucket_counts, buckets.offset) if count}


def _pairs(point: Point) -> AttributePairs:
    return tuple(sorted(bounded(attributes_of(point.attributes)).items()))
