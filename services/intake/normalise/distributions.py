"""Histograms become quantiles: the observations of one interval, and where their quantiles lie.

Inside an explicit bucket observations are taken as evenly spread; the first bucket begins at 0 when its bound is
positive, and a quantile in the last, open bucket is its lower bound. Inside an exponential bucket they are taken as
evenly spread on the logarithmic scale. A delta point's minimum and maximum tighten both ends.

Source: Prometheus documentation, `histogram_quantile`; OpenTelemetry metrics data model, "Exponential buckets".
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import lt, sub
from typing import Final

from libs.errors import InvalidMessage

BUCKETS_MAX: Final = 2_048  # SDKs use 16 explicit and 160 exponential buckets by default
SCALE_MIN: Final = -10  # the range of the SDK specification; beyond it bounds leave float64
SCALE_MAX: Final = 20
QUANTILES: Final = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_LOG2_MIN: Final = -1074.0
_LOG2_MAX: Final = 1023.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Explicit:
    """An explicit-bucket histogram.

    Attributes:
        count: Observations.
        total: Their sum; None when unknown.
        bounds: Upper bounds, strictly ascending; the last bucket is open.
        counts: Observations per bucket: one more than bounds, or none at all.
    """

    count: int
    total: float | None
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """An exponential histogram; bucket i holds (base^i, base^(i+1)] with base = 2^(2^-scale).

    Attributes:
        count: Observations.
        total: Their sum; None when unknown.
        scale: Resolution.
        zero_count: Observations within the zero threshold.
        zero_threshold: Its width.
        positive: Observations by bucket index, without empty buckets.
        negative: The same for negative observations.
    """

    count: int
    total: float | None
    scale: int
    zero_count: int = 0
    zero_threshold: float = 0.0
    positive: Mapping[int, int]
    negative: Mapping[int, int]


Distribution = Explicit | Exponential


def checked_explicit(histogram: Explicit) -> Explicit:
    """The histogram itself; `InvalidMessage` when its buckets contradict each other."""
    bounds, counts = histogram.bounds, histogram.counts
    if counts and len(counts) != len(bounds) + 1:
        raise InvalidMessage("bucket_counts and explicit_bounds do not fit together")
    finite = not bounds or (math.isfinite(bounds[0]) and math.isfinite(bounds[-1]))
    if not (finite and all(map(lt, bounds, bounds[1:]))):
        raise InvalidMessage("explicit_bounds are not ascending numbers")
    return histogram


def checked_exponential(histogram: Exponential) -> Exponential:
    """The histogram itself; `InvalidMessage` when its scale or zero threshold is out of range."""
    if not (math.isfinite(histogram.zero_threshold) and histogram.zero_threshold >= 0):
        raise InvalidMessage("zero_threshold is negative or no number")
    if not SCALE_MIN <= histogram.scale <= SCALE_MAX:
        raise InvalidMessage(f"scale is not in {SCALE_MIN}..{SCALE_MAX}")
    return histogram


def increase(now: Distribution, last: Distribution) -> Distribution | None:
    """What was observed between two cumulative points; None when `now` is no continuation of `last`.

    Raises:
        InvalidMessage: kind or bounds changed, so that the two cannot be compared.
    """
    total = None if now.total is None or last.total is None else now.total - last.total
    count = now.count - last.count
    if isinstance(now, Explicit) and isinstance(last, Explicit):
        if now.bounds != last.bounds or len(now.counts) != len(last.counts):
            raise InvalidMessage("bounds changed")
        counts = tuple(map(sub, now.counts, last.counts))
        if count < 0 or (counts and min(counts) < 0):
            return None
        return Explicit(count=count, total=total, bounds=now.bounds, counts=counts)
    if isinstance(now, Exponential) and isinstance(last, Exponential):
        scale = min(now.scale, last.scale)
        positive = _difference(_at_scale(now.positive, now.scale, scale), _at_scale(last.positive, last.scale, scale))
        negative = _difference(_at_scale(now.negative, now.scale, scale), _at_scale(last.negative, last.scale, scale))
        zero_count = now.zero_count - last.zero_count
        if count < 0 or zero_count < 0 or positive is None or negative is None:
            return None
        return Exponential(
            count=count,
            total=total,
            scale=scale,
            zero_count=zero_count,
            zero_threshold=now.zero_threshold,
            positive=positive,
            negative=negative,
        )
    raise InvalidMessage("kind of histogram changed")


def _at_scale(buckets: Mapping[int, int], scale: int, wanted: int) -> Mapping[int, int]:
    if scale == wanted:
        return buckets
    merged: dict[int, int] = {}
    for index, count in buckets.items():
        merged[index >> (scale - wanted)] = merged.get(index >> (scale - wanted), 0) + count
    return merged


def _difference(now: Mapping[int, int], last: Mapping[int, int]) -> dict[int, int] | None:
    found = dict(now)
    for index, count in last.items():
        left = found.get(index, 0) - count
        if left < 0:
            return None
        if left:
            found[index] = left
        else:
            del found[index]
    return found


def quantiles(
    distribution: Distribution, least: float | None = None, greatest: float | None = None
) -> list[tuple[str, float]]:
    """p50, p95 and p99 of a distribution; empty when it holds nothing or has no buckets.

    Args:
        distribution: Observations of one interval.
        least: Smallest observation, where the sender tells.
        greatest: Greatest observation, where the sender tells.
    """
    if isinstance(distribution, Explicit):
        found = _explicit_quantiles(distribution, greatest)
    else:
        found = _exponential_quantiles(distribution)
    if least is not None:
        found = [(name, max(value, least)) for name, value in found]
    if greatest is not None:
        found = [(name, min(value, greatest)) for name, value in found]
    return found


def _explicit_quantiles(histogram: Explicit, greatest: float | None) -> list[tuple[str, float]]:
    bounds, cumulated = histogram.bounds, list(accumulate(histogram.counts))
    if not bounds or not cumulated or not cumulated[-1]:
        return []
    found = []
    for name, q in QUANTILES:
        rank = q * cumulated[-1]
        bucket = bisect_left(cumulated, rank)
        if bucket == len(bounds):
            lower, upper = bounds[-1], bounds[-1] if greatest is None else max(greatest, bounds[-1])
        else:
            upper = bounds[bucket]
            lower = bounds[bucket - 1] if bucket else min(0.0, upper)
        below = cumulated[bucket - 1] if bucket else 0
        found.append((name, lower + (upper - lower) * (rank - below) / histogram.counts[bucket]))
    return found


def _exponential_quantiles(histogram: Exponential) -> list[tuple[str, float]]:
    edges: list[tuple[float, float]] = []
    counts: list[int] = []
    for index in sorted(histogram.negative, reverse=True):
        edges.append((-_bound(index + 1, histogram.scale), -_bound(index, histogram.scale)))
        counts.append(histogram.negative[index])
    if histogram.zero_count:
        edges.append((-histogram.zero_threshold if histogram.negative else 0.0, histogram.zero_threshold))
        counts.append(histogram.zero_count)
    for index in sorted(histogram.positive):
        edges.append((_bound(index, histogram.scale), _bound(index + 1, histogram.scale)))
        counts.append(histogram.positive[index])
    return _ranked(edges, counts)


def _ranked(edges: Sequence[tuple[float, float]], counts: Sequence[int]) -> list[tuple[str, float]]:
    cumulated = list(accumulate(counts))
    if not cumulated or not cumulated[-1]:
        return []
    found = []
    for name, q in QUANTILES:
        rank = q * cumulated[-1]
        bucket = bisect_left(cumulated, rank)
        lower, upper = edges[bucket]
        share = (rank - (cumulated[bucket - 1] if bucket else 0)) / counts[bucket]
        found.append((name, _between(lower, upper, share)))
    return found


def _between(lower: float, upper: float, share: float) -> float:
    """A share of the way between two bounds: on the logarithmic scale where both have one sign."""
    if lower > 0.0:
        return float(2.0 ** (math.log2(lower) * (1 - share) + math.log2(upper) * share))
    if upper < 0.0:
        return -_between(-upper, -lower, 1 - share)
    return lower + (upper - lower) * share


def _bound(index: int, scale: int) -> float:
    """Lower bound of an exponential bucket, kept inside float64."""
    exponent = math.ldexp(index, -scale)
    return float(2.0 ** min(_LOG2_MAX, max(_LOG2_MIN, exponent)))
