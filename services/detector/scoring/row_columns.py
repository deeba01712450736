"""What the two passes over a batch of rows read, leave for each other and write, in columns."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MALFORMED: Final = 0
LATE: Final = 1
LEARNED: Final = 2  # by its series; too young a series teaches its family nothing
TEACHES: Final = 3


class RowOutput(NamedTuple):
    """Where the kernel writes; the first axis is the row."""

    score: FloatArray
    is_anomaly: BoolArray
    expected: FloatArray
    lower: FloatArray
    upper: FloatArray
    contributions: FloatArray


class RowInput(NamedTuple):
    """Rows to score, and the orders in which to visit them.

    Attributes:
        slots: shape (n,), slot of each row.
        times_ns: shape (n,), unix nanoseconds.
        values: shape (n,).
        by_slot: shape (n,), rows of one series after the other, those of one series in order.
        by_family: shape (n,), rows of one family after the other, those of one family in order.
    """

    slots: npt.NDArray[np.int32]
    times_ns: Int64Array
    values: FloatArray
    by_slot: Int64Array
    by_family: Int64Array


class RowFacts(NamedTuple):
    """What the first pass leaves for the second; the first axis is the row.

    Attributes:
        role: What the row may teach: one of the constants above.
        deviation: Mean log deviation from what was expected.
        features: shape (n, FOREST_COLUMNS).
    """

    role: npt.NDArray[np.int8]
    deviation: FloatArray
    features: Float32Array
