"""New kinds of errors in the logs, and known ones that have become frequent.

Patterns of WARN and above are counted per window and compared with what is usual for as much work: ordinary records
(INFO and below) go with the requests, so a surge of traffic is no surge of errors. A service that logs nothing ordinary
is compared with the usual count per window. Warnings never rise above LOW: they are context.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from libs.contracts.anomaly import Contribution, Severity, Signal
from services.detector.detector import DETECTORS, DetectorOptions, Feed
from services.detector.figures import quantity
from services.detector.finding import Finding, Level
from services.detector.log_windows import ERROR, LogWindow, PatternCount
from services.detector.tail_probability import poisson_at_least, score_of

_FATAL: Final = 21
_P: Final = 1e-4
_LINGERING_P: Final = 0.01
_FACTOR: Final = 3.0
_LEAST_COUNT: Final = 5
_LEAST_NEW: Final = 3  # of an error that was never logged before: three in a window, and again in the next
_STRONG_NEW: Final = 10
_UNSEEN_PER_WINDOW: Final = 0.2  # what a pattern that was never seen may be expected to do
_DISPERSION: Final = 2.0  # one failure often logs two lines
_DECAY: Final = 0.99
_LEAST_ORDINARY: Final = 5.0  # ordinary records per window from which they stand for the work done
_MAX_FINDINGS: Final = 5
_MAX_PATTERNS: Final = 500


@dataclass(slots=True)
class LogPatternState:
    """Learned patterns of one service.

    Attributes:
        windows: Normal windows, older ones weigh less.
        ordinary: Ordinary records in them.
        counts: Records per pattern id in them; a pattern that is forgotten counts as new.
    """

    windows: float = 0.0
    ordinary: float = 0.0
    counts: dict[str, float] = field(default_factory=dict)


@DETECTORS.register("log_pattern")
class LogPattern:
    """Judges patterns of warnings and errors."""

    name: ClassVar[str] = "log_pattern"
    feed: ClassVar[Feed] = Feed.LOGS
    signals: ClassVar[frozenset[Signal]] = frozenset()
    least_windows: ClassVar[int] = 6
    open_after: ClassVar[int] = 2
    close_after: ClassVar[int] = 3
    knows_warmup: ClassVar[bool] = False
    state_type = LogPatternState

    def __init__(self, options: DetectorOptions) -> None:
        self._options = options

    def new_state(self) -> LogPatternState:
        """Nothing learned yet."""
        return LogPatternState()

    def judge(self, state: LogPatternState, seen: LogWindow) -> Sequence[Finding]:
        """The five most surprising patterns of the window."""
        found = [
            finding
            for pattern_id, counted in sorted(seen.patterns.items())
            if (finding := self._judge_pattern(state, seen, pattern_id, counted)) is not None
        ]
        return sorted(found, key=lambda finding: (-finding.level, -finding.score))[:_MAX_FINDINGS]

    def learn(self, state: LogPatternState, seen: LogWindow) -> None:
        """Add a normal window."""
        state.windows = state.windows * _DECAY + 1.0
        state.ordinary = state.ordinary * _DECAY + seen.ordinary
        for pattern_id in list(state.counts):
            state.counts[pattern_id] *= _DECAY
            if state.counts[pattern_id] < 1e-3:
                del state.counts[pattern_id]
        for pattern_id, counted in seen.patterns.items():
            if pattern_id in state.counts or len(state.counts) < _MAX_PATTERNS:
                state.counts[pattern_id] = state.counts.get(pattern_id, 0.0) + counted.count

    def note(self, state: LogPatternState, seen: LogWindow) -> None:
        """Nothing is kept of a single window."""

    def _judge_pattern(
        self, state: LogPatternState, seen: LogWindow, pattern_id: str, counted: PatternCount
    ) -> Finding | None:
        is_new = pattern_id not in state.counts
        expected = max(expected_count(state, seen, pattern_id), _UNSEEN_PER_WINDOW)
        p = poisson_at_least(counted.count, expected, _DISPERSION)
        level = _level(counted, expected, p, is_new=is_new)
        if level is Level.NORMAL:
            return None
        return _finding(seen, pattern_id, counted, level, expected, p, is_new=is_new)


def expected_count(state: LogPatternState, seen: LogWindow, pattern_id: str) -> float:
    """Records of a pattern that are usual for the work of this window."""
    known = state.counts.get(pattern_id, 0.0)
    if state.windows <= 0:
        return 0.0
    if state.ordinary / state.windows >= _LEAST_ORDINARY and seen.ordinary > 0:
        return known / state.ordinary * seen.ordinary
    return known / state.windows


def _level(counted: PatternCount, expected: float, p: float, *, is_new: bool) -> Level:
    if is_new and counted.severity >= _FATAL:
        return Level.STRONG
    if is_new and counted.severity >= ERROR and counted.count >= _STRONG_NEW:
        return Level.STRONG
    if is_new and counted.severity >= ERROR and counted.count >= _LEAST_NEW:
        return Level.SUSPICIOUS
    if counted.count >= _LEAST_COUNT and counted.count >= _FACTOR * expected and p < _P:
        return Level.SUSPICIOUS
    if counted.count >= 2 and p < _LINGERING_P:
        return Level.LINGERING
    return Level.NORMAL


def _severity(counted: PatternCount) -> Severity:
    if counted.severity >= _FATAL:
        return Severity.HIGH
    return Severity.MEDIUM if counted.severity >= ERROR else Severity.LOW


def _finding(
    seen: LogWindow, pattern_id: str, counted: PatternCount, level: Level, expected: float, p: float, *, is_new: bool
) -> Finding:
    upper = expected + 3.0 * (_DISPERSION * expected) ** 0.5
    kind = "error" if counted.severity >= ERROR else "warning"
    seconds = (seen.end_ns - seen.start_ns) / 1e9
    history = "never seen before" if is_new else f"expected at most {quantity(upper)}"
    return Finding(
        level=level,
        signal=Signal.LOGS,
        metric="log.records",
        statistic="count",
        unit="{record}",
        attributes={"log.pattern.id": pattern_id, "log.logger": counted.logger},
        severity=_severity(counted),
        score=score_of(p),
        observed=float(counted.count),
        expected=expected,
        lower=0.0,
        upper=upper,
        deviation=(counted.count - expected) / max((_DISPERSION * expected) ** 0.5, 0.5),
        explanation=(
            f'{seen.service} logged the {kind} "{counted.template[:160]}" {counted.count} times in '
            f"{quantity(seconds, 's')}, {history}"
        ),
        contributions=(
            Contribution(feature="new_pattern" if is_new else "pattern_rate", value=float(counted.count), share=1.0),
        ),
        trace_ids=tuple(counted.trace_ids),
    )
