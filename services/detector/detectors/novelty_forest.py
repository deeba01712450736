"""A metric does what it never did: isolation forests on novelty features, from the series bank.

What is new is not yet what is wrong: deploys, cron jobs and busy hours are new too. So these anomalies are LOW, context
for incidents that other detectors open, and rise to MEDIUM only when they last and something else corroborates them.

Source: docs/detection.md; Liu, Ting and Zhou, "Isolation Forest", ICDM 2008.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from libs.contracts.anomaly import Contribution, Severity, Signal
from services.detector.detector import DETECTORS, DetectorOptions, Feed
from services.detector.figures import quantity
from services.detector.finding import Finding, Level
from services.detector.gauges import ScoredPoint

SUSTAINED_POINTS: Final = 6
_BAND_DEVIATIONS: Final = 4.0  # half width of the bank's band


@dataclass(slots=True)
class NoveltyState:
    """How long a series has been outside its band.

    Attributes:
        outside: Points in a row.
    """

    outside: int = 0


@DETECTORS.register("novelty_forest")
class NoveltyForest:
    """Judges scored points of every metric series."""

    name: ClassVar[str] = "novelty_forest"
    feed: ClassVar[Feed] = Feed.SCORES
    signals: ClassVar[frozenset[Signal]] = frozenset()
    least_windows: ClassVar[int] = 0  # the bank knows its own warm-up: 100 points
    open_after: ClassVar[int] = 1
    close_after: ClassVar[int] = 3
    knows_warmup: ClassVar[bool] = True
    state_type = NoveltyState

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options

    def new_state(self) -> NoveltyState:
        """Inside the band."""
        return NoveltyState()

    def judge(self, state: NoveltyState, seen: ScoredPoint) -> Sequence[Finding]:
        """An onset opens; being outside the band keeps it open."""
        if not is_outside(seen):
            return ()
        sustained = state.outside + 1 >= SUSTAINED_POINTS and seen.corroborated
        level = Level.STRONG if seen.is_anomaly else Level.LINGERING
        return (_finding(seen, level, Severity.MEDIUM if sustained else Severity.LOW),)

    def learn(self, state: NoveltyState, seen: ScoredPoint) -> None:
        """The bank learns by itself."""

    def note(self, state: NoveltyState, seen: ScoredPoint) -> None:
        """Count points outside the band."""
        state.outside = state.outside + 1 if is_outside(seen) else 0


def is_outside(seen: ScoredPoint) -> bool:
    """Whether a point lies outside its band on the side that hurts."""
    bad = seen.series.kind.bad
    return (seen.value > seen.upper and bad != "low") or (seen.value < seen.lower and bad != "high")


def _finding(seen: ScoredPoint, level: Level, severity: Severity) -> Finding:
    series, unit = seen.series, seen.series.unit
    spread = max((seen.upper - seen.lower) / (2 * _BAND_DEVIATIONS), 1e-12)
    return Finding(
        level=level,
        signal=series.kind.signal,
        metric=series.metric,
        statistic=series.statistic,
        unit=unit,
        attributes=series.attributes,
        severity=severity,
        score=min(1.0, max(0.0, seen.score)),
        observed=seen.value,
        expected=seen.expected,
        lower=seen.lower,
        upper=seen.upper,
        deviation=(seen.value - seen.expected) / spread,
        explanation=(
            f"{series.where} ({series.statistic}) is {quantity(seen.value, unit)} as never before, expected "
            f"{quantity(seen.lower, unit)} .. {quantity(seen.upper, unit)}"
        ),
        contributions=tuple(
            Contribution(feature=name, value=share, share=share)
            for name, share in sorted(seen.contributions, key=lambda item: -item[1])[:3]
            if share > 0
        ),
    )
