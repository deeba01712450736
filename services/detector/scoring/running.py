"""Running statistics in O(1) memory: moments, quantiles, the greatest value of a recent window.

Every estimate starts as an average over all points (rate 1/n) and forgets with rate 1/`MEMORY_POINTS` later on.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from services.detector.scoring.compiled import kernel

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

MEMORY_POINTS: Final = 20_000  # ten weeks of 5 minute points, two days of 10 s points
WINDOW_PEAKS: Final = 64


@kernel
def rate_of(points: int) -> float:
    """Weight of a new point after `points` points."""
    return 1.0 / min(points + 1, MEMORY_POINTS)


@kernel
def quantile_rate(points: int) -> float:
    """Share of a spread that a quantile estimate moves by at one point.

    Source: Robbins and Monro, "A stochastic approximation method", 1951; the rate n^-0.7 gets out of a bad start
    faster than 1/n, the floor 0.002 follows a series whose level changes within some hundred points.
    """
    return float(max((points + 1.0) ** -0.7, 0.002))


@kernel
def next_quantile(estimate: float, value: float, share: float, spread: float, rate: float) -> float:
    """Move a quantile estimate towards `value`; `spread` sets the step, `rate` is the point's `quantile_rate`."""
    step: float = 2.0 * spread * rate
    if value > estimate:
        return min(value, estimate + step * share)
    return max(value, estimate - step * (1.0 - share))


@kernel
def window_peak(peaks: Float32Array, order: Int64Array, head: int, size: int, oldest: int) -> tuple[float, int, int]:
    """Greatest value at or after point number `oldest`: (peak, head, size) after dropping what is older."""
    while size > 0 and order[head] < oldest:
        head = (head + 1) % WINDOW_PEAKS
        size -= 1
    if size == 0:
        return 0.0, head, size
    return float(peaks[head]), head, size


@kernel
def push_peak(peaks: Float32Array, order: Int64Array, head: int, size: int, number: int, value: float) -> int:
    """Add point `number` to a descending queue of peaks; its new size.

    A full queue (64 ever smaller peaks) keeps its last peak alive in the newcomer's place: the window's maximum may
    then be too high by the difference of two neighbouring peaks, never too low.
    """
    while size > 0 and peaks[(head + size - 1) % WINDOW_PEAKS] <= value:
        size -= 1
    if size == WINDOW_PEAKS:
        order[(head + size - 1) % WINDOW_PEAKS] = number
        return size
    at = (head + size) % WINDOW_PEAKS
    peaks[at] = value
    order[at] = number
    return size + 1
