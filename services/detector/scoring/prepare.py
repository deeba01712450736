"""Compile the kernels before the first point arrives, so that no telemetry waits for a compiler.

On a new machine, or after a change of these sources, this takes 20 to 40 s of one core, later about a second (loading
the cached machine code). Left to the first message it held back every anomaly for minutes on a busy machine.
"""

from time import perf_counter

import numpy as np

from services.detector.scoring.forest import Forest
from services.detector.scoring.series_bank import SeriesBank


def prepare() -> float:
    """Call every entry kernel once with the types that live telemetry has; the seconds that it took."""
    began_s = perf_counter()
    bank = SeriesBank()
    slot = bank.slot("prepare", "prepare")
    bank.update(np.full(2, slot, np.int32), np.array([1, 2], np.int64), np.array([0.0, 1.0]))
    rows = np.arange(8.0).reshape(4, 2)
    Forest.fit(rows, seed=1, trees=1).score(rows)
    return perf_counter() - began_s
