"""What is ordinary: robust levels, and how far a value has left them."""

from typing import Final

import numpy as np

from libs.contracts.columns import FloatArray, Int64Array
from services.investigator.evidence import Level

MAD_TO_SIGMA: Final = 1.4826
# A spread below 5 % of the level is the silence of few points, not their precision.
_LEAST_RELATIVE_SPREAD: Final = 0.05
_TINY: Final = 1e-9
_RECENT_POINTS: Final = 5
_LEAST_ONSET_POINTS: Final = 10


def level_of(values: FloatArray) -> Level:
    """Median and robust deviation; the deviation has a floor of 5 % of the median and is never 0."""
    if not len(values):
        return Level(median=0.0, spread=1.0, points=0)
    median = float(np.median(values))
    mad = float(np.median(np.abs(values - median))) * MAD_TO_SIGMA
    return Level(
        median=median, spread=max(mad, abs(median) * _LEAST_RELATIVE_SPREAD, _scale(values)), points=len(values)
    )


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


def _scale(values: FloatArray) -> float:
    """A floor for series that are nearly always one value: 1 % of their range, else a billionth."""
    return max(float(values.max() - values.min()) * 0.01, _TINY)


def nearest_level(values: FloatArray, *, upward: bool) -> float:
    """The level that a rise (or fall) must clear: the nearer of the long-run and the just-before median.

    A baseline recorded long before the incident drifts; what deviates from it but not from the minutes before the
    incident has not changed with the incident.
    """
    long_run, recent = float(np.median(values)), float(np.median(values[-_RECENT_POINTS:]))
    return max(long_run, recent) if upward else min(long_run, recent)


def deviation(before: FloatArray, now: FloatArray, bad: str) -> tuple[float, float]:
    """Worst value now, and its distance from the ordinary in spreads, positive in the direction that hurts.

    Args:
        before: shape (n,), n >= 1.
        now: shape (m,), m >= 1.
        bad: high, low or both.
    """
    spread = level_of(before).spread
    high, low = float(now.max()), float(now.min())
    rise = (high - nearest_level(before, upward=True)) / spread
    fall = (nearest_level(before, upward=False) - low) / spread
    if bad == "high":
        return high, max(rise, 0.0)
    if bad == "low":
        return low, max(fall, 0.0)
    return (high, max(rise, 0.0)) if rise >= fall else (low, max(fall, 0.0))


def rarity(before: FloatArray, now: FloatArray, bad: str, *, steady: bool = False) -> float:
    """The sustained value now against the worst that used to happen, in the direction that hurts.

    1 is the 98th percentile of ordinary operation: spiky series (an idle JVM's cpu) are far from their median in
    spreads every minute without being rare.

    Args:
        steady: A quantity that stays where it is (memory): its last value before the incident is ordinary too.
    """
    if bad == "low":
        before, now = -before, -now
    level = level_of(before)
    reach = max(float(np.quantile(before, 0.98)) - level.median, 2.0 * level.spread)
    half = np.sort(now)[len(now) // 2 :]
    usual = max(nearest_level(before, upward=True), float(before[-1]) if steady else -np.inf)
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
