"""Single points of metric series, as detectors see them, and the limits that telemetry itself tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from libs.observability.signals import MetricKind, words_of

_SHARE_WORDS: Final = frozenset({"utilization", "ratio", "rate", "percent", "percentage"})
_UNLIMITED_WORDS: Final = frozenset({"virtual", "free", "idle", "available", "avail", "cached", "pending"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Identity of one metric series.

    Attributes:
        service: service.name.
        metric: Metric name.
        statistic: value, rate, p95, ...
        unit: UCUM unit.
        attributes: Attributes of the series, with the instance when the resource names one.
        kind: What the metric tells of.
    """

    service: str
    metric: str
    statistic: str = "value"
    unit: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    kind: MetricKind

    @property
    def where(self) -> str:
        """Metric and instance, for sentences."""
        instance = self.attributes.get("service.instance.id")
        named = [value for name, value in sorted(self.attributes.items()) if name != "service.instance.id"]
        return f"{self.metric}{' ' + '/'.join(named) if named else ''} of {instance or self.service}"


class _Moment:
    """A moment of event time that stands for the interval before it."""

    __slots__ = ()
    at_ns: int
    interval_s: float

    @property
    def start_ns(self) -> int:
        """Where the interval begins."""
        return self.at_ns - int(self.interval_s * 1e9)

    @property
    def end_ns(self) -> int:
        """Event time."""
        return self.at_ns


class _OfSeries(_Moment):
    """A moment of one series."""

    __slots__ = ()
    series: Series

    @property
    def service(self) -> str:
        """service.name."""
        return self.series.service


@dataclass(slots=True, kw_only=True)  # not frozen: one is made per point, and frozen ones take 3 times as long
class GaugePoint(_OfSeries):
    """One point of a series that stands for something that can be used up. Nobody changes one.

    Attributes:
        series: Which series.
        at_ns: Event time.
        value: In the unit of the series.
        limit: Where it ends, NaN when unknown.
        interval_s: Usual time between points.
    """

    series: Series
    at_ns: int
    value: float
    limit: float
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPoint(_OfSeries):
    """One point with its score from the series bank.

    Attributes:
        series: Which series.
        at_ns: Event time.
        value: In the unit of the series.
        interval_s: Usual time between points.
        score: In [0, 1].
        is_anomaly: Onset of an anomaly.
        expected: What was expected.
        lower: Lower edge of the expected band.
        upper: Upper edge of the expected band.
        contributions: Share of each feature, by name.
        corroborated: Whether another detector sees the service in trouble now.
    """

    series: Series
    at_ns: int
    value: float
    interval_s: float
    score: float
    is_anomaly: bool
    expected: float
    lower: float
    upper: float
    contributions: tuple[tuple[str, float], ...] = ()
    corroborated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorScore(_Moment):
    """All metrics of one instance at one moment, scored together.

    Attributes:
        service: service.name.
        instance: service.instance.id, "" when the resource names none.
        at_ns: Event time.
        interval_s: Usual time between vectors.
        score: In [0, 1].
        is_anomaly: Whether it is above the scorer's own threshold.
        contributions: (metric, value, share), greatest share first.
        corroborated: Whether another detector sees the service in trouble now.
    """

    service: str
    instance: str
    at_ns: int
    interval_s: float
    score: float
    is_anomaly: bool
    contributions: tuple[tuple[str, float, float], ...] = ()
    corroborated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A configured limit that an instance reports.

    Attributes:
        metric: Metric name of the limit.
        unit: Its unit.
        resource: Which resource it bounds.
        attributes: Attributes that a series must share to be bounded by it.
        value: The limit.
    """

    metric: str
    unit: str
    resource: str
    attributes: Mapping[str, str]
    value: float


def limit_of(series: Series, limits: Mapping[str, Limit]) -> float:
    """The limit of a series: its instance's own report, 1 or 100 for shares; NaN when unknown.

    Of several limits of the same resource the one with the longest common name wins (`worker_pool.size` before
    `db.client.connection.max` for `worker_pool.in_use`).
    """
    words = words_of(series.metric)
    if series.unit == "%" or ("%" in series.metric and words & _SHARE_WORDS):
        return 100.0
    if series.unit == "1" and words & _SHARE_WORDS:
        return 1.0
    if words & _UNLIMITED_WORDS or series.kind.bad != "high" or "idle" in series.attributes.values():
        return float("nan")
    best, best_common = float("nan"), -1
    for limit in limits.values():
        fits = limit.resource == series.kind.resource and (not limit.unit or limit.unit == series.unit)
        if fits and limit.attributes.items() <= series.attributes.items() and limit.value > 0:
            common = _common_parts(limit.metric, series.metric)
            named_alike = common > 0 or series.kind.resource in ("memory", "disk")
            if named_alike and common > best_common:
                best, best_common = limit.value, common
    return best


def _common_parts(one: str, other: str) -> int:
    count = 0
    for left, right in zip(one.replace("_", ".").split("."), other.replace("_", ".").split("."), strict=False):
        if left != right:
            break
        count += 1
    return count
