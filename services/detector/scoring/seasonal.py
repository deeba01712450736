"""Seasonal expectation: what the series showed at this time of day, of a working or free day, and of the week.

Three profiles (`PROFILES`): 48 half hours of the day, the same split into weekdays and weekends, 168 hours of the week
(UTC). A bin keeps its newest values, spread over the bin's width at any sampling interval; the expectation is the
median over the bin and its two neighbours, so one anomaly cannot become tomorrow's normal. Because the bins of the
current hour are filled too, a series without a past day is compared with its last hour. Averaging three profiles
instead of choosing one gained 2-3 points on the open NAB files.

Units: int64 unix nanoseconds; values relative to the series' offset.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from services.detector.scoring.compiled import kernel

Float32Array = npt.NDArray[np.float32]
FloatArray = npt.NDArray[np.float64]
Int16Array = npt.NDArray[np.int16]
Int64Array = npt.NDArray[np.int64]

PROFILES: Final = 3
DAY_NS: Final = 86_400 * 10**9
_HALF_HOUR_NS: Final = 1_800 * 10**9
_HOUR_NS: Final = 3_600 * 10**9
_EPOCH_WEEKDAY: Final = 3  # 1970-01-01 was a Thursday; Monday is 0
_DAY_BINS: Final = 48
_WEEK_BINS: Final = 168
_DAY_DEPTH: Final = 8
_WEEK_DEPTH: Final = 4
_SPACING_NS: Final = 225 * 10**9  # an eighth of a half hour: 1 s data then covers its bin as 5 min data does

BINS: Final = _DAY_BINS + 2 * _DAY_BINS + _WEEK_BINS
VALUES: Final = 3 * _DAY_BINS * _DAY_DEPTH + _WEEK_BINS * _WEEK_DEPTH
GATHERED: Final = 3 * _DAY_DEPTH


@kernel
def place_of(profile: int, time_ns: int) -> tuple[int, int, int, int, int, int]:
    """Where a moment falls: (bin, bins of the cycle, first bin, first value, values per bin, bin width in ns).

    The weekend's 48 bins are a cycle of their own, so Friday night never borders on Saturday morning.
    """
    weekday = (time_ns // DAY_NS + _EPOCH_WEEKDAY) % 7
    half_hour = (time_ns % DAY_NS) // _HALF_HOUR_NS
    if profile == 0:
        return half_hour, _DAY_BINS, 0, 0, _DAY_DEPTH, _HALF_HOUR_NS
    if profile == 1:
        part = 1 if weekday >= 5 else 0
        first = _DAY_BINS * (1 + part)
        return half_hour, _DAY_BINS, first, first * _DAY_DEPTH, _DAY_DEPTH, _HALF_HOUR_NS
    hour = weekday * 24 + (time_ns % DAY_NS) // _HOUR_NS
    return hour, _WEEK_BINS, 3 * _DAY_BINS, 3 * _DAY_BINS * _DAY_DEPTH, _WEEK_DEPTH, _HOUR_NS


@kernel
def expectation(
    profile: int,
    time_ns: int,
    values: Float32Array,
    counts: Int16Array,
    known: FloatArray,
    known_bin: Int64Array,
    fallback: float,
    gathered: Float32Array,
) -> float:
    """Median of the profile around a moment; `fallback` when nothing is known there.

    Args:
        values: shape (VALUES,), the series' profile values.
        counts: shape (BINS,), values ever taken per bin (kept below twice the depth).
        known: shape (PROFILES,), the last medians: at 5 s between points 44 of 45 are the one before.
        known_bin: shape (PROFILES,), bins that they belong to; -1 where a value has come since.
        gathered: shape (GATHERED,), scratch.
    """
    place, cycle, first_bin, first_value, depth, _ = place_of(profile, time_ns)
    if known_bin[profile] == first_bin + place:
        return float(known[profile])
    size = 0
    for step in (-1, 0, 1):
        slot = (place + step) % cycle
        for k in range(min(counts[first_bin + slot], depth)):
            value = values[first_value + slot * depth + k]
            at = size
            while at > 0 and gathered[at - 1] > value:
                gathered[at] = gathered[at - 1]
                at -= 1
            gathered[at] = value
            size += 1
    if size == 0:
        return fallback
    if size % 2:
        median = float(gathered[size // 2])
    else:
        median = 0.5 * (float(gathered[size // 2 - 1]) + float(gathered[size // 2]))
    known[profile], known_bin[profile] = median, first_bin + place
    return median


@kernel
def remember(
    profile: int,
    time_ns: int,
    value: float,
    values: Float32Array,
    counts: Int16Array,
    inserted_ns: Int64Array,
    known_bin: Int64Array,
) -> None:
    """Put a value into its bin, unless the bin took one less than 225 s ago.

    Args:
        inserted_ns: shape (PROFILES,), when each profile took its last value.
        known_bin: shape (PROFILES,), see `expectation`.
    """
    place, _, first_bin, first_value, depth, width_ns = place_of(profile, time_ns)
    bin_start_ns = time_ns - time_ns % width_ns
    fresh_bin = inserted_ns[profile] < bin_start_ns
    if not fresh_bin and time_ns - inserted_ns[profile] < _SPACING_NS:
        return
    count = counts[first_bin + place]
    values[first_value + place * depth + count % depth] = value
    counts[first_bin + place] = count + 1 if count + 1 < 2 * depth else depth
    inserted_ns[profile] = time_ns
    known_bin[profile] = -1
