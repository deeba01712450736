"""Which windows of a partition are due: in order, each once, without counting through a gap of months."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from services.detector.watermark import Watermark

GAP_WINDOWS: Final = 60  # five minutes at 5 s: empty windows up to here say that nothing happened, beyond it nothing


@dataclass(frozen=True, slots=True)
class DueWindow:
    """A window to close.

    Attributes:
        number: Event time // width.
        after_gap_ns: Time since the window before, when some were skipped; 0 otherwise.
    """

    number: int
    after_gap_ns: int


@dataclass(slots=True)
class WindowClock:
    """Position in the sequence of windows.

    Attributes:
        next_number: The first window that is still open; -1 before the first batch.
    """

    next_number: int = -1

    def begin(self, first_number: int, newest_number: int) -> None:
        """Start at the oldest window of the first batch, at most a gap before its newest."""
        if self.next_number < 0:
            self.next_number = max(first_number, newest_number - GAP_WINDOWS)

    def due(
        self, watermark: Watermark, width_ns: int, lateness_ns: int, first_open: Callable[[], int | None]
    ) -> Iterator[DueWindow]:
        """Windows that the watermark has passed; those of a gap in which nothing is open are skipped."""
        end = watermark.closed_until_ns(lateness_ns) // width_ns
        while self.next_number < end:
            skipped, open_number = 0, first_open()
            resume = end - 1 if open_number is None else min(open_number, end - 1)
            if resume - self.next_number > GAP_WINDOWS:
                skipped, self.next_number = resume - self.next_number, resume
            number, self.next_number = self.next_number, self.next_number + 1
            yield DueWindow(number, skipped * width_ns)
