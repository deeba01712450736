"""The metrics of one instance no longer move together: all of them scored as one vector.

Each metric may lie in its own band while their combination is new (CPU rises without requests). Always LOW: context for
incidents that other detectors open, MEDIUM only when it lasts and is corroborated.

Source: docs/detection.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from libs.contracts.anomaly import Contribution, Severity, Signal
from services.detector.detector import DETECTORS, DetectorOptions, Feed
from services.detector.figures import quantity
from services.detector.finding import Finding, Level
from services.detector.gauges import VectorScore

METRIC: Final = "instance.metrics"
_SUSTAINED_POINTS: Final = 6
_LINGERING_SCORE: Final = 0.5
_NAMED: Final = 3


@dataclass(slots=True)
class MultivariateState:
    """How long an instance has been anomalous.

    Attributes:
        anomalous: Vectors in a row.
    """

    anomalous: int = 0


@DETECTORS.register("multivariate")
class Multivariate:
    """Judges scored vectors of instances."""

    name: ClassVar[str] = "multivariate"
    feed: ClassVar[Feed] = Feed.VECTORS
    signals: ClassVar[frozenset[Signal]] = frozenset()
    least_windows: ClassVar[int] = 0  # the scorer knows its own warm-up
    open_after: ClassVar[int] = 2
    close_after: ClassVar[int] = 3
    knows_warmup: ClassVar[bool] = True
    state_type = MultivariateState

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options

    def new_state(self) -> MultivariateState:
        """Nothing anomalous."""
        return MultivariateState()

    def judge(self, state: MultivariateState, seen: VectorScore) -> Sequence[Finding]:
        """Two anomalous vectors in a row open; a high score keeps it open."""
        if not seen.is_anomaly and seen.score < _LINGERING_SCORE:
            return ()
        sustained = seen.is_anomaly and state.anomalous + 1 >= _SUSTAINED_POINTS and seen.corroborated
        level = Level.SUSPICIOUS if seen.is_anomaly else Level.LINGERING
        return (_finding(seen, level, Severity.MEDIUM if sustained else Severity.LOW),)

    def learn(self, state: MultivariateState, seen: VectorScore) -> None:
        """The scorer learns by itself."""

    def note(self, state: MultivariateState, seen: VectorScore) -> None:
        """Count anomalous vectors."""
        state.anomalous = state.anomalous + 1 if seen.is_anomaly else 0


def _finding(seen: VectorScore, level: Level, severity: Severity) -> Finding:
    named = ", ".join(f"{name} {quantity(value)}" for name, value, _ in seen.contributions[:_NAMED])
    where = seen.instance or seen.service
    return Finding(
        level=level,
        signal=Signal.OTHER,
        metric=METRIC,
        statistic="score",
        unit="1",
        attributes={"service.instance.id": seen.instance} if seen.instance else {},
        severity=severity,
        score=min(1.0, max(0.0, seen.score)),
        observed=seen.score,
        expected=0.0,
        lower=0.0,
        upper=_LINGERING_SCORE,
        deviation=seen.score / _LINGERING_SCORE,
        explanation=f"the metrics of {where} do not fit together as usual; most unusual: {named or 'no single one'}",
        contributions=tuple(
            Contribution(feature=name, value=value, share=share) for name, value, share in seen.contributions[:5]
        ),
    )
