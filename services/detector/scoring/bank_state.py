"""The arrays behind a SeriesBank: one row per slot, one per family; about 18 kB a series.

Columns of `floats` and `ints` are named by the constants below. Values are kept relative to the series' first value
(`OFFSET`), so float32 is enough where a distribution is kept: a gauge at 8e9 that moves by 4096 loses nothing.
"""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from services.detector.scoring.forest import TREES
from services.detector.scoring.forest_walk import CUTS, LEAVES
from services.detector.scoring.local_variance import WINDOW_POINTS
from services.detector.scoring.running import WINDOW_PEAKS
from services.detector.scoring.seasonal import BINS, PROFILES, VALUES

NET_VALUES: Final = 256
ROUGHNESS_NET_VALUES: Final = 64
STREAMS: Final = 4  # predictors: the local level and the three seasonal profiles
FOREST_COLUMNS: Final = 8
SAMPLE_ROWS: Final = 1_024
FIRST_FIT_ROWS: Final = 256

OFFSET: Final = 0
MEAN: Final = 1
VARIANCE: Final = 2
LEVEL: Final = 3
MEDIAN: Final = 4
LOWER_QUARTILE: Final = 5
UPPER_QUARTILE: Final = 6
MEAN_DEVIATION: Final = 7
ROUGHNESS_MEAN: Final = 8
ROUGHNESS_VARIANCE: Final = 9
RISING: Final = 10
FALLING: Final = 11
SMOOTHED: Final = 12
HABIT: Final = 13
SQUARE: Final = 14  # + stream: mean square of the stream's residual
ERROR: Final = SQUARE + STREAMS  # + stream: recent mean |residual|
TYPICAL: Final = ERROR + STREAMS  # + stream: 60 % quantile of |residual|
FLOATS: Final = TYPICAL + STREAMS

POINTS: Final = 0
LAST_NS: Final = 1
LATE_RUN: Final = 2
MALFORMED: Final = 3
LATE: Final = 4
PEAK_HEAD: Final = 5
PEAK_SIZE: Final = 6
ROUGHNESS_NET_SIZE: Final = 7
FAMILY: Final = 8
NET_SIZE: Final = 9  # + stream; stream 0 is the value itself
INTS: Final = NET_SIZE + STREAMS

FAMILY_ROWS: Final = 0
FAMILY_NEXT_FIT: Final = 1
FAMILY_INTS: Final = 2


class SlotArrays(NamedTuple):
    """State per series; the first axis is the slot."""

    floats: npt.NDArray[np.float64]
    ints: npt.NDArray[np.int64]
    nets: npt.NDArray[np.float64]
    roughness_net: npt.NDArray[np.float64]
    profile_values: npt.NDArray[np.float32]
    profile_counts: npt.NDArray[np.int16]
    profile_ns: npt.NDArray[np.int64]
    profile_known: npt.NDArray[np.float64]
    profile_known_bin: npt.NDArray[np.int64]
    recent: npt.NDArray[np.float32]
    peaks: npt.NDArray[np.float32]
    peak_order: npt.NDArray[np.int64]


class FamilyArrays(NamedTuple):
    """State per metric family: a sample of feature rows and the forest fitted on it; the first axis is the family."""

    ints: npt.NDArray[np.int64]
    sample: npt.NDArray[np.float32]
    feature: npt.NDArray[np.int8]
    threshold: npt.NDArray[np.float32]
    path: npt.NDArray[np.float64]
    normaliser: npt.NDArray[np.float64]
    rng: npt.NDArray[np.uint64]


def new_slots(count: int) -> SlotArrays:
    """Arrays for `count` series that have seen nothing."""
    slots = SlotArrays(
        floats=np.zeros((count, FLOATS), np.float64),
        ints=np.zeros((count, INTS), np.int64),
        nets=np.zeros((count, STREAMS, NET_VALUES), np.float64),
        roughness_net=np.zeros((count, ROUGHNESS_NET_VALUES), np.float64),
        profile_values=np.zeros((count, VALUES), np.float32),
        profile_counts=np.zeros((count, BINS), np.int16),
        profile_ns=np.zeros((count, PROFILES), np.int64),
        profile_known=np.zeros((count, PROFILES), np.float64),
        profile_known_bin=np.zeros((count, PROFILES), np.int64),
        recent=np.zeros((count, WINDOW_POINTS), np.float32),
        peaks=np.zeros((count, WINDOW_PEAKS), np.float32),
        peak_order=np.zeros((count, WINDOW_PEAKS), np.int64),
    )
    clear_slots(slots, slice(None))
    return slots


def clear_slots(slots: SlotArrays, which: slice) -> None:
    """Make slots as good as new; nets and rings need no clearing, their sizes are."""
    slots.floats[which] = 0.0
    slots.ints[which] = 0
    slots.ints[which, LAST_NS] = np.iinfo(np.int64).min
    slots.profile_counts[which] = 0
    slots.profile_known_bin[which] = -1
    slots.profile_ns[which] = np.iinfo(np.int64).min // 2


def new_families(count: int, *, seed: int) -> FamilyArrays:
    """Arrays for `count` families without a forest."""
    families = FamilyArrays(
        ints=np.zeros((count, FAMILY_INTS), np.int64),
        sample=np.zeros((count, SAMPLE_ROWS, FOREST_COLUMNS), np.float32),
        feature=np.zeros((count, TREES, CUTS), np.int8),
        threshold=np.zeros((count, TREES, CUTS), np.float32),
        path=np.zeros((count, TREES, LEAVES), np.float64),
        normaliser=np.zeros(count, np.float64),
        rng=np.full(count, seed, np.uint64),
    )
    families.ints[:, FAMILY_NEXT_FIT] = FIRST_FIT_ROWS
    return families
