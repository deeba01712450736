"""What a signal usually is: median and spread of its recent normal windows.

The memory of 120 windows (10 minutes at 5 s) follows slow drift; a median bears a contaminated start-up of up to half
of the windows. After a long gap the level may have drifted while the relative spread has not (PetShop: months between
normal operation and incident): the next two windows give the new level, the spread is kept. Where only one side hurts
the calmer of the two is the level: a fault that begins in the second one must not become what is normal.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

MEMORY_WINDOWS: Final = 120
REANCHOR_WINDOWS: Final = 2
_MAD_TO_SIGMA: Final = 1.4826  # of a normal distribution


@dataclass(slots=True)
class RobustLevel:
    """Recent normal values of one signal.

    Attributes:
        values: Newest last.
        reanchor: First values after a gap; None when there was none.
        middle: Median when it was last computed.
        spread: Robust standard deviation when it was last computed.
        bad_is_high: Whether only high values hurt.
        unfitted: Values since then; the figures are computed anew when an eighth of the values is new.
    """

    values: list[float] = field(default_factory=list)
    reanchor: list[float] | None = None
    middle: float = 0.0
    spread: float = 0.0
    unfitted: int = 0
    bad_is_high: bool = False

    def learn(self, value: float) -> None:
        """Add a normal value; NaN and infinite values teach nothing."""
        if not math.isfinite(value):
            return
        if self.reanchor is not None:
            self.reanchor.append(value)
            if len(self.reanchor) >= REANCHOR_WINDOWS:
                self._shift(min(self.reanchor) if self.bad_is_high else statistics.median(self.reanchor))
            return
        self.values.append(value)
        if len(self.values) > MEMORY_WINDOWS:
            del self.values[0]
        self.unfitted += 1
        if self.unfitted * 8 >= len(self.values):
            self._fit()

    def begin_reanchor(self) -> None:
        """Take the next two values as the new level."""
        if self.values:
            self.reanchor = []

    def _shift(self, level: float) -> None:
        old, self.reanchor = statistics.median(self.values), None
        if old > 0 and level > 0:
            self.values = [value * level / old for value in self.values]
        else:
            self.values = [value + level - old for value in self.values]
        self._fit()

    def _fit(self) -> None:
        ordered = sorted(self.values)
        half, odd = divmod(len(ordered), 2)
        self.middle = ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2
        self.spread = _MAD_TO_SIGMA * _median_distance(ordered, self.middle)
        self.unfitted = 0

    @property
    def ready(self) -> bool:
        """Whether the level is known now; False in the windows after a gap."""
        return self.reanchor is None and bool(self.values)

    def band(self, *, least_relative: float, width: float = 3.0) -> tuple[float, float, float, float]:
        """Median, spread, lower and upper edge.

        Args:
            least_relative: Least spread, as a part of the median: three equal values know no spread of their own.
            width: Half width in robust standard deviations.
        """
        spread = max(self.spread, least_relative * abs(self.middle), 1e-12)
        return self.middle, spread, self.middle - width * spread, self.middle + width * spread


def _median_distance(ordered: Sequence[float], middle: float) -> float:
    """Median absolute deviation of ordered values from their middle; 2 µs of 120 values where sorting anew takes 7."""
    half, odd = divmod(len(ordered), 2)
    upper = _least_reach(ordered, middle, half + 1)
    return upper if odd else (_least_reach(ordered, middle, half) + upper) / 2


def _least_reach(ordered: Sequence[float], middle: float, count: int) -> float:
    """Distance within which `count` of the values lie: they stand together, so a binary search finds where."""
    low, high = 0, len(ordered) - count
    while low < high:  # the first run of values whose far end is farther than its near one
        begin = (low + high) // 2
        if middle - ordered[begin] > ordered[begin + count - 1] - middle:
            low = begin + 1
        else:
            high = begin
    reach = max(middle - ordered[low], ordered[low + count - 1] - middle)
    if low:
        reach = min(reach, max(middle - ordered[low - 1], ordered[low + count - 2] - middle))
    return reach
