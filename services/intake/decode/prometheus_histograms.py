"""Prometheus histograms, classic (one series per bucket) and native (one sample holds all), as OTLP points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric

from services.intake.normalise.distributions import BUCKETS_MAX

_CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
_SCHEMA_MIN: Final = -4
_SCHEMA_MAX: Final = 8
_COUNT_MAX: Final = 2.0**63
_MS: Final = 1_000_000
_MAX_NS: Final = 2**63 - 1


@dataclass(slots=True)
class ClassicHistogram:
    """Buckets of one histogram: cumulative counts by time and upper bound, and its sum by time."""

    buckets: dict[int, dict[float, float]] = field(default_factory=dict)
    sums: dict[int, float] = field(default_factory=dict)
    bad_bounds: set[str] = field(default_factory=set)

    def add_bucket(self, bound: str, samples: Sequence[tuple[int, float]]) -> None:
        """Add the series of one `le`."""
        try:
            upper = float(bound)
        except ValueError:
            self.bad_bounds.add(bound)
            return
        for time_ns, count in samples:
            self.buckets.setdefault(time_ns, {})[upper] = count

    def add_total(self, suffix: str, samples: Sequence[tuple[int, float]]) -> None:
        """Add `_sum`; `_count` says the same as the bucket of +Inf."""
        if suffix == "sum":
            self.sums.update(samples)


def add_classic(metric: Metric, histogram: ClassicHistogram, labels: dict[str, str]) -> list[str]:
    """Add the points of a classic histogram; reasons of those that are refused."""
    metric.histogram.aggregation_temporality = _CUMULATIVE
    reasons = ["le is not a number"] * len(histogram.bad_bounds)
    for time_ns in sorted(histogram.buckets):
        cumulated = sorted(histogram.buckets[time_ns].items())
        bounds, counts = [bound for bound, _ in cumulated], [count for _, count in cumulated]
        if not bounds or bounds[-1] != math.inf:
            reasons.append("histogram without its +Inf bucket in the same request")
            continue
        if len(bounds) > BUCKETS_MAX:
            reasons.append(f"more than {BUCKETS_MAX} buckets")
            continue
        steps = [b - a for a, b in zip([0.0, *counts], counts, strict=False)]
        if not all(0 <= step < _COUNT_MAX for step in steps) or not counts[-1] < _COUNT_MAX:
            reasons.append("bucket counts do not grow with le")
            continue
        point = metric.histogram.data_points.add(time_unix_nano=time_ns, count=int(counts[-1]))
        point.explicit_bounds.extend(bounds[:-1])
        point.bucket_counts.extend(int(step) for step in steps)
        if time_ns in histogram.sums:
            point.sum = histogram.sums[time_ns]
        _add_labels(point, labels)
    return reasons


def add_native(metric: Metric, histogram: Any, labels: dict[str, str]) -> str:
    """Add the point of a native histogram with whole counts; the reason when it is refused, else ""."""
    if not _SCHEMA_MIN <= histogram.schema <= _SCHEMA_MAX:
        return f"native histogram with a schema outside {_SCHEMA_MIN}..{_SCHEMA_MAX}"
    if histogram.count_float:
        return "native histogram with float counts"
    positive = _dense(histogram.positive_spans, histogram.positive_deltas)
    negative = _dense(histogram.negative_spans, histogram.negative_deltas)
    if positive is None or negative is None:
        return "native histogram whose spans and deltas do not fit together"
    metric.exponential_histogram.aggregation_temporality = _CUMULATIVE
    point = metric.exponential_histogram.data_points.add(
        time_unix_nano=min(_MAX_NS, max(0, histogram.timestamp * _MS)),
        count=histogram.count_int,
        scale=histogram.schema,
        zero_count=histogram.zero_count_int,
        zero_threshold=histogram.zero_threshold,
        sum=histogram.sum,
    )
    for buckets, (offset, counts) in ((point.positive, positive), (point.negative, negative)):
        buckets.offset = offset
        buckets.bucket_counts.extend(counts)
    _add_labels(point, labels)
    return ""


def _dense(spans: Any, deltas: Any) -> tuple[int, list[int]] | None:
    """First bucket and counts without gaps; bucket i of Prometheus ends where bucket i of OTLP begins."""
    if len(deltas) > BUCKETS_MAX or sum(span.length for span in spans) != len(deltas):
        return None
    if not deltas:
        return 0, []
    counts = list(accumulate(deltas))
    if min(counts) < 0 or max(counts) >= _COUNT_MAX:
        return None
    index, taken = 0, 0
    placed: dict[int, int] = {}
    for span in spans:
        index += span.offset
        for _ in range(span.length):
            placed[index] = counts[taken]
            index, taken = index + 1, taken + 1
    first, last = min(placed), max(placed)
    if last - first >= BUCKETS_MAX or not -(2**31) < first - 1 < 2**31:
        return None
    return first - 1, [placed.get(position, 0) for position in range(first, last + 1)]


def _add_labels(point: Any, labels: dict[str, str]) -> None:
    for key, text in labels.items():
        point.attributes.add(key=key).value.string_value = text
