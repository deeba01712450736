"""Axes: round ticks, and positions of values between two edges of a picture."""

import math
from dataclasses import dataclass
from typing import Final

_LEAST: Final = 1e-300  # a fraction of less is zero to a float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A linear axis.

    Attributes:
        low: Value at `start`.
        high: Value at `end`; above `low`.
        start: Position of `low` in units of the picture.
        end: Position of `high`.
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Position of a value, kept inside the axis."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)  # values that floats cannot tell apart
        return self.start + (self.end - self.start) * min(max(share, 0.0), 1.0)


def round_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """About `wanted` round values (1, 2 or 5 times a power of ten apart) from `low` to `high`, both reached.

    Source: Heckbert, "Nice numbers for graph labels", Graphics Gems, 1990.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or high - low < _LEAST:
        return [low if math.isfinite(low) else 0.0]
    raw = (high - low) / max(wanted, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor for factor in (1.0, 2.0, 5.0, 10.0) if raw <= factor * power * (1 + 1e-9)) * power
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, last + 1)]
