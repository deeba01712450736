"""A partition whose telemetry is counted in windows of event time, each judged once when it is complete."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from libs.contracts.anomaly import AnomalyDetected
from services.detector.detector import Detector, DetectorOptions, Feed
from services.detector.engine import Engine, StoredSubject, of_feed
from services.detector.snapshot_codec import pack, unpack
from services.detector.watermark import AHEAD_NS, Watermark
from services.detector.window_clock import DueWindow, WindowClock

_FORGET_WINDOWS: Final = 720  # an hour of silence at 5 s: a renamed route or a retired callee leaves no windows behind
_MOST_KEYS: Final = 5_000


class OpenWindows(Protocol):
    """Windows that are not complete yet.

    Attributes:
        dropped: Items that came too late or from too far in the future.
    """

    dropped: int

    def first_number(self) -> int | None:
        """The oldest of them."""
        ...


class Memory(Protocol):
    """What a snapshot holds of every such partition.

    Attributes:
        watermark: Event time.
        clock: Window that is due next.
        windows: Open windows.
        subjects: What detectors know; filled for the snapshot alone.
    """

    watermark: Watermark
    clock: WindowClock
    subjects: dict[str, dict[str, StoredSubject]]

    @property
    def windows(self) -> OpenWindows:
        """Open windows."""
        ...


K = TypeVar("K", bound=Any)
M = TypeVar("M", bound=Memory)


class WindowedPartition(ABC, Generic[M]):
    """Closes windows as event time passes them, and snapshots.

    Args:
        memory: Empty.
        feed: Which detectors judge its windows.
        detectors: All of them.
        options: What they may be told.
        width_ns: Of a window.
        lateness_ns: How long after its end a window stays open.
    """

    def __init__(
        self,
        memory: M,
        feed: Feed,
        detectors: Sequence[Detector[Any, Any]],
        options: DetectorOptions,
        width_ns: int,
        lateness_ns: int,
    ) -> None:
        self.engine = Engine(detectors, options)
        self.memory = memory
        self._judges = of_feed(detectors, feed)
        self._width_ns, self._lateness_ns = width_ns, lateness_ns

    @abstractmethod
    def _close(self, due: DueWindow) -> list[AnomalyDetected]:
        """Judge one complete window of everybody."""

    def end(self) -> list[AnomalyDetected]:
        """Judge the windows that are complete in event time: nothing late will come."""
        return self._close_due(0)

    def _close_due(self, lateness_ns: int) -> list[AnomalyDetected]:
        memory, emitted = self.memory, list[AnomalyDetected]()
        for due in memory.clock.due(memory.watermark, self._width_ns, lateness_ns, memory.windows.first_number):
            emitted.extend(self._close(due))
        return emitted

    def _from_the_future(self, newest_ns: int, observed_ns: int, items: int) -> bool:
        """Whether a batch bears times that are ahead of its receipt; its items are counted as dropped."""
        if newest_ns <= observed_ns + AHEAD_NS:
            return False
        self.memory.windows.dropped += items
        return True

    def snapshot(self) -> bytes:
        """Everything that is remembered."""
        self.memory.subjects = self.engine.snapshot()
        content = pack(self.memory)
        self.memory.subjects = {}
        return content

    def restore(self, content: bytes) -> None:
        """Go on from a snapshot; `ValueError` when it does not fit."""
        memory = unpack(content, type(self.memory))
        self.engine.restore(memory.subjects)
        memory.subjects = {}
        self.memory = memory


def hear(last_heard: dict[K, int], heard: Iterable[K], number: int) -> None:
    """Note who was heard in a window; beyond 5,000 nobody new."""
    for key in heard:
        if key in last_heard or len(last_heard) < _MOST_KEYS:
            last_heard[key] = number


def present(last_heard: dict[K, int], number: int) -> Iterator[K]:
    """Who is judged in a window, in order: whoever was heard within the hour before it; the others are forgotten."""
    for key in sorted(last_heard):
        if number - last_heard[key] > _FORGET_WINDOWS:
            del last_heard[key]
        else:
            yield key
