"""Drift: has the level moved and stayed, by too little per point to look novel?

Two-sided Page-Hinkley test on the standardised value. Source: Page, "Continuous inspection schemes", Biometrika 1954.
"""

from typing import Final

from services.detector.scoring.compiled import kernel

ALLOWANCE: Final = 0.5  # standard deviations per point that are ordinary: half of the smallest shift worth finding, 1
LIMIT: Final = 50.0  # the sum stops here, so a series is back to ordinary within 100 points of its return


@kernel
def next_sums(rising: float, falling: float, deviation: float) -> tuple[float, float]:
    """The two sums after a deviation in standard deviations, clipped at 3 so that one spike is no drift."""
    clipped = max(-3.0, min(3.0, deviation))
    return (
        min(LIMIT, max(0.0, rising + clipped - ALLOWANCE)),
        min(LIMIT, max(0.0, falling - clipped - ALLOWANCE)),
    )
