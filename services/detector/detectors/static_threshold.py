"""A metric is beyond a fixed limit: the operator's thresholds, and limits that telemetry itself tells.

A memory limit, the size of a pool and utilisation have a known end; a service that stands before it is in trouble
however long it has been there, so nothing is learned.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

from libs.contracts.anomaly import Contribution, Severity, Signal
from services.detector.detector import DETECTORS, DetectorOptions, Feed
from services.detector.figures import quantity
from services.detector.finding import Finding, Level
from services.detector.gauges import GaugePoint
from services.detector.thresholds import Threshold

# (share of the limit, points in a row, severity) per resource. A kernel kills at 1.0 of a memory limit; queues grow
# without bound when a pool is busy all the time (utilisation above 0.95: ten times the wait at 0.7, M/M/1), and a busy
# CPU alone is what one pays for.
_BUILT_IN: Final = {
    "memory": (0.9, 2, Severity.HIGH),
    "disk": (0.9, 2, Severity.MEDIUM),
    "pool": (0.95, 3, Severity.MEDIUM),
    "threads": (0.95, 3, Severity.MEDIUM),
    "queue": (0.9, 3, Severity.MEDIUM),
    "cpu": (0.95, 6, Severity.LOW),
}
_CLOSE_SHARE: Final = 0.95  # hysteresis: an episode ends five per cent below what opened it


@dataclass(slots=True)
class StaticThresholdState:
    """How long a series has been beyond its limit.

    Attributes:
        beyond: Points in a row.
        since_ns: Event time of the first one.
    """

    beyond: int = 0
    since_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Edge:
    value: float
    above: bool
    points: int
    severity: Severity
    limit: float = math.nan

    def reason(self, unit: str) -> str:
        if math.isnan(self.limit):
            return f"the threshold of {quantity(self.value, unit)}"
        return f"{quantity(self.value / self.limit, 'ratio')} of its limit of {quantity(self.limit, unit)}"

    def is_beyond(self, value: float) -> bool:
        return value >= self.value if self.above else value <= self.value

    def is_near(self, value: float) -> bool:
        margin = (1 - _CLOSE_SHARE) * abs(self.value)
        return value >= self.value - margin if self.above else value <= self.value + margin


@DETECTORS.register("static_threshold")
class StaticThreshold:
    """Judges gauges against fixed limits."""

    name: ClassVar[str] = "static_threshold"
    feed: ClassVar[Feed] = Feed.GAUGES
    signals: ClassVar[frozenset[Signal]] = frozenset()
    least_windows: ClassVar[int] = 0
    open_after: ClassVar[int] = 1  # it counts its points itself
    close_after: ClassVar[int] = 3
    knows_warmup: ClassVar[bool] = False
    state_type = StaticThresholdState

    def __init__(self, options: DetectorOptions) -> None:
        self._thresholds = options.thresholds

    def new_state(self) -> StaticThresholdState:
        """Not beyond anything."""
        return StaticThresholdState()

    def begins_nothing(self, state: StaticThresholdState, seen: GaugePoint) -> bool:
        """Whether the point is within its limit, or has none."""
        edge = self._edge(seen)
        return edge is None or not edge.is_beyond(seen.value)

    def judge(self, state: StaticThresholdState, seen: GaugePoint) -> Sequence[Finding]:
        """Compare the point with the strictest limit that applies."""
        edge = self._edge(seen)
        if edge is None:
            return ()
        beyond = edge.is_beyond(seen.value)
        points = state.beyond + 1 if beyond else 0
        level = Level.STRONG if points >= edge.points else Level.LINGERING if edge.is_near(seen.value) else Level.NORMAL
        if level is Level.NORMAL:
            return ()
        return (_finding(seen, edge, level, state.since_ns or seen.start_ns),)

    def learn(self, state: StaticThresholdState, seen: GaugePoint) -> None:
        """Limits are given, not learned."""

    def note(self, state: StaticThresholdState, seen: GaugePoint) -> None:
        """Count points beyond the limit."""
        if self.begins_nothing(state, seen):
            state.beyond, state.since_ns = 0, 0
            return
        state.since_ns = state.since_ns or seen.start_ns
        state.beyond += 1

    def _edge(self, seen: GaugePoint) -> _Edge | None:
        series = seen.series
        for threshold in self._thresholds:
            if threshold.applies(series.service, series.metric, series.statistic):
                return _own_edge(threshold)
        if not math.isfinite(seen.limit) or series.kind.bad != "high":
            return None
        return _built_in_edge(series.kind.resource, seen.limit)


@lru_cache(4_096)  # the limits of a fleet; each is asked for twice a point
def _built_in_edge(resource: str, limit: float) -> _Edge | None:
    if resource not in _BUILT_IN:
        return None
    share, points, severity = _BUILT_IN[resource]
    return _Edge(value=share * limit, above=True, points=points, severity=severity, limit=limit)


def _own_edge(threshold: Threshold) -> _Edge:
    above = threshold.above is not None
    value = threshold.above if threshold.above is not None else threshold.below
    assert value is not None
    return _Edge(
        value=value,
        above=above,
        points=threshold.for_points,
        severity=threshold.severity,
    )


def _finding(seen: GaugePoint, edge: _Edge, level: Level, since_ns: int) -> Finding:
    series, unit = seen.series, seen.series.unit
    excess = abs(seen.value - edge.value) / max(abs(edge.value), 1e-9)
    return Finding(
        level=level,
        signal=series.kind.signal,
        metric=series.metric,
        statistic=series.statistic,
        unit=unit,
        attributes=series.attributes,
        severity=edge.severity,
        score=min(1.0, 0.5 + excess),
        observed=seen.value,
        expected=edge.value,
        lower=0.0 if edge.above else edge.value,
        upper=edge.value if edge.above else max(edge.value, seen.limit if math.isfinite(seen.limit) else edge.value),
        deviation=excess if edge.above else -excess,
        explanation=(
            f"{series.where} is {quantity(seen.value, unit)}, {'above' if edge.above else 'below'} {edge.reason(unit)}"
        ),
        contributions=(Contribution(feature="threshold", value=edge.value, share=1.0),),
        since_ns=since_ns,
    )
