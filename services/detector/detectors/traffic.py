"""Many more or far fewer requests than usual: a Poisson test whose overdispersion is learned.

Requests come in sessions, so counts vary more than a Poisson count does; the learned variance over the mean scales the
test. The number must also double or fall below two fifths: a statistically certain surge of 20 % is business. And it
must leave what the service did before: work that comes in campaigns (a queue's consumer that rests for half of the day)
has a median that says little, so a surge goes beyond all of its recent normal windows and a drop below nearly all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from libs.contracts.anomaly import Contribution, Severity, Signal
from services.detector.detector import DETECTORS, DetectorOptions, Feed
from services.detector.figures import quantity
from services.detector.finding import Finding, Level
from services.detector.request_window import RequestWindow
from services.detector.robust_level import RobustLevel
from services.detector.tail_probability import poisson_at_least, poisson_at_most, score_of

_SURGE: Final = 2.0
_DROP: Final = 0.4
_LINGERING_SURGE: Final = 1.5
_LINGERING_DROP: Final = 0.6
_MEDIUM_SURGE: Final = 3.0
_P: Final = 1e-5
_LINGERING_P: Final = 0.01
_MEMORY: Final = 3
_LEAST_DISPERSION: Final = 1.5  # sessions of two or three requests; seen on every workload with users
_OVER_PAST: Final = 1.15  # as latency gauges: beyond everything normal in memory, and then some
_START_SHARE: Final = 0.05  # of the memory that may be the first requests of a start, lower than all that follows


@dataclass(slots=True)
class TrafficState:
    """Learned request rate of one service.

    Attributes:
        rates: Requests per second of normal windows.
        recent: Rates of every recent window.
    """

    rates: RobustLevel = field(default_factory=RobustLevel)
    recent: list[float] = field(default_factory=list)


@DETECTORS.register("traffic")
class Traffic:
    """Judges the number of requests that a service serves."""

    name: ClassVar[str] = "traffic"
    feed: ClassVar[Feed] = Feed.REQUESTS
    signals: ClassVar[frozenset[Signal]] = frozenset({Signal.TRAFFIC})
    least_windows: ClassVar[int] = 8
    open_after: ClassVar[int] = 2
    close_after: ClassVar[int] = 3
    knows_warmup: ClassVar[bool] = False
    state_type = TrafficState

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options

    def new_state(self) -> TrafficState:
        """Nothing learned yet."""
        return TrafficState()

    def judge(self, state: TrafficState, seen: RequestWindow) -> Sequence[Finding]:
        """Compare the number of requests with the learned rate; a call edge is its callee's affair."""
        if seen.peer:
            return ()
        if not math.isfinite(seen.requests) or not state.rates.ready or seen.after_gap:
            return (_finding(seen, Level.NO_DATA, 0.0, 0.0, 1.0),)
        usual, dispersion = usual_rate(state, seen.seconds)
        rate = seen.requests / seen.seconds
        if _LINGERING_DROP * usual < rate < _LINGERING_SURGE * usual:
            return ()
        expected = usual * seen.seconds
        rates = [*state.recent, rate]
        together, expected_together = sum(rates) * seen.seconds, expected * len(rates)
        p = min(
            max(poisson_at_least(seen.requests, expected, dispersion), 0.0 if rate > usual else 1.0),
            max(poisson_at_most(seen.requests, expected, dispersion), 0.0 if rate < usual else 1.0),
        )
        p_sum = (
            poisson_at_least(together, expected_together, dispersion)
            if rate > usual
            else poisson_at_most(together, expected_together, dispersion)
        )
        level = _level(rate, sum(rates) / len(rates), usual, p, p_sum)
        if level is Level.SUSPICIOUS and not _leaves_past(state, rate):
            level = Level.LINGERING
        return () if level is Level.NORMAL else (_finding(seen, level, usual, dispersion, min(p, p_sum)),)

    def learn(self, state: TrafficState, seen: RequestWindow) -> None:
        """Add a normal window."""
        if seen.peer or not math.isfinite(seen.requests):
            return
        if seen.after_gap:
            state.rates.begin_reanchor()
        state.rates.learn(seen.requests / seen.seconds)

    def note(self, state: TrafficState, seen: RequestWindow) -> None:
        """Remember the window's rate, normal or not."""
        if not seen.peer and math.isfinite(seen.requests):
            state.recent.append(seen.requests / seen.seconds)
            del state.recent[: -(_MEMORY - 1)]


def usual_rate(state: TrafficState, seconds: float) -> tuple[float, float]:
    """Usual requests per second, 0 for who mostly rests, and variance over mean of the counts of such windows."""
    usual = state.rates.middle
    counts_spread, expected = state.rates.spread * seconds, usual * seconds
    return usual, max(_LEAST_DISPERSION, counts_spread**2 / expected if expected > 0 else 1.0)


def _leaves_past(state: TrafficState, rate: float) -> bool:
    """Whether the recent normal windows hold nothing like it."""
    past = sorted(state.rates.values)
    if rate > state.rates.middle:
        return rate > _OVER_PAST * past[-1]
    return rate < past[int(_START_SHARE * len(past))]


def _level(rate: float, mean_rate: float, usual: float, p: float, p_sum: float) -> Level:
    surges = rate >= _SURGE * usual and mean_rate >= _LINGERING_SURGE * usual
    drops = rate <= _DROP * usual and mean_rate <= _LINGERING_DROP * usual
    if (surges or drops) and (p < _P or p_sum < _P):
        return Level.SUSPICIOUS
    if (rate >= _LINGERING_SURGE * usual or rate <= _LINGERING_DROP * usual) and p < _LINGERING_P:
        return Level.LINGERING
    return Level.NORMAL


def _severity(rate: float, usual: float, rate_sigma: float) -> Severity:
    """By effect; that a surge is three times the usual must be certain (two standard errors) and not luck."""
    if usual <= 0.0:
        return Severity.LOW  # times nothing: who mostly rests has begun to work
    if rate > usual:
        return Severity.MEDIUM if rate - 2.0 * rate_sigma >= _MEDIUM_SURGE * usual else Severity.LOW
    return Severity.HIGH if rate == 0 else Severity.MEDIUM


def _finding(seen: RequestWindow, level: Level, usual: float, dispersion: float, p: float) -> Finding:
    rate = seen.requests / seen.seconds if math.isfinite(seen.requests) else 0.0
    sigma = max(math.sqrt(dispersion * max(usual, 1e-9) / seen.seconds), 1e-9)
    lower, upper = max(0.0, usual - 3 * sigma), usual + 3 * sigma
    return Finding(
        level=level,
        signal=Signal.TRAFFIC,
        metric=seen.names.traffic,
        statistic="rate",
        unit="{request}/s",
        severity=_severity(rate, usual, math.sqrt(dispersion * rate / seen.seconds)),
        score=score_of(p),
        observed=rate,
        expected=usual,
        lower=lower,
        upper=upper,
        deviation=(rate - usual) / sigma,
        explanation=(
            f"{seen.where} serves {quantity(rate, '{request}/s')}, expected {quantity(lower)} .. {quantity(upper)}"
        ),
        contributions=(Contribution(feature="request_rate", value=rate, share=1.0),),
    )
