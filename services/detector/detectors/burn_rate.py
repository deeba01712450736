"""The error budget burns too fast: multi-window, multi-burn-rate alerts on a service level objective.

A burn rate of 14.4 spends 2 % of a 30-day budget in an hour. Both the long and the short window must burn: the long one
says that it matters, the short one that it goes on. The part of a long window that was not observed yet counts as good
requests at the observed rate, so a start with a few failures does not page, and a hard outage still does in minutes.
The last three evaluation windows must burn as well: the alert ends when the failures do, not a short window later.

An objective that nobody declared is an assumption. A service that has always failed one request in ten (a lookup whose
misses count as errors) breaks it from its first minute to its last, and no alert about that helps anybody: so against
the assumed objective only failures beyond the usual share burn, and they must be several times as many. What is usual
is what was before the long window, and the first windows ever seen: a fault cannot become usual while it is judged.

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
from services.detector.objectives import DEFAULT_OBJECTIVE, Objective, objective_of
from services.detector.request_window import RequestWindow

BUCKETS_PER_WINDOW: Final = 120  # a window's edge is at most 0.8 % of it off
_LEAST_BAD: Final = 10.0
_NOW_WINDOWS: Final = 3
_FIRST_WINDOWS: Final = 6  # as many as other detectors learn from before they are heard
_USUAL_FACTOR: Final = 2.5  # the factor of error_ratio
_USUAL_DECAY: Final = 0.999  # per bucket: half of what is remembered is from the last six long windows


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
        first: (bad, all) of the first windows.
        before: Per alert: (bad, all) of what was before its long window, older ones weigh less.
    """

    first_ns: int = 0
    recent: list[tuple[float, float]] = field(default_factory=list)
    buckets: list[list[tuple[int, float, float]]] = field(default_factory=lambda: [[] for _ in ALERTS])
    first: list[tuple[float, float]] = field(default_factory=list)
    before: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0) for _ in ALERTS])


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
        self._assumed = options.objectives == (DEFAULT_OBJECTIVE,)

    def new_state(self) -> BurnRateState:
        """Nothing observed yet."""
        return BurnRateState()

    def judge(self, state: BurnRateState, seen: RequestWindow) -> Sequence[Finding]:
        """Check every alert with this window included."""
        objective = self._objective(seen)
        if objective is None:
            return ()
        bad, total = self._bad(objective, seen)
        for number, alert in enumerate(ALERTS):
            burn = self._burn(state, seen, number, (bad, total), objective)
            if burn is not None and min(burn) >= alert.burn:
                return (_finding(seen, objective, alert, burn[1], burn[2]),)
        return ()

    def _burn(
        self, state: BurnRateState, seen: RequestWindow, number: int, counts: tuple[float, float], objective: Objective
    ) -> tuple[float, float, float] | None:
        """Burn rates of an alert over the last windows, its long and its short one; None when too little is known."""
        alert, budget = ALERTS[number], 1.0 - objective.objective
        now = _plus(counts, *state.recent)
        long, covered_s = _sums(state, number, alert.long_s, seen)
        short, _ = _sums(state, number, alert.short_s, seen)
        long, short = _plus(long, counts), _plus(short, counts)
        if long[1] < objective.least_events or long[0] < _LEAST_BAD or now[1] <= 0:
            return None
        usual, upper = _usual(state, number) if self._assumed else (0.0, 0.0)
        if min(bad - _USUAL_FACTOR * upper * total for bad, total in (now, long, short)) < 0:
            return None
        whole = long[1] * max(1.0, alert.long_s / max(covered_s, seen.seconds))
        burn_now, burn_short = ((bad / total - usual) / budget for bad, total in (now, short))
        return burn_now, (long[0] - usual * long[1]) / whole / budget, burn_short

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
        if len(state.first) < _FIRST_WINDOWS and total > 0:
            state.first.append((bad, total))
        del state.recent[: -(_NOW_WINDOWS - 1)]
        for number, alert in enumerate(ALERTS):
            gone = _add(state.buckets[number], seen.start_ns // _bucket_ns(alert), bad, total)
            for _, old_bad, old_total in gone:
                known_bad, known_total = state.before[number]
                state.before[number] = (known_bad * _USUAL_DECAY + old_bad, known_total * _USUAL_DECAY + old_total)

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


def _add(
    buckets: list[tuple[int, float, float]], number: int, bad: float, total: float
) -> list[tuple[int, float, float]]:
    """Count a window in its bucket; the buckets that no window of the alert covers any more."""
    if buckets and buckets[-1][0] == number:
        _, known_bad, known_total = buckets[-1]
        buckets[-1] = (number, known_bad + bad, known_total + total)
        return []
    buckets.append((number, bad, total))
    gone = [bucket for bucket in buckets if bucket[0] < number - BUCKETS_PER_WINDOW]
    del buckets[: len(gone)]
    return gone


def _plus(counts: tuple[float, float], *others: tuple[float, float]) -> tuple[float, float]:
    return counts[0] + sum(bad for bad, _ in others), counts[1] + sum(total for _, total in others)


def _usual(state: BurnRateState, number: int) -> tuple[float, float]:
    """Share of bad requests before the long window of an alert, and its plausible upper edge.

    Two standard errors, and three over the number of requests: what may be usual where none of them has failed yet
    (Hanley and Lippman-Hand, "If nothing goes wrong, is everything all right?", JAMA 1983).
    """
    bad, total = _plus(state.before[number], *state.first)
    usual = bad / max(total, 1.0)
    return usual, usual + 2.0 * math.sqrt(usual * (1.0 - usual) / max(total, 1.0)) + 3.0 / max(total, 1.0)


def _sums(state: BurnRateState, number: int, length_s: float, seen: RequestWindow) -> tuple[tuple[float, float], float]:
    """Bad and all requests of the window of `length_s` before this one's end, and the seconds that were observed."""
    width_ns = _bucket_ns(ALERTS[number])
    since = (seen.end_ns - int(length_s * 1e9)) // width_ns
    inside = [(bad, total) for at, bad, total in state.buckets[number] if at >= since]
    covered_s = min(length_s, (seen.end_ns - (state.first_ns or seen.start_ns)) / 1e9)
    return _plus((0.0, 0.0), *inside), covered_s


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
