"""Value novelty: how far a value lies from the nearest value that the series has shown before.

The past is kept as a net: sorted representatives, at most a fixed number of them. A value joins when it lies further
than `NET_TOLERANCE` spreads from the net; when the net is full the two closest inner representatives become one.
Both ends of the range are never given up. Unbounded, unlike a forest's score, which saturates outside its range.

Source: the conformal k-nearest-neighbour detector of Burnaev and Ishimtsev (2016) with k = 1 on single values.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from services.detector.scoring.compiled import kernel

FloatArray = npt.NDArray[np.float64]

NET_TOLERANCE: Final = 0.005  # of a spread: 1/40 of the default threshold, so the net's error cannot decide


@kernel
def find_place(net: FloatArray, size: int, value: float) -> int:
    """Index of the first representative that is not below `value`; `size` when all are."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if net[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


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
        closest, gap = -1, own_gap
        for k in range(1, size - 1):  # the ends stay: they tell what is outside the range
            width = net[k + 1] - net[k]
            if width < gap:
                closest, gap = k, width
        if closest < 0:
            return size
        for k in range(closest, size - 1):
            net[k] = net[k + 1]
        size -= 1
        if place > closest:
            place -= 1
    for k in range(size, place, -1):
        net[k] = net[k - 1]
    net[place] = value
    return size + 1
