"""Something will be used up: a robust linear trend of memory, pools, queues or disk towards its limit.

What leaks rises step by step to where it has never been, without slowing down. Start-up growth slows down; the teeth of
a garbage collector return to where they were; noise does not rise five times in a row by more than its own spread.
The steeper the rise, the fewer points are needed: five when the limit is two minutes away (25 s at a 5 s interval),
twelve when it is half an hour away.

Source: Theil (1950) and Sen (1968) for the slope; Mann (1945) for runs of increases (five in a row: 1 in 720).
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar, Final

from libs.contracts.anomaly import Contribution, Severity, Signal
from libs.observability.signals import words_of
from services.detector.detector import DETECTORS, DetectorOptions, Feed
from services.detector.figures import quantity
from services.detector.finding import Finding, Level
from services.detector.gauges import GaugePoint
from services.detector.robust_level import RobustLevel

MEMORY_POINTS: Final = 60
_SLOPE_POINTS: Final = 24
# (increases in a row, longest time to the limit in seconds, severity): a false alarm of the first kind needs five
# increases that each spend a 25th of what is left.
_RULES: Final = (
    (5, 120.0, Severity.HIGH),
    (7, 600.0, Severity.MEDIUM),
    (12, 1800.0, Severity.LOW),
)
_LEAST_INCREASES: Final = min(increases for increases, _, _ in _RULES)
# A young heap's first tooth can last minutes, and so can what a process does once after its start.
_PATIENT_RULES: Final = ((24, 600.0, Severity.MEDIUM),)
_BIRTH_POINTS: Final = 2
_HEAP_WORDS: Final = frozenset({"heap", "jvm", "gc", "memstats", "dotnet", "nodejs", "v8js"})
_NO_LIMIT_INCREASES: Final = 12
_NO_LIMIT_GROWTH: Final = 0.5
_NO_LIMIT_MEDIUM_GROWTH: Final = 1.0
_LEAST_LIMIT_SHARE: Final = 0.04
_NOISES: Final = 6.0
_NEW_GROUND_SHARE: Final = 0.02
_LEAST_ACCELERATION: Final = 0.6  # the later half of a start-up's growth has less than half the slope of the first
_EARNEST: Final = 0.25
_LINGERING_INCREASES: Final = 2
_HORIZON_INTERVALS: Final = 10.0


@dataclass(slots=True)
class TrendState:
    """Recent points of one series.

    Attributes:
        times_s: Event times, newest last.
        values: Their values, towards the limit is up.
        steps: Absolute differences of neighbouring normal points: its noise.
        peak: Highest value that has left `values`.
    """

    times_s: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    steps: RobustLevel = field(default_factory=RobustLevel)
    peak: float = -math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Rise:
    """The rise that a series is in now.

    Attributes:
        increases: Steps up in a row.
        start_s: Event time at which it began.
        growth: How much it rose.
        slope: Per second, robust.
        steady: Whether the later half rises about as fast as the earlier one, in steps of like size.
        since_birth: Whether nothing but the rise is known of the series.
        new_ground: Whether it is higher than ever before, and rose by more than noise.
        eta_s: Seconds to the limit, infinite without one.
    """

    increases: int
    start_s: float
    growth: float
    slope: float
    steady: bool
    since_birth: bool
    new_ground: bool
    eta_s: float


@DETECTORS.register("trend")
class Trend:
    """Judges gauges of what can be used up."""

    name: ClassVar[str] = "trend"
    feed: ClassVar[Feed] = Feed.GAUGES
    signals: ClassVar[frozenset[Signal]] = frozenset()
    least_windows: ClassVar[int] = 4
    open_after: ClassVar[int] = 1  # a rise is several points long already
    close_after: ClassVar[int] = 3
    knows_warmup: ClassVar[bool] = False
    state_type = TrendState

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options

    def new_state(self) -> TrendState:
        """No points yet."""
        return TrendState()

    def begins_nothing(self, state: TrendState, seen: GaugePoint) -> bool:
        """Whether it rises for fewer points in a row than any rule asks for; 1 µs where `judge` takes 5 in the mean."""
        value, limit = _towards_limit(seen)
        least = _LEAST_INCREASES if math.isfinite(limit) else _NO_LIMIT_INCREASES
        if len(state.values) < least:
            return True
        for before in reversed(state.values[-least:]):
            if before >= value:
                return True
            value = before
        return False

    def judge(self, state: TrendState, seen: GaugePoint) -> Sequence[Finding]:
        """Look for a rise that ends at the limit."""
        if seen.series.kind.resource == "cpu" or not state.values:
            return ()  # a busy processor is not used up
        upward, limit = _towards_limit(seen)
        at_s = seen.at_ns / 1e9
        if at_s <= state.times_s[-1] or upward <= state.values[-1]:
            return ()
        if len(state.values) < 2 or state.values[-1] <= state.values[-2]:
            return ()  # one step up is nothing yet
        rise = rise_of(state, at_s, upward, limit)
        level, severity = _judge(rise, seen, upward)
        return () if level is Level.NORMAL else (_finding(seen, rise, level, severity, limit),)

    def learn(self, state: TrendState, seen: GaugePoint) -> None:
        """Learn how much the series moves from point to point."""
        if state.values and seen.series.kind.resource != "cpu":
            state.steps.learn(abs(_towards_limit(seen)[0] - state.values[-1]))

    def note(self, state: TrendState, seen: GaugePoint) -> None:
        """Keep the point."""
        at_s = seen.at_ns / 1e9
        if state.times_s and at_s <= state.times_s[-1]:
            return
        state.times_s.append(at_s)
        state.values.append(_towards_limit(seen)[0])
        if len(state.values) > MEMORY_POINTS:
            state.peak = max(state.peak, state.values[0])
            del state.values[0], state.times_s[0]


def rise_of(state: TrendState, at_s: float, value: float, limit: float) -> Rise:
    """The rise that ends in the point (at_s, value)."""
    times, values = [*state.times_s, at_s], [*state.values, value]
    start = len(values) - 1
    while start > 0 and values[start - 1] < values[start]:
        start -= 1
    start = _kink(values, start)
    run_times, run = times[start:], values[start:]
    before = max([*values[:start], state.peak], default=-math.inf)
    noise = _noise(state, value, limit)
    first = max(0, len(run) - _SLOPE_POINTS)
    slope = _theil_sen(run_times[first:], run[first:])
    scale = limit if math.isfinite(limit) and limit > 0 else abs(value)
    return Rise(
        increases=len(run) - 1,
        start_s=run_times[0],
        growth=value - run[0],
        slope=slope,
        steady=_is_steady(run_times[first:], run[first:]) and _is_even(run),
        since_birth=start <= _BIRTH_POINTS and state.peak == -math.inf,
        new_ground=value > before + max(3.0 * noise, _NEW_GROUND_SHARE * scale) and value - run[0] >= _NOISES * noise,
        eta_s=(limit - value) / slope if math.isfinite(limit) and slope > 0 else math.inf,
    )


def _kink(values: Sequence[float], start: int) -> int:
    """Where the rise begins in earnest: small steps before it belong to what was normal."""
    steps = [after - before for before, after in pairwise(values[start:])]
    usual = statistics.median(steps) if steps else 0.0
    while len(steps) > 1 and steps[0] < _EARNEST * usual:
        del steps[0]
        start += 1
    return start


def _judge(rise: Rise, seen: GaugePoint, value: float) -> tuple[Level, Severity]:
    limit = _towards_limit(seen)[1]
    if math.isfinite(limit):
        is_heap = bool(words_of(seen.series.metric) & _HEAP_WORDS)
        enough = rise.growth >= _LEAST_LIMIT_SHARE * max(abs(limit), abs(value - rise.growth))
        for increases, horizon_s, severity in _PATIENT_RULES if is_heap or rise.since_birth else _RULES:
            near = rise.eta_s <= max(horizon_s, _HORIZON_INTERVALS * seen.interval_s)
            if rise.increases >= increases and near and enough and rise.steady and rise.new_ground:
                return Level.STRONG, severity
        if rise.increases >= _LINGERING_INCREASES and rise.eta_s <= _RULES[-1][1]:
            return Level.LINGERING, Severity.LOW
        return Level.NORMAL, Severity.LOW
    began = max(abs(value - rise.growth), 1e-9)
    is_growth = rise.increases >= _NO_LIMIT_INCREASES and rise.growth >= _NO_LIMIT_GROWTH * began
    if is_growth and rise.steady and rise.new_ground:
        doubled = rise.growth >= _NO_LIMIT_MEDIUM_GROWTH * began and seen.series.kind.resource == "memory"
        return Level.STRONG, Severity.MEDIUM if doubled else Severity.LOW
    return Level.NORMAL, Severity.LOW


def _towards_limit(seen: GaugePoint) -> tuple[float, float]:
    """Value and limit with "used up" upwards: what is free runs out at 0."""
    return (-seen.value, 0.0) if seen.series.kind.bad == "low" else (seen.value, seen.limit)


def _noise(state: TrendState, value: float, limit: float) -> float:
    scale = limit if math.isfinite(limit) and limit > 0 else abs(value)
    return max(state.steps.middle, 1e-4 * scale)


def _theil_sen(times: Sequence[float], values: Sequence[float]) -> float:
    slopes = [
        (values[j] - values[i]) / (times[j] - times[i]) for i in range(len(values)) for j in range(i + 1, len(values))
    ]
    return statistics.median(slopes) if slopes else 0.0


def _is_steady(times: Sequence[float], values: Sequence[float]) -> bool:
    half = len(values) // 2
    if half < 1:
        return False
    early = (values[half] - values[0]) / (times[half] - times[0])
    late = (values[-1] - values[half]) / (times[-1] - times[half]) if times[-1] > times[half] else 0.0
    return late >= _LEAST_ACCELERATION * early


def _is_even(run: Sequence[float]) -> bool:
    """Whether it rises by steps of like size: one jump among steps of noise is a new level, not a leak."""
    steps = [after - before for before, after in pairwise(run)]
    if not steps:
        return False
    mean = sum(steps) / len(steps)
    return statistics.median(steps) >= 0.5 * mean and min(steps[-3:]) >= _EARNEST * mean


def _finding(seen: GaugePoint, rise: Rise, level: Level, severity: Severity, limit: float) -> Finding:
    unit = seen.series.unit
    began = seen.value - rise.growth if seen.series.kind.bad != "low" else seen.value + rise.growth
    if math.isfinite(rise.eta_s):
        end = f"reaches the limit of {quantity(limit, unit)} in {quantity(max(0.0, rise.eta_s), 's')}"
    else:
        end = "has no known limit"
    slope = quantity(rise.slope, unit + "/s" if unit else "/s")
    return Finding(
        level=level,
        signal=seen.series.kind.signal,
        metric=seen.series.metric,
        statistic=seen.series.statistic,
        unit=unit,
        attributes=seen.series.attributes,
        severity=severity,
        score=1.0 - 0.5 ** (rise.increases / 4.0),
        observed=seen.value,
        expected=began,
        lower=min(began, began - abs(rise.growth) * 0.1),
        upper=began + abs(rise.growth) * 0.1,
        deviation=float(rise.increases) if seen.series.kind.bad != "low" else -float(rise.increases),
        explanation=f"{seen.series.where} rises by {slope} for {rise.increases} points and {end}",
        contributions=(
            Contribution(feature="slope_per_s", value=rise.slope, share=0.6),
            Contribution(feature="increases_in_a_row", value=float(rise.increases), share=0.4),
        ),
        since_ns=int(rise.start_s * 1e9),
    )
