"""Kernels are compiled before telemetry arrives."""

from typing import Any

import numpy as np

from services.detector.scoring.forest import _fit_rows, _score_rows
from services.detector.scoring.prepare import prepare
from services.detector.scoring.row_kernel import score_rows
from services.detector.scoring.series_bank import SeriesBank


def compiled() -> list[int]:
    kernels: tuple[Any, ...] = (_fit_rows, _score_rows, score_rows)
    return [len(kernel.signatures) for kernel in kernels]


def test_nothing_is_left_to_compile_when_points_arrive() -> None:
    assert prepare() > 0
    known = compiled()
    assert all(known)
    bank = SeriesBank()
    slots = np.array([bank.slot(f"series {number}", "family") for number in range(3)], np.int32)
    for at in range(400):  # beyond warm-up and the first forest
        bank.update(slots, np.full(3, at * 10**9, np.int64), np.array([1.0, 2.0, float(at % 7)]))
    assert compiled() == known
