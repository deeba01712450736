"""Metric points of many batches as series: one sort, each point once, then a slice of the columns for each series."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import numpy as np

from libs.contracts.columns import FloatArray, Int32Array, Int64Array
from libs.stores.telemetry import SeriesWindow, Window


class SeriesKey(NamedTuple):
    """What a series is, in the order in which series are listed; `attributes` is JSON with sorted keys."""

    service: str
    name: str
    statistic: str
    attributes: str
    instance: str
    unit: str


def series_windows(
    ids: Int32Array,
    times: Int64Array,
    points: FloatArray,
    described: Mapping[int, SeriesKey],
    window: Window,
    limit: int,
) -> list[SeriesWindow]:
    """Series with a point in the window, by their keys.

    Args:
        ids: Series of each point; points of series that are not described are left out.
        times: Unix nanoseconds of each point.
        points: Value of each point; of two for the same series and time the later one in the arrays counts.
        described: Series by id.
        window: Only points in it.
        limit: Most series.
    """
    kept = (times >= window.start_ns) & (times < window.end_ns)
    kept &= np.isin(ids, np.fromiter(described, np.int32, len(described)))
    ids, times, points = ids[kept], times[kept], points[kept]
    if not len(ids):
        return []
    order = np.lexsort((times, ids))  # stable: of equal times the one written last stays last
    ids, times, points = ids[order], times[order], points[order]
    # A point that two different batches carry (a sender's retry cut them elsewhere) counts once, the last one.
    last = np.append((ids[1:] != ids[:-1]) | (times[1:] != times[:-1]), True)
    ids, times, points = ids[last], times[last], points[last]
    begins = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
    ends = np.append(begins[1:], len(ids))
    extents = {int(ids[begin]): (begin, end) for begin, end in zip(begins, ends, strict=True)}
    ordered = sorted(extents, key=lambda number: described[number])
    return [
        SeriesWindow(
            service=key.service,
            name=key.name,
            statistic=key.statistic,
            attributes=msgspec.json.decode(key.attributes, type=dict[str, str]),
            instance=key.instance,
            unit=key.unit,
            timestamps_ns=times[begin:end],
            values=points[begin:end],
        )
        for key, (begin, end) in ((described[number], extents[number]) for number in ordered[: max(limit, 0)])
    ]
