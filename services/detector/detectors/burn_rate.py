"""The error budget burns too fast: multi-window, multi-burn-rate alerts on a service level objective.

A burn rate of 14.4 spends 2 % of a 30-day budget in an hour. Both the long and the short window must burn: the long one
says that it matters, the short one that it goes on. The part of a long window that was not observed yet counts as good
requests at the observed rate, so a start with a few failures does not page, and a hard outage still does in minutes.
The last three evaluation windows must burn as well: the alert ends when the failures do, not a short window later.

Source: Google, "The Site Reliability Workbook", chapter 5, table 5-8.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from libs.contracts.anomaly import Contribution, Severity, Signal
from services.detector.detector import DETECTORS, DetectorOptions, Feed
from services.detector.duration_buckets import first_bucket_above
from services.detector.figures import quantity
from services.detector.finding import Finding, Level
from services.detector.objectives import Objective, objective_of
from services.detector.request_window import RequestWindow

BUCKETS_PER_WINDOW: Final = 120  # a window's edge is at most 0.8 % of it off
_LEAST_BAD: Final = 10.0
_NOW_WINDOWS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One row of the workbook's table."""

    long_s: float
    short_s: float
    burn: float
    severity: Severity


ALERTS: Final = (
    Alert(long_s=3600.0, short_s=300.0, burn=14.4, severity=Severity.HIGH),
    Alert(long_s=6 * 3600.0, short_s=1800.0, burn=6.0, severity=Severity.HIGH),
    Alert(long_s=72 * 3600.0, short_s=6 * 3600.0, burn=1.0, severity=Severity.MEDIUM),
)


@dataclass(slots=True)
class BurnRateState:
    """Good and bad requests of one service, in coarse buckets per alert.

    Attributes:
        first_ns: Beginning of what was observed.
        recent: (bad, all) of the last windows.
        buckets: Per alert: (bucket number, bad, all), oldest first.
    """

    first_ns: int = 0
    recent: list[tuple[float, float]] = field(default_factory=list)
    buckets: list[list[tuple[int, float, float]]] = field(default_factory=lambda: [[] for _ in ALERTS])


@DETECTORS.register("burn_rate")
class BurnRate:
    """Judges the error budget of services."""

    name: ClassVar[str] = "burn_rate"
    feed: ClassVar[Feed] = Feed.REQUESTS
    signals: ClassVar[frozenset[Signal]] = frozenset({Signal.ERRORS})
    least_windows: ClassVar[int] = 0
    open_after: ClassVar[int] = 1  # its windows are minutes long already
    close_after: ClassVar[int] = 3
    knows_warmup: ClassVar[bool] = False
    state_type = BurnRateState

    def __init__(self, options: DetectorOptions) -> None:
        self._objectives = options.objectives

    def new_state(self) -> BurnRateState:
        """Nothing observed yet."""
        return BurnRateState()

    def judge(self, state: BurnRateState, seen: RequestWindow) -> Sequence[Finding]:
        """Check every alert with this window included."""
        objective = self._objective(seen)
        if objective is None:
            return ()
        bad, total = self._bad(objective, seen)
        budget = 1.0 - objective.objective
        now = [*state.recent, (bad, total)]
        now_bad, now_all = sum(b for b, _ in now), sum(n for _, n in now)
        for number, alert in enumerate(ALERTS):
            long_bad, long_all, covered_s = _sums(state, number, alert.long_s, seen)
            short_bad, short_all, _ = _sums(state, number, alert.short_s, seen)
            long_bad, long_all, short_bad, short_all = (
                long_bad + bad,
                long_all + total,
                short_bad + bad,
                short_all + total,
            )
            if long_all < objective.least_events or long_bad < _LEAST_BAD or short_all <= 0:
                continue
            whole = long_all * max(1.0, alert.long_s / max(covered_s, seen.seconds))
            burn_long, burn_short = long_bad / whole / budget, short_bad / short_all / budget
            burning = now_all > 0 and now_bad / now_all / budget >= alert.burn
            if burning and burn_long >= alert.burn and burn_short >= alert.burn:
                return (_finding(seen, objective, alert, burn_long, burn_short),)
        return ()

    def learn(self, state: BurnRateState, seen: RequestWindow) -> None:
        """An objective is given, not learned."""

    def note(self, state: BurnRateState, seen: RequestWindow) -> None:
        """Count the window's requests."""
        objective = self._objective(seen)
        if objective is None:
            return
        state.first_ns = state.first_ns or seen.start_ns
        bad, total = self._bad(objective, seen)
        state.recent.append((bad, total))
        del state.recent[: -(_NOW_WINDOWS - 1)]
        for number, alert in enumerate(ALERTS):
            _add(state.buckets[number], seen.start_ns // _bucket_ns(alert), bad, total)

    def _objective(self, seen: RequestWindow) -> Objective | None:
        if seen.peer or not math.isfinite(seen.errors) or not math.isfinite(seen.requests):
            return None
        return objective_of(self._objectives, seen.service)

    def _bad(self, objective: Objective, seen: RequestWindow) -> tuple[float, float]:
        bad = seen.errors
        if objective.latency_s is not None and seen.histogram is not None:
            bad = max(bad, float(seen.histogram[first_bucket_above(objective.latency_s) :].sum()))
        return min(bad, seen.requests), seen.requests


def _bucket_ns(alert: Alert) -> int:
    return int(alert.long_s / BUCKETS_PER_WINDOW * 1e9)


def _add(buckets: list[tuple[int, float, float]], number: int, bad: float, total: float) -> None:
    if buckets and buckets[-1][0] == number:
        _, known_bad, known_total = buckets[-1]
        buckets[-1] = (number, known_bad + bad, known_total + total)
    else:
        buckets.append((number, bad, total))
        del buckets[: -BUCKETS_PER_WINDOW - 1]


def _sums(state: BurnRateState, number: int, length_s: float, seen: RequestWindow) -> tuple[float, float, float]:
    """Bad and all requests of the window of `length_s` before this one's end, and the seconds that were observed."""
    width_ns = _bucket_ns(ALERTS[number])
    since = (seen.end_ns - int(length_s * 1e9)) // width_ns
    inside = [(bad, total) for at, bad, total in state.buckets[number] if at >= since]
    covered_s = min(length_s, (seen.end_ns - (state.first_ns or seen.start_ns)) / 1e9)
    return sum(bad for bad, _ in inside), sum(total for _, total in inside), covered_s


def _finding(seen: RequestWindow, objective: Objective, alert: Alert, burn: float, burn_now: float) -> Finding:
    budget = quantity(1.0 - objective.objective, "ratio")
    return Finding(
        level=Level.STRONG,
        signal=Signal.ERRORS,
        metric="slo.error_budget",
        statistic="burn_rate",
        unit="1",
        severity=alert.severity,
        score=min(1.0, burn / (burn + alert.burn)),
        observed=burn_now,
        expected=1.0,
        lower=0.0,
        upper=alert.burn,
        deviation=burn_now / alert.burn,
        explanation=(
            f"{seen.service} spends its error budget of {budget} {quantity(burn_now)} times too fast over "
            f"{quantity(alert.short_s, 's')} and {quantity(burn)} times over {quantity(alert.long_s, 's')}; "
            f"the limit is {quantity(alert.burn)}"
        ),
        contributions=(
            Contribution(feature="burn_rate_short", value=burn_now, share=0.5),
            Contribution(feature="burn_rate_long", value=burn, share=0.5),
        ),
        trace_ids=seen.failed_traces or seen.slow_traces,
    )
