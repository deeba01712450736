"""More failed requests than usual: an exact binomial test against the learned ratio.

A z-score needs many requests: on low traffic five sigma caught none of the availability faults of the PetShop set and
fired in half of its quiet windows. The binomial tail is exact for any number of requests. Three windows together are
judged too, so that a tenth of 20 requests per window does not hide.

What is usual follows half a minute behind: a fault that fails a tenth of few requests needs some windows to be certain,
and learned meanwhile it became usual before it was (in the demo shop 0 turned into 4 %, and nothing fired).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from libs.contracts.anomaly import Contribution, Severity, Signal
from services.detector.detector import DETECTORS, DetectorOptions, Feed, Memory
from services.detector.figures import quantity
from services.detector.finding import Finding, Level
from services.detector.request_window import RequestWindow
from services.detector.tail_probability import binomial_at_least, score_of

# Nobody is woken by one failed request in 200, nor by the first two of a service that never failed.
_FLOOR_RATIO: Final = 0.005
_LEAST_INCREASE: Final = 0.03
_LEAST_FACTOR: Final = 2.5
# 15 targets x 60 windows in five quiet minutes: two windows in a row below 1e-3 happen once in a thousand such runs.
_SUSPICIOUS_P: Final = 1e-3
_SUSPICIOUS_SUM_P: Final = 1e-5
_STRONG_P: Final = 1e-8
_STRONG_ERRORS: Final = 5
# Of a thousand requests 2 % are twenty users: certain, and no chance of a small sample.
_SMALL_INCREASE: Final = 0.01
_SMALL_INCREASE_ERRORS: Final = 10
_LEAST_ERRORS: Final = 2
_LEAST_SUM_ERRORS: Final = 4
_LINGERING_INCREASE: Final = 0.015
_MEMORY: Final = 3
_LAG_WINDOWS: Final = 6  # twice the windows that are judged together
_START_WINDOWS: Final = 12  # until then there is too little to wait for
_DECAY: Final = 0.99  # half of what is remembered is from the last 69 windows
_SEVERITIES: Final = ((0.5, Severity.CRITICAL), (0.2, Severity.HIGH), (0.0, Severity.MEDIUM))


@dataclass(slots=True)
class ErrorRatioState(Memory):
    """Learned failures of one service or call edge.

    Attributes:
        requests: Normal requests, older ones weigh less.
        errors: Failed ones among them.
        windows: Windows learned.
        waiting: (errors, requests) of the newest normal windows, which are learned next.
        is_normal: Whether the newest window was normal.
    """

    requests: float = 0.0
    errors: float = 0.0
    windows: int = 0
    waiting: list[tuple[float, float]] = field(default_factory=list)
    is_normal: bool = True


@DETECTORS.register("error_ratio")
class ErrorRatio:
    """Judges failed requests of services and call edges."""

    name: ClassVar[str] = "error_ratio"
    feed: ClassVar[Feed] = Feed.REQUESTS
    signals: ClassVar[frozenset[Signal]] = frozenset({Signal.ERRORS})
    least_windows: ClassVar[int] = 6
    open_after: ClassVar[int] = 2
    close_after: ClassVar[int] = 3
    knows_warmup: ClassVar[bool] = False
    state_type = ErrorRatioState

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options

    def new_state(self) -> ErrorRatioState:
        """Nothing learned yet."""
        return ErrorRatioState()

    def judge(self, state: ErrorRatioState, seen: RequestWindow) -> Sequence[Finding]:
        """Compare the failed share of this window, and of the last three together, with the learned one."""
        if not math.isfinite(seen.errors) or seen.requests <= 0:
            return (_no_data(seen),)
        if seen.errors == 0:
            return ()
        usual, high = usual_ratio(state)
        ratio = min(1.0, seen.errors / seen.requests)
        p_now = binomial_at_least(seen.errors, seen.requests, high)
        pairs = [*state.recent[-(_MEMORY - 1) :], (seen.errors, seen.requests)]
        errors, requests = sum(e for e, _ in pairs), sum(n for _, n in pairs)
        p_sum = binomial_at_least(errors, requests, high)
        level = Level.NORMAL
        if p_now < _STRONG_P and (
            (seen.errors >= _STRONG_ERRORS and _is_effect(ratio, usual))
            or (seen.errors >= _SMALL_INCREASE_ERRORS and _is_effect(ratio, usual, _SMALL_INCREASE))
        ):
            level = Level.STRONG
        elif (_is_effect(ratio, usual) and seen.errors >= _LEAST_ERRORS and p_now < _SUSPICIOUS_P) or (
            seen.errors >= 1
            and errors >= _LEAST_SUM_ERRORS
            and p_sum < _SUSPICIOUS_SUM_P
            and _is_effect(errors / requests, usual)
        ):
            level = Level.SUSPICIOUS
        elif ratio >= usual + _LINGERING_INCREASE and p_now < 0.05:
            level = Level.LINGERING
        if level is Level.NORMAL:
            return ()
        return (self._finding(seen, level, usual, high, min(p_now, p_sum)),)

    def learn(self, state: ErrorRatioState, seen: RequestWindow) -> None:
        """Add a normal window to those that wait, and learn from the one that has waited long enough."""
        state.is_normal = True
        if not math.isfinite(seen.errors) or seen.requests <= 0:
            return
        state.waiting.append((seen.errors, seen.requests))
        while len(state.waiting) > (_LAG_WINDOWS if state.windows >= _START_WINDOWS else 0):
            errors, requests = state.waiting.pop(0)
            state.requests = state.requests * _DECAY + requests
            state.errors = state.errors * _DECAY + errors
            state.windows += 1

    def note(self, state: ErrorRatioState, seen: RequestWindow) -> None:
        """Remember the window itself, normal or not; what led to an anomaly is not learned."""
        if not state.is_normal:
            state.waiting.clear()
        state.is_normal = False
        if math.isfinite(seen.errors):
            state.remember(seen.errors, seen.requests, windows=_MEMORY - 1)

    def _finding(self, seen: RequestWindow, level: Level, usual: float, high: float, p: float) -> Finding:
        ratio = min(1.0, seen.errors / seen.requests) if seen.requests > 0 else 0.0
        sigma = math.sqrt(max(usual, _FLOOR_RATIO) * (1 - usual) / max(seen.requests, 1.0))
        severity = next(severity for least, severity in _SEVERITIES if ratio >= least)
        return Finding(
            level=level,
            signal=Signal.ERRORS,
            metric=seen.names.errors,
            statistic=seen.names.errors_statistic,
            unit="1",
            severity=severity,
            score=score_of(p),
            observed=ratio,
            expected=usual,
            lower=0.0,
            upper=max(high, usual + _LEAST_INCREASE),
            deviation=(ratio - usual) / sigma,
            explanation=(
                f"{quantity(ratio, 'ratio')} of the requests of {seen.where} failed "
                f"({seen.errors:.0f} of {seen.requests:.0f}), expected {quantity(usual, 'ratio')}"
            ),
            contributions=(Contribution(feature="failed_requests", value=seen.errors, share=1.0),),
            trace_ids=seen.failed_traces,
        )


def _no_data(seen: RequestWindow) -> Finding:
    return Finding(
        level=Level.NO_DATA,
        signal=Signal.ERRORS,
        metric=seen.names.errors,
        statistic=seen.names.errors_statistic,
        unit="1",
    )


def usual_ratio(state: ErrorRatioState) -> tuple[float, float]:
    """The learned ratio and its plausible upper edge (two standard errors), neither below the floor."""
    usual = (state.errors + _FLOOR_RATIO) / (state.requests + 1.0)
    upper = usual + 2.0 * math.sqrt(usual * (1.0 - usual) / (state.requests + 1.0))
    return usual, min(0.99, max(upper, _FLOOR_RATIO))


def _is_effect(ratio: float, usual: float, increase: float = _LEAST_INCREASE) -> bool:
    return ratio >= usual + increase and ratio >= _LEAST_FACTOR * usual
