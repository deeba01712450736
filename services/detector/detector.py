"""What a detector is, and where detectors are found: one file each in services/detector/detectors/.

A detector judges what it is fed against a state of its own and learns from what is normal; the engine decides when it
may be heard (warm-up), when it may learn (not from anomalies) and turns what it says into episodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar, Final, Protocol, TypeVar, runtime_checkable

from libs.contracts.anomaly import Signal
from libs.registry import Registry
from services.detector.finding import Finding
from services.detector.objectives import DEFAULT_OBJECTIVE, Objective
from services.detector.thresholds import Threshold


class Feed(StrEnum):
    """What a detector is fed with, one observation at a time."""

    REQUESTS = "requests"  # RequestWindow of a service or call edge
    LOGS = "logs"  # LogWindow of a service
    GAUGES = "gauges"  # GaugePoint of one series of a resource
    SCORES = "scores"  # ScoredPoint of one series
    VECTORS = "vectors"  # VectorScore of one instance
    PRESENCE = "presence"  # Presence of a service


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorOptions:
    """What an operator may set.

    Attributes:
        warmup_s: Normal operation that a signal must show before it can be anomalous.
        window_s: Width of windows over spans and logs.
        objectives: SLOs, most specific first.
        thresholds: Static thresholds.
    """

    warmup_s: float = 45.0
    window_s: float = 5.0
    objectives: tuple[Objective, ...] = (DEFAULT_OBJECTIVE,)
    thresholds: tuple[Threshold, ...] = ()


State = TypeVar("State")
Observation = TypeVar("Observation", contravariant=True)


class Detector(Protocol[State, Observation]):
    """One way to notice that something is wrong.

    Attributes:
        name: Name in anomalies, docs and the registry; also the file's name.
        feed: What it is fed.
        signals: What it judges of an observation that carries several; empty for all of it.
        least_windows: Normal observations that it must have learned before it is heard.
        open_after: Suspicious windows in a row that open an episode.
        close_after: Normal windows in a row that close it.
        knows_warmup: Whether it keeps the warm-up by itself, because it is not fed with all of what is normal.
        state_type: Dataclass of its state per subject; msgspec stores it in snapshots.
    """

    name: ClassVar[str]
    feed: ClassVar[Feed]
    signals: ClassVar[frozenset[Signal]]
    least_windows: ClassVar[int]
    open_after: ClassVar[int]
    close_after: ClassVar[int]
    knows_warmup: ClassVar[bool]
    state_type: type[State]

    def new_state(self) -> State:
        """State of a subject that was never seen before."""
        ...

    def judge(self, state: State, seen: Observation) -> Sequence[Finding]:
        """Say what is not normal; a pure function of both. A signal that is not mentioned is normal."""
        ...

    def learn(self, state: State, seen: Observation) -> None:
        """Take an observation as normal."""
        ...

    def note(self, state: State, seen: Observation) -> None:
        """Remember an observation whatever it was, after it was judged: for sums and runs over several windows."""
        ...


@runtime_checkable
class Sieving(Protocol):
    """A detector that sees at a glance that an observation is the beginning of nothing; most are, so it saves time."""

    def begins_nothing(self, state: Any, seen: Any) -> bool:
        """Whether `judge` would find nothing of at least SUSPICIOUS; asked while no episode is open or suspected."""
        ...


class DetectorFactory(Protocol):
    """Makes a detector from the operator's options; a detector class is one."""

    def __call__(self, options: DetectorOptions) -> Detector[Any, Any]:
        """Build the detector."""
        ...


DETECTORS: Final[Registry[DetectorFactory]] = Registry("detector")


@dataclass(slots=True)
class Memory:
    """Recent raw counts that a detector keeps of every window, anomalous or not, newest last.

    Attributes:
        recent: Pairs of (count, total).
    """

    recent: list[tuple[float, float]] = field(default_factory=list)

    def remember(self, count: float, total: float, *, windows: int) -> None:
        """Keep one more pair, at most `windows` of them."""
        self.recent.append((count, total))
        del self.recent[:-windows]
