"""From novelty and deviation to one score in [0, 1], and when a point is worth an alarm.

Below 0.5 the score tells how far the series is from what was expected (every row has it). From 0.5 on the point is
*emitted*: more novel than anything within the refractory window. 0.75 is the novelty threshold: `is_anomaly`
and `score >= 0.75` are the same. Nothing is emitted before warm-up.

A series that alarms often must do more to alarm again: novelty is divided by 1 + 0.25 x (recent alarms, half forgotten
after 2,000 points). On the 29 open NAB files that is worth 0.3 to 1.3 points for half-lives of 1,000 to 5,000 points
and saves 30 % of the false alarms at the default threshold. Nothing is fitted: dividing by a high quantile of the
series' own past novelty, the obvious calibration, cost 7 points or more there.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from services.detector.scoring.compiled import kernel

FloatArray = npt.NDArray[np.float64]

EMISSION_SHARE: Final = 0.5  # of the threshold; below it a new peak is noise and keeps its deviation score
HABIT_WEIGHT: Final = 0.25
HABIT_DECAY: Final = 0.5 ** (1 / 2_000)
_SHORTEST: Final = 100
_LONGEST: Final = 400
_SHARE: Final = 0.05
_HALF_DEVIATION: Final = 1.5
_ORDINARY_LOG: Final = 1.3862943611198906  # log(1 + 3): up to three typical deviations are no evidence


@kernel
def refractory_points(points: int) -> int:
    """Width of the window that an emitted point must exceed: 5 % of the points seen, 100 to 400."""
    return int(min(max(_SHARE * points, _SHORTEST), _LONGEST))


@kernel
def deviation_score(smoothed_log: float) -> float:
    """Score of a point that is not emitted: in [0, 0.5), 0.25 at a mean log deviation of 1.5 (3.5 typical ones)."""
    return 0.5 * smoothed_log / (smoothed_log + _HALF_DEVIATION)


@kernel
def emitted_score(novelty: float, threshold: float) -> float:
    """Score of an emitted point: in [0.5, 1), 0.75 at the threshold."""
    return 0.5 + 0.5 * novelty / (novelty + threshold)


@kernel
def evidence(
    value_novelty: float,
    seasonal_novelty: float,
    threshold: float,
    logs: FloatArray,
    roughness_novelty: float,
    drift: float,
    shares: FloatArray,
) -> None:
    """Write how much each feature but the forest speaks for an anomaly; `shares_of` makes shares of it.

    Args:
        logs: log(1 + deviation) against the local level, three profiles and the overall distribution.
        shares: shape (7,), columns of `FEATURE_NAMES`.
    """
    shares[0] = np.log1p(value_novelty / threshold)
    profiles = max(logs[1], logs[2], logs[3])
    shares[1] = np.log1p(seasonal_novelty / threshold) + max(0.0, min(profiles, logs[0] + 1.0) - _ORDINARY_LOG)
    shares[2] = max(0.0, logs[0] - _ORDINARY_LOG)
    shares[3] = max(0.0, logs[4] - _ORDINARY_LOG)
    shares[4] = np.log1p(roughness_novelty)
    shares[5] = drift


@kernel
def shares_of(forest: float, shares: FloatArray) -> None:
    """Add the forest's evidence and divide by the sum, so that the shares add up to 1, or all are 0."""
    shares[6] = max(0.0, forest - 0.5)
    total = 0.0
    for k in range(shares.shape[0]):
        total += shares[k]
    if total > 0.0:
        for k in range(shares.shape[0]):
            shares[k] /= total
