"""What is ordinary: robust levels, and how far a value has left them."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from libs.contracts.columns import FloatArray, Int64Array
from services.investigator.levels import Level

MAD_TO_SIGMA: Final = 1.4826
# A spread below 5 % of the level is the silence of few points, not their precision.
_LEAST_RELATIVE_SPREAD: Final = 0.05
_TINY: Final = 1e-9
_RECENT_POINTS: Final = 5
_LEAST_ONSET_POINTS: Final = 10
_RARE: Final = 0.98


def level_of(values: FloatArray) -> Level:
    """Median and robust deviation; the deviation has a floor of 5 % of the median and is never 0."""
    return _level(np.sort(values))


def _level(ordered: FloatArray, resolution: float = 0.0) -> Level:
    """The level of values in rising order, its spread no smaller than their resolution.

    An incident has hundreds of series: sorting each once takes 37 us where numpy's medians and quantiles took 572 us.
    """
    if not len(ordered):
        return Level(median=0.0, spread=1.0, points=0)
    median = _middle(ordered)
    mad = _middle(np.sort(np.abs(ordered - median))) * MAD_TO_SIGMA
    floor = max(float(ordered[-1] - ordered[0]) * 0.01, resolution, _TINY)  # series that are nearly always one value
    return Level(median=median, spread=max(mad, abs(median) * _LEAST_RELATIVE_SPREAD, floor), points=len(ordered))


def _middle(ordered: FloatArray) -> float:
    """Median of at least one value in rising order."""
    upper = len(ordered) // 2
    return float(ordered[upper]) if len(ordered) % 2 else float(ordered[upper - 1] + ordered[upper]) / 2.0


def _quantile(ordered: FloatArray, share: float) -> float:
    """Quantile of at least one value in rising order, linear between its neighbours."""
    place = share * (len(ordered) - 1)
    lower = int(place)
    upper = min(lower + 1, len(ordered) - 1)
    return float(ordered[lower] + (ordered[upper] - ordered[lower]) * (place - lower))


def floor_of(values: FloatArray) -> Level:
    """The ordinary level of a cost with a hard floor, like that of a network: its lower quartile.

    What disturbs such a cost only ever adds to it, so the lower quartile stays right when up to three quarters of the
    baseline were disturbed already (an incident that was noticed late).
    """
    if not len(values):
        return Level(median=0.0, spread=1.0, points=0)
    quartile, least = float(np.quantile(values, 0.25, method="lower")), float(values.min())
    spread = max((quartile - least) * MAD_TO_SIGMA, abs(quartile) * _LEAST_RELATIVE_SPREAD, _TINY)
    return Level(median=quartile, spread=spread, points=len(values))


def nearest_level(values: FloatArray, *, upward: bool) -> float:
    """The level that a rise (or fall) must clear: the nearer of the long-run and the just-before median.

    A baseline recorded long before the incident drifts; what deviates from it but not from the minutes before the
    incident has not changed with the incident.
    """
    return ordinary_of(values).nearest(upward=upward)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordinary:
    """What a series used to be.

    Attributes:
        level: Median and spread.
        recent: Median of its last points.
        last: Its last value.
        low: Its 2nd percentile.
        high: Its 98th percentile.
    """

    level: Level
    recent: float
    last: float
    low: float
    high: float

    def nearest(self, *, upward: bool) -> float:
        """The level that a rise (or fall) must clear, as `nearest_level` says it."""
        return max(self.level.median, self.recent) if upward else min(self.level.median, self.recent)


def ordinary_of(before: FloatArray, resolution: float = 0.0) -> Ordinary:
    """What a series used to be, from at least one value in order of time.

    Args:
        before: Its values.
        resolution: The least difference that means something: 1 for a count of things.
    """
    ordered = np.sort(before)
    return Ordinary(
        level=_level(ordered, resolution),
        recent=_middle(np.sort(before[-_RECENT_POINTS:])),
        last=float(before[-1]),
        low=_quantile(ordered, 1.0 - _RARE),
        high=_quantile(ordered, _RARE),
    )


def deviation(before: Ordinary, now: FloatArray, bad: str) -> tuple[float, float]:
    """Worst value now, and its distance from the ordinary in spreads, positive in the direction that hurts.

    Args:
        before: What the series used to be.
        now: shape (m,), m >= 1.
        bad: high, low or both.
    """
    spread = before.level.spread
    high, low = float(now.max()), float(now.min())
    rise = (high - before.nearest(upward=True)) / spread
    fall = (before.nearest(upward=False) - low) / spread
    if bad == "high":
        return high, max(rise, 0.0)
    if bad == "low":
        return low, max(fall, 0.0)
    return (high, max(rise, 0.0)) if rise >= fall else (low, max(fall, 0.0))


def rarity(before: Ordinary, now: FloatArray, bad: str, *, steady: bool = False) -> float:
    """The sustained value now against the worst that used to happen, in the direction that hurts.

    1 is the 98th percentile of ordinary operation: spiky series (an idle JVM's cpu) are far from their median in
    spreads every minute without being rare.

    Args:
        steady: A quantity that stays where it is (memory): its last value before the incident is ordinary too.
    """
    sign, extreme = (-1.0, before.low) if bad == "low" else (1.0, before.high)
    reach = max(sign * (extreme - before.level.median), 2.0 * before.level.spread)
    half = np.sort(sign * now)[len(now) // 2 :]
    usual = sign * before.nearest(upward=sign > 0)
    if steady:
        usual = max(usual, sign * before.last)
    return max((float(half.mean()) - usual) / reach, 0.0)


def onset_ns(times_ns: Int64Array, values: FloatArray) -> int:
    """When a series left its ordinary level for good; 0 when its newest value has not left it.

    The level is that of the first 60 % of the points, so that a deviation that began before anybody noticed still
    counts as one; a point within three spreads of it ends the search backwards.
    """
    finite = np.isfinite(values)
    times_ns, values = times_ns[finite], values[finite]
    if len(values) < _LEAST_ONSET_POINTS:
        return 0
    level = level_of(values[: int(len(values) * 0.6)])
    ordinary = np.flatnonzero(np.abs(values - level.median) < 3.0 * level.spread)
    first = int(ordinary[-1]) + 1 if len(ordinary) else 0
    return int(times_ns[first]) if 0 < first < len(values) else 0


def slope(times_ns: Int64Array, values: FloatArray) -> float:
    """Robust slope per second (Theil-Sen on at most 60 points); 0 for fewer than 4.

    Source: Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", JASA 1968.
    """
    if len(values) < 4:
        return 0.0
    seconds = (times_ns[-60:] - times_ns[-1]) / 1e9
    points = values[-60:]
    left, right = np.triu_indices(len(points), 1)
    apart = seconds[right] - seconds[left]
    kept = apart > 0
    if not kept.any():
        return 0.0
    return float(np.median((points[right] - points[left])[kept] / apart[kept]))
