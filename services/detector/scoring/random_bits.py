"""A small random generator whose whole state is one array cell, so that a restored bank continues bit for bit.

Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (splitmix64).
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from services.detector.scoring.compiled import kernel

UInt64Array = npt.NDArray[np.uint64]

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_1: Final = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2: Final = np.uint64(0x94D049BB133111EB)
_SHIFT_30: Final = np.uint64(30)
_SHIFT_27: Final = np.uint64(27)
_SHIFT_31: Final = np.uint64(31)
_SHIFT_11: Final = np.uint64(11)


@kernel
def next_uniform(state: UInt64Array, cell: int) -> float:
    """Draw from [0, 1) with 53 random bits and advance `state[cell]`."""
    state[cell] = state[cell] + _GOLDEN
    z = state[cell]
    z = (z ^ (z >> _SHIFT_30)) * _MIX_1
    z = (z ^ (z >> _SHIFT_27)) * _MIX_2
    z = z ^ (z >> _SHIFT_31)
    return float(z >> _SHIFT_11) * (1.0 / 9007199254740992.0)


@kernel
def next_below(state: UInt64Array, cell: int, limit: int) -> int:
    """Draw a whole number from 0 to `limit` - 1 and advance `state[cell]`."""
    return min(limit - 1, int(next_uniform(state, cell) * limit))
