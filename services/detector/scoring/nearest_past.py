"""Value novelty: how far a value lies from the nearest value that the series has shown before.

The past is kept as a net: sorted representatives, at most a fixed number of them. A value joins when it lies further
than `NET_TOLERANCE` spreads from the net; when the net is full the two closest inner representatives become one.
Both ends of the range are never given up. Unbounded, unlike a forest's score, which saturates outside its range.

Source: the conformal k-nearest-neighbour detector of Burnaev and Ishimtsev (2016) with k = 1 on single values.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from services.detector.scoring.compiled import comparing_kernel, kernel

FloatArray = npt.NDArray[np.float64]

NET_TOLERANCE: Final = 0.005  # of a spread: 1/40 of the default threshold, so the net's error cannot decide


@kernel
def find_place(net: FloatArray, size: int, value: float) -> int:
    """Index of the first representative that is not below `value`; `size` when all are."""
    low, left = 0, size
    while left > 1:  # without a branch on the comparison, which no processor can predict
        half = left >> 1
        low += half * (net[low + half - 1] < value)
        left -= half
    return low + left * (net[low] < value) if left else 0


@kernel
def distance_at(net: FloatArray, size: int, place: int, value: float) -> float:
    """Distance from `value` to its nearest representative; 0 for an empty net."""
    if size == 0:
        return 0.0
    nearest = np.inf
    if place < size:
        nearest = net[place] - value
    if place > 0:
        nearest = min(nearest, value - net[place - 1])
    return float(nearest)


@kernel
def insert_at(net: FloatArray, size: int, place: int, value: float) -> int:
    """Insert `value` before `place`, merging the closest inner pair when full; the new size."""
    capacity = net.shape[0]
    if size == capacity:
        if 0 < place < size:
            own_gap = min(net[place] - value, value - net[place - 1])
        else:
            own_gap = np.inf
        gap = _smallest_gap(net, size)
        if not gap < own_gap:
            return size
        closest = 1
        while net[closest + 1] - net[closest] != gap:
            closest += 1
        if place > closest:
            for k in range(closest, place - 1):
                net[k] = net[k + 1]
            net[place - 1] = value
        else:
            for k in range(closest, place, -1):
                net[k] = net[k - 1]
            net[place] = value
        return size
    for k in range(size, place, -1):
        net[k] = net[k - 1]
    net[place] = value
    return size + 1


@comparing_kernel
def _smallest_gap(net: FloatArray, size: int) -> float:
    """Smallest distance between neighbours; the ends stay, for they tell what is outside the range."""
    gap = np.inf
    for k in range(1, size - 1):
        gap = min(gap, net[k + 1] - net[k])
    return gap
