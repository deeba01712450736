"""A service that used to speak has stopped while others go on.

Metrics come at a steady interval, so three missing ones say enough; spans come at random, so silence must last until a
dozen were expected (a gap that chance gives once in 160,000: e to the minus 12). When everybody stops at once, or more
stop together than go on, it is the pipeline, the load or the end of a recording, and nobody is accused.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from libs.contracts.anomaly import Contribution, Severity, Signal
from services.detector.detector import DETECTORS, DetectorOptions, Feed
from services.detector.figures import quantity
from services.detector.finding import Finding, Level

LEAST_SILENCE_S: Final = 20.0  # a restart of an instance takes seconds, its exporter's first interval too
_MISSED_INTERVALS: Final = 3.0
_MISSED_SPANS: Final = 12.0
_LEAST_STEADY: Final = 8  # messages from which an interval is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """When a service was last heard of on one topic.

    Attributes:
        service: service.name.
        topic: What it sent: metrics or spans.
        alive_since_ns: Since when it has spoken without a long gap.
        last_ns: Event time of the last thing it said.
        others_ns: Event time that services which spoke all the while have reached; 0 when there are none.
        others: How many they are.
        interval_s: Usual time between two messages' event times.
        rate_per_s: Usual spans per second; 0 for metrics.
        messages: Messages so far.
    """

    service: str
    topic: str
    alive_since_ns: int
    last_ns: int
    others_ns: int
    others: int
    interval_s: float
    rate_per_s: float
    messages: int

    @property
    def start_ns(self) -> int:
        """Since when it is silent."""
        return self.last_ns

    @property
    def end_ns(self) -> int:
        """The moment at which its silence became too long, not the moment at which somebody looked."""
        allowed_ns = int(longest_silence_s(self) * 1e9)
        return self.last_ns + (allowed_ns if self.others_ns - self.last_ns >= allowed_ns else 0)


@dataclass(slots=True)
class SilenceState:
    """Nothing: presence itself is the state."""


@DETECTORS.register("silence")
class Silence:
    """Judges when services were last heard of."""

    name: ClassVar[str] = "silence"
    feed: ClassVar[Feed] = Feed.PRESENCE
    signals: ClassVar[frozenset[Signal]] = frozenset()
    least_windows: ClassVar[int] = 0
    open_after: ClassVar[int] = 3  # looks, a second apart: one partition may be read a moment before another
    close_after: ClassVar[int] = 1
    knows_warmup: ClassVar[bool] = True
    state_type = SilenceState

    def __init__(self, options: DetectorOptions) -> None:
        self._warmup_s = options.warmup_s

    def new_state(self) -> SilenceState:
        """Nothing to keep."""
        return SilenceState()

    def judge(self, state: SilenceState, seen: Presence) -> Sequence[Finding]:
        """Compare how long a service is silent with how long it may be."""
        silent_s = (seen.others_ns - seen.last_ns) / 1e9
        spoke_s = (seen.last_ns - seen.alive_since_ns) / 1e9
        allowed_s = longest_silence_s(seen)
        steady = seen.messages >= _LEAST_STEADY and spoke_s >= self._warmup_s and seen.others >= 1
        if not steady or not math.isfinite(allowed_s) or silent_s < allowed_s:
            return ()
        return (
            Finding(
                level=Level.SUSPICIOUS,
                signal=Signal.SILENCE,
                metric=f"{seen.topic}.presence",
                statistic="age",
                unit="s",
                severity=Severity.HIGH,
                score=min(1.0, 1.0 - 0.5 ** (silent_s / allowed_s)),
                observed=allowed_s,
                expected=seen.interval_s,
                lower=0.0,
                upper=allowed_s,
                deviation=allowed_s / max(seen.interval_s, 1e-9),
                explanation=(
                    f"{seen.service} has sent no {seen.topic} for {quantity(allowed_s, 's')} while {seen.others} other "
                    f"services went on; it used to send some every {quantity(seen.interval_s, 's')}"
                ),
                contributions=(Contribution(feature="silence_s", value=allowed_s, share=1.0),),
            ),
        )

    def learn(self, state: SilenceState, seen: Presence) -> None:
        """Nothing to learn."""

    def note(self, state: SilenceState, seen: Presence) -> None:
        """Nothing to keep."""


def longest_silence_s(seen: Presence) -> float:
    """How long a service may be silent."""
    if seen.rate_per_s > 0:
        by_rate = _MISSED_SPANS / seen.rate_per_s
        return max(LEAST_SILENCE_S, by_rate, _MISSED_INTERVALS * seen.interval_s)
    return max(LEAST_SILENCE_S, (_MISSED_INTERVALS + 0.5) * seen.interval_s)
