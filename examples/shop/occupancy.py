"""How full a pool is, averaged over time: a sample every five seconds would miss most of what happens between."""

import threading
import time
from collections.abc import Callable


class Occupancy:
    """Counts of busy workers and waiting callers, integrated over time. Safe between threads."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = size
        self._clock = clock
        self._lock = threading.Lock()
        self._busy = 0
        self._queued = 0
        self._busy_area = 0.0
        self._queued_area = 0.0
        self._at = clock()

    @property
    def queued(self) -> int:
        """Callers that wait for a worker now."""
        return self._queued

    def move(self, *, busy: int = 0, queued: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self._integrate()
            self._busy += busy
            self._queued += queued

    def areas(self) -> tuple[float, float, float]:
        """Now (seconds), busy worker-seconds and queued caller-seconds since the start."""
        with self._lock:
            self._integrate()
            return self._at, self._busy_area, self._queued_area

    def _integrate(self) -> None:
        now = self._clock()
        self._busy_area += self._busy * (now - self._at)
        self._queued_area += self._queued * (now - self._at)
        self._at = now


class MeanSinceLastRead:
    """Mean occupancy between two reads; each reader keeps its own."""

    def __init__(self, occupancy: Occupancy) -> None:
        self._occupancy = occupancy
        self._last = occupancy.areas()

    def read(self) -> tuple[float, float]:
        """Mean busy workers and mean waiting callers since the last read; two zeros when no time has passed."""
        then, self._last = self._last, self._occupancy.areas()
        elapsed_s = self._last[0] - then[0]
        if elapsed_s <= 0:
            return 0.0, 0.0
        return (self._last[1] - then[1]) / elapsed_s, (self._last[2] - then[2]) / elapsed_s
