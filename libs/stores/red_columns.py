"""Rate, errors and duration from columns of spans: one sort, then sums and percentiles of every group at once."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.contracts.columns import FloatArray, Int64Array

_QUANTILES: Final = (0.5, 0.95, 0.99)
_NS: Final = 1e9

RedColumns = tuple[int, int, int, int, float, float, float, float]


def red_columns(
    entity: Int64Array, ends: Int64Array, durations: Int64Array, failed: npt.NDArray[np.bool_], step_ns: int
) -> Iterator[RedColumns]:
    """Aggregate spans by entity and step.

    Args:
        entity: What each span belongs to, small numbers from 0.
        ends: Unix nanoseconds; they decide the step.
        durations: Nanoseconds.
        failed: Whether the span failed.
        step_ns: Width of the steps, which start at its multiples.
    Returns:
        entity, start of the step in unix nanoseconds, requests, errors, sum of durations in seconds, and the 50th,
        95th and 99th percentile in seconds (linear between the nearest two durations), for each step with a span.
    """
    if not len(entity):
        return iter(())
    steps = ends // step_ns
    first_step = int(steps.min())
    width = int(steps.max()) - first_step + 1
    code = entity * width + (steps - first_step)
    order = np.lexsort((durations, code))
    code, seconds = code[order], durations[order] / _NS
    begins = np.flatnonzero(np.concatenate(([True], code[1:] != code[:-1])))
    counts = np.diff(np.append(begins, len(code)))
    groups = code[begins]
    percentiles = [_percentile(seconds, begins, counts, quantile) for quantile in _QUANTILES]
    return zip(
        (groups // width).tolist(),
        ((groups % width + first_step) * step_ns).tolist(),
        counts.tolist(),
        np.add.reduceat(failed[order].astype(np.int64), begins).tolist(),
        np.add.reduceat(seconds, begins).tolist(),
        *(column.tolist() for column in percentiles),
        strict=True,
    )


def _percentile(seconds: FloatArray, begins: Int64Array, counts: Int64Array, quantile: float) -> FloatArray:
    place = quantile * (counts - 1)
    lower = np.floor(place).astype(np.int64)
    upper = np.minimum(lower + 1, counts - 1)
    low, high = seconds[begins + lower], seconds[begins + upper]
    interpolated: FloatArray = low + (high - low) * (place - lower)
    return interpolated
