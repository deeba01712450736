"""Local variance: is the series rougher or smoother than it has ever been over a window of 24 points?

The feature is the novelty of log(standard deviation of the last 24 points) among all earlier ones, in their standard
deviations: a flat line in a noisy series is as novel as noise in a flat one. 24 was the best of 8, 24 and 48 on NAB.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from services.detector.scoring.compiled import kernel

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]

WINDOW_POINTS: Final = 24


@kernel
def log_roughness(recent: Float32Array, points: int, newest: float, spread: float) -> float:
    """Log of the standard deviation over the last points and `newest`; 1 % of the series' spread is the floor.

    Args:
        recent: shape (WINDOW_POINTS,), ring of the last values; point number n lies at n % WINDOW_POINTS.
        points: Points taken so far.
    """
    count = min(points, WINDOW_POINTS - 1)
    last = points % WINDOW_POINTS - 1  # a negative position counts from the end, as the ring does
    mean = newest
    for back in range(count):
        mean += recent[last - back]
    mean /= count + 1
    total = (newest - mean) ** 2
    for back in range(count):
        total += (recent[last - back] - mean) ** 2
    return float(np.log(np.sqrt(total / (count + 1)) + 0.01 * spread + 1e-12))
