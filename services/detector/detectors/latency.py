"""Slower than usual: a dynamic threshold on the latency statistic, and a test of the share of slow requests.

Two views have to agree on spans. The window's p95 or mean must stand out from its recent values (median and MAD) by
effect, and more requests than usual must be slower than the learned p95: a binomial test, which also works for three
requests per window, where a p95 of its own means nothing. Gauges of latency have only the first view.

How many requests are slow tells a fault from a moment. A machine that stands still for a second makes a fifth of a
window's requests slow, of every service at once, and half of them stay as fast as ever; a process that has just started
is some times slower for a few windows, until its caches are warm. So an episode stays LOW (context, no ticket) until it
has lasted: two windows where most requests are slow four times or more, three where most are slow, four where some are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np

from libs.contracts.anomaly import Contribution, Severity, Signal
from libs.contracts.columns import FloatArray
from services.detector.detector import DETECTORS, DetectorOptions, Feed
from services.detector.duration_buckets import BUCKETS, first_bucket_above, quantile_s
from services.detector.figures import quantity
from services.detector.finding import Finding, Level
from services.detector.request_window import RequestWindow
from services.detector.robust_level import RobustLevel
from services.detector.tail_probability import binomial_at_least, score_of
from services.detector.usual_mix import UsualMix

_SLOW_SHARE: Final = 0.05
_EFFECT: Final = 1.6  # quiet services of the example shop move their 5 s p95 by up to 1.4 between windows
_LINGERING_EFFECT: Final = 1.3
_LEAST_INCREASE_S: Final = 0.005  # below 5 ms a scheduler's hiccup is as large, and no user notices
_DEVIATIONS: Final = 4.0
_SUSPICIOUS_P: Final = 1e-4
_SUSPICIOUS_SUM_P: Final = 1e-6
_PLAIN_FACTOR: Final = 4.0  # most requests this much slower: no cold cache, no stall
_LASTING_MOST: Final = 3  # cold caches of the example shop's services are warm within 8 s, two windows
_LASTING_SOME: Final = 4  # at a stall of 0.5 .. 2 s every 20 s four windows in a row are hit once in 500 windows
_LEAST_DOUBTED: Final = 3.0  # of one or two requests a window all are slow now and then
_DOUBTED_WINDOWS: Final = 24
_MEMORY: Final = 3
_DECAY: Final = 0.99
_START_WINDOWS: Final = 4
_FORGET_START: Final = 0.5  # a cold start of one window is below 5 % of the memory four windows later
_LEAST_RELATIVE_SPREAD: Final = 0.08  # a bucket is 9 % wide: equal quantiles know no smaller spread
_GAUGE_EFFECT: Final = 1.5
_GAUGE_DEVIATIONS: Final = 5.0
_GAUGE_OVER_PAST: Final = 1.15  # latency gauges have heavy tails: beyond everything normal in memory, and then some
# A stall of seconds moves the p95 of a window of seconds, not that of minutes: one such window is enough when it is far
# outside of all that was normal.
_LONG_WINDOW_S: Final = 60.0
_STRONG_EFFECT: Final = 2.5
_STRONG_OVER_PAST: Final = 2.0
_STRONG_REQUESTS: Final = 50.0
_MAX_DISPERSION: Final = 10.0


@dataclass(slots=True)
class LatencyState:
    """Learned latency of one service or call edge.

    Attributes:
        level: The judged statistic of normal windows.
        mean: Their means.
        histogram: Durations of normal requests by bucket, older ones weigh less; empty for gauges.
        dispersion: How much more the slow share varies than independent requests would, at least 1.
        recent: (slow, all) requests of every recent window.
        seen_windows: Normal windows with a histogram.
        slow_run: Windows in a row that were slow, of those with a histogram.
        mix: Usual number of requests of each kind.
    """

    level: RobustLevel = field(default_factory=lambda: RobustLevel(bad_is_high=True))
    mean: RobustLevel = field(default_factory=lambda: RobustLevel(bad_is_high=True))
    histogram: FloatArray = field(default_factory=lambda: np.zeros(BUCKETS))
    dispersion: float = 1.0
    recent: list[tuple[float, float]] = field(default_factory=list)
    seen_windows: int = 0
    slow_run: int = 0
    mix: UsualMix = field(default_factory=UsualMix)


@DETECTORS.register("latency")
class Latency:
    """Judges durations of services and call edges."""

    name: ClassVar[str] = "latency"
    feed: ClassVar[Feed] = Feed.REQUESTS
    signals: ClassVar[frozenset[Signal]] = frozenset({Signal.LATENCY})
    least_windows: ClassVar[int] = 6
    open_after: ClassVar[int] = 2  # one stalled window (a collector's pause, a starved machine) is no incident
    close_after: ClassVar[int] = 2  # simulated faults closed 12 s after their end instead of 17, and none flapped
    knows_warmup: ClassVar[bool] = False
    state_type = LatencyState

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options

    def new_state(self) -> LatencyState:
        """Nothing learned yet."""
        return LatencyState()

    def judge(self, state: LatencyState, seen: RequestWindow) -> Sequence[Finding]:
        """Compare this window's latency with what was learned, for the usual number of requests of each kind."""
        seen = state.mix.of(seen)
        if not math.isfinite(seen.latency) or not state.level.ready or seen.after_gap:
            return (_no_data(seen),)
        level, p = _spans_level(state, seen) if seen.histogram is not None else _gauge_level(state, seen)
        return () if level is Level.NORMAL else (_finding(state, seen, level, p),)

    def learn(self, state: LatencyState, seen: RequestWindow) -> None:
        """Add a normal window."""
        if not math.isfinite(seen.latency):
            return
        of_usual_mix = state.mix.of(seen)
        if _is_doubtful(state, of_usual_mix):
            return
        state.mix.learn(seen)
        seen = of_usual_mix
        if seen.after_gap:
            state.level.begin_reanchor()
            state.mean.begin_reanchor()
            state.histogram *= _FORGET_START
        if seen.histogram is not None and state.seen_windows:
            slow, share = slow_requests(state, seen.histogram)
            if share > 0:
                chi_square = (slow - seen.requests * share) ** 2 / (seen.requests * share * (1 - share))
                state.dispersion += 0.02 * (min(chi_square, 4 * _MAX_DISPERSION) - state.dispersion)
        state.level.learn(seen.latency)
        state.mean.learn(seen.mean)
        if seen.histogram is not None:
            state.histogram = state.histogram * _memory_of(state) + seen.histogram
            state.seen_windows += 1

    def note(self, state: LatencyState, seen: RequestWindow) -> None:
        """Remember the window's slow requests, normal or not."""
        seen = state.mix.of(seen)
        if seen.histogram is not None and state.seen_windows:
            if seen.requests:
                state.slow_run = state.slow_run + 1 if _stands_out(state, seen) else 0
            state.recent.append((slow_requests(state, seen.histogram)[0], seen.requests))
            del state.recent[: -(_MEMORY - 1)]


def slow_requests(state: LatencyState, histogram: FloatArray) -> tuple[float, float]:
    """Requests slower than the learned p95, and the share of them that was usual."""
    total = float(state.histogram.sum())
    bucket = first_bucket_above(quantile_s(state.histogram, 1 - _SLOW_SHARE))
    usual = float(state.histogram[bucket:].sum()) / total if total else 0.0
    # with 100 learned requests the share of 5 % is known to two points; the floor keeps a short memory honest
    return float(histogram[bucket:].sum()), min(0.5, max(usual, 0.02) + 1.0 / (total + 1.0))


def _is_doubtful(state: LatencyState, seen: RequestWindow) -> bool:
    """Whether most of a window's requests are slow though it is not certain yet that it is no chance.

    It must not teach: one window of a sale that makes checkouts slow holds more of them than a minute before it, and
    would make their slowness usual. What lasts for two minutes and was never certain is.
    """
    if seen.histogram is None or state.seen_windows < _START_WINDOWS or state.slow_run >= _DOUBTED_WINDOWS:
        return False
    slow, _ = slow_requests(state, seen.histogram)
    return slow >= max(_LEAST_DOUBTED, 0.5 * seen.requests) and _stands_out(state, seen)


def _memory_of(state: LatencyState) -> float:
    """Weight of older requests: less while a slow start outweighs the windows since."""
    if state.seen_windows < _START_WINDOWS or not state.level.ready:
        return _DECAY
    remembered, usual = quantile_s(state.histogram, 1 - _SLOW_SHARE), state.level.middle
    return _FORGET_START if remembered > _EFFECT * usual else _DECAY


def _spans_level(state: LatencyState, seen: RequestWindow) -> tuple[Level, float]:
    assert seen.histogram is not None
    lingers = any(_exceeds(value, level, _LINGERING_EFFECT, 2.0) for value, level in _views(state, seen))
    if not lingers:
        return Level.NORMAL, 1.0
    slow, usual = slow_requests(state, seen.histogram)
    dispersion = min(max(1.0, state.dispersion), _MAX_DISPERSION)
    p_now = binomial_at_least(slow, seen.requests, usual, dispersion)
    pairs = [*state.recent, (slow, seen.requests)]
    p_sum = binomial_at_least(sum(s for s, _ in pairs), sum(n for _, n in pairs), usual, dispersion)
    surprising = p_now < _SUSPICIOUS_P or (p_sum < _SUSPICIOUS_SUM_P and p_now < 0.05)
    if surprising and _stands_out(state, seen):
        return Level.SUSPICIOUS, min(p_now, p_sum)
    return (Level.LINGERING, p_now) if p_now < 0.01 else (Level.NORMAL, 1.0)


def _stands_out(state: LatencyState, seen: RequestWindow) -> bool:
    return any(_exceeds(value, level, _EFFECT, _DEVIATIONS) for value, level in _views(state, seen))


def _has_lasted(state: LatencyState, histogram: FloatArray) -> bool:
    """Whether it is more than a moment: judged by how many of the requests are slow, and for how long."""
    usual = quantile_s(state.histogram, 0.5)
    factor = quantile_s(histogram, 0.5) / usual if usual > 0 else math.inf
    if factor >= _PLAIN_FACTOR:
        return True
    return state.slow_run + 1 >= (_LASTING_MOST if factor >= _EFFECT else _LASTING_SOME)


def _gauge_level(state: LatencyState, seen: RequestWindow) -> tuple[Level, float]:
    if seen.latency < _LINGERING_EFFECT * state.level.middle:
        return Level.NORMAL, 1.0
    middle, spread, _, _ = state.level.band(least_relative=_LEAST_RELATIVE_SPREAD)
    deviation = (seen.latency - middle) / spread
    p = 10.0 ** -min(16.0, max(0.0, deviation))  # an order of magnitude a deviation: gauges have no exact test
    most = max(state.level.values)
    beyond_past = seen.latency > _GAUGE_OVER_PAST * most
    if (
        seen.seconds >= _LONG_WINDOW_S
        and seen.requests >= _STRONG_REQUESTS
        and seen.latency > _STRONG_OVER_PAST * most
        and _exceeds(seen.latency, state.level, _STRONG_EFFECT, 2 * _GAUGE_DEVIATIONS)
    ):
        return Level.STRONG, p
    if _exceeds(seen.latency, state.level, _GAUGE_EFFECT, _GAUGE_DEVIATIONS) and beyond_past:
        return Level.SUSPICIOUS, p
    if _exceeds(seen.latency, state.level, _LINGERING_EFFECT, 3.0):
        return Level.LINGERING, p
    return Level.NORMAL, 1.0


def _views(state: LatencyState, seen: RequestWindow) -> list[tuple[float, RobustLevel]]:
    return [(seen.latency, state.level), (seen.mean, state.mean)]


def _exceeds(value: float, level: RobustLevel, effect: float, deviations: float) -> bool:
    if not math.isfinite(value) or not level.ready:
        return False
    middle, spread, _, _ = level.band(least_relative=_LEAST_RELATIVE_SPREAD)
    return value >= effect * middle and value - middle >= deviations * spread


def _no_data(seen: RequestWindow) -> Finding:
    return Finding(
        level=Level.NO_DATA,
        signal=Signal.LATENCY,
        metric=seen.names.latency,
        statistic=seen.names.latency_statistic,
        unit=seen.names.latency_unit,
    )


def _finding(state: LatencyState, seen: RequestWindow, level: Level, p: float) -> Finding:
    middle, spread, lower, upper = state.level.band(least_relative=_LEAST_RELATIVE_SPREAD)
    unit, statistic = seen.names.latency_unit, seen.names.latency_statistic
    factor = seen.latency / middle if middle > 0 else math.inf
    if math.isfinite(seen.mean) and state.mean.ready:
        mean_middle = state.mean.band(least_relative=_LEAST_RELATIVE_SPREAD)[0]
        factor = max(factor, seen.mean / mean_middle if mean_middle > 0 else math.inf)
    if level >= Level.SUSPICIOUS and unit == "s" and seen.latency - middle < _LEAST_INCREASE_S:
        level = Level.LINGERING
    severity = _severity(factor, seen.latency if unit == "s" else 0.0)
    if seen.names.beside_own:
        severity = Severity.LOW  # who waits for slow calls is slow too: that opens the ticket, and this says why
    contributions = [Contribution(feature=statistic, value=seen.latency, share=0.5)]
    if seen.histogram is not None:
        slow, _ = slow_requests(state, seen.histogram)
        severity = severity if _has_lasted(state, seen.histogram) else Severity.LOW
        contributions.append(
            Contribution(feature="slow_request_ratio", value=slow / max(seen.requests, 1.0), share=0.5)
        )
    return Finding(
        level=level,
        signal=Signal.LATENCY,
        metric=seen.names.latency,
        statistic=statistic,
        unit=unit,
        severity=severity,
        score=score_of(p),
        observed=seen.latency,
        expected=middle,
        lower=max(0.0, lower),
        upper=upper,
        deviation=(seen.latency - middle) / spread,
        explanation=(
            f"{statistic} of {seen.where} {quantity(seen.latency, unit)}, expected "
            f"{quantity(max(0.0, lower), unit)} .. {quantity(upper, unit)}"
        ),
        contributions=tuple(contributions),
        trace_ids=seen.slow_traces,
    )


def _severity(factor: float, latency_s: float) -> Severity:
    """By effect: ten times slower and over a second is what users leave for."""
    if factor >= 10.0 and latency_s >= 1.0:
        return Severity.CRITICAL
    return Severity.HIGH if factor >= 4.0 else Severity.MEDIUM
