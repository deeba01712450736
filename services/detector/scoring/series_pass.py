"""The first pass over rows: all that the series of a row alone decides, and what its series learns from it."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from services.detector.scoring import bank_state as at
from services.detector.scoring.calibration import (
    EMISSION_SHARE,
    HABIT_DECAY,
    HABIT_WEIGHT,
    emitted_score,
    evidence,
    refractory_points,
)
from services.detector.scoring.compiled import kernel
from services.detector.scoring.drift import LIMIT, next_sums
from services.detector.scoring.local_variance import WINDOW_POINTS, log_roughness
from services.detector.scoring.nearest_past import NET_TOLERANCE, distance_at, find_place, insert_at
from services.detector.scoring.row_columns import LATE, LEARNED, TEACHES, RowFacts, RowInput, RowOutput
from services.detector.scoring.running import next_quantile, push_peak, quantile_rate, rate_of, window_peak
from services.detector.scoring.seasonal import GATHERED, PROFILES, expectation, remember

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

VALUE_LIMIT: Final = 1e30  # squares of larger values leave float32 and float64; such a value counts as malformed
LATE_RUN_LIMIT: Final = 64  # so many late points in a row mean that the clock was wrong before, not now
LEVEL_RATE: Final = 0.1
ERROR_RATE: Final = 0.005
NORMAL_WIDTH: Final = 1.19  # standard deviations per 60 % quantile of |x| for a normal x


class RowScratch(NamedTuple):
    """Reused between rows: allocated once per batch."""

    residuals: FloatArray
    logs: FloatArray
    places: Int64Array
    gathered: Float32Array


@kernel
def _spread_floor(floats: FloatArray, x: float) -> float:
    """The smallest spread that counts: 1e-7 of the magnitude, what a float32 exporter rounds to."""
    return 1e-9 + 1e-7 * float(max(abs(floats[at.OFFSET] + floats[at.MEAN]), abs(floats[at.OFFSET] + x)))


@kernel
def _predict(slots: at.SlotArrays, slot: int, time_ns: int, x: float, scratch: RowScratch) -> None:
    """Residuals of the local level and of the three profiles, into `scratch.residuals`."""
    floats = slots.floats[slot]
    scratch.residuals[0] = x - floats[at.LEVEL]
    for profile in range(PROFILES):
        expected = expectation(
            profile,
            time_ns,
            slots.profile_values[slot],
            slots.profile_counts[slot],
            slots.profile_known[slot],
            slots.profile_known_bin[slot],
            floats[at.MEDIAN],
            scratch.gathered,
        )
        scratch.residuals[1 + profile] = x - expected


@kernel
def _novelties(slots: at.SlotArrays, slot: int, x: float, floor: float, scratch: RowScratch) -> tuple[float, float]:
    """(novelty of the value, mean novelty of the three seasonal residuals), each in its own standard deviations."""
    floats, ints, nets = slots.floats[slot], slots.ints[slot], slots.nets[slot]
    seasonal = 0.0
    value_novelty = 0.0
    for stream in range(at.STREAMS):
        if stream == 0:
            value, spread = x, np.sqrt(floats[at.VARIANCE])
        else:
            value, spread = scratch.residuals[stream], np.sqrt(floats[at.SQUARE + stream])
        size = ints[at.NET_SIZE + stream]
        place = find_place(nets[stream], size, value)
        scratch.places[stream] = place
        novelty = distance_at(nets[stream], size, place, value) / (spread + floor)
        if stream == 0:
            value_novelty = novelty
        else:
            seasonal += novelty / (at.STREAMS - 1)
    return value_novelty, seasonal


@kernel
def _deviations(floats: FloatArray, x: float, floor: float, scratch: RowScratch) -> float:
    """Mean of log(1 + deviation / typical deviation) over the four predictors and the overall distribution."""
    spread = np.sqrt(floats[at.VARIANCE])
    total = 0.0
    for stream in range(at.STREAMS):
        typical = floats[at.TYPICAL + stream] + 0.05 * spread + floor
        scratch.logs[stream] = np.log1p(abs(scratch.residuals[stream]) / typical)
        total += scratch.logs[stream]
    quartile_range = floats[at.UPPER_QUARTILE] - floats[at.LOWER_QUARTILE]
    scratch.logs[at.STREAMS] = np.log1p(abs(x - floats[at.MEDIAN]) / (max(0.0, quartile_range) + 0.1 * spread + floor))
    return float((total + scratch.logs[at.STREAMS]) / (at.STREAMS + 1))


@kernel
def _expected_band(floats: FloatArray, x: float, band_width: float, scratch: RowScratch) -> tuple[float, float]:
    """(expected value, half width of the band) of the predictor with the smallest recent error."""
    best = 0
    for stream in range(1, at.STREAMS):
        if floats[at.ERROR + stream] < floats[at.ERROR + best]:
            best = stream
    expected = floats[at.OFFSET] + x - scratch.residuals[best]
    return expected, band_width * NORMAL_WIDTH * floats[at.TYPICAL + best]


@kernel
def _learn_nets(slots: at.SlotArrays, slot: int, x: float, floor: float, scratch: RowScratch) -> None:
    floats, ints, nets = slots.floats[slot], slots.ints[slot], slots.nets[slot]
    for stream in range(at.STREAMS):
        if stream == 0:
            value, spread = x, np.sqrt(floats[at.VARIANCE])
        else:
            value, spread = scratch.residuals[stream], np.sqrt(floats[at.SQUARE + stream])
        size, place = ints[at.NET_SIZE + stream], scratch.places[stream]
        if size == 0 or distance_at(nets[stream], size, place, value) > NET_TOLERANCE * spread + 1e-3 * floor:
            ints[at.NET_SIZE + stream] = insert_at(nets[stream], size, place, value)


@kernel
def _learn_moments(floats: FloatArray, x: float, points: int, scratch: RowScratch) -> None:
    rate = rate_of(points)
    distance = x - floats[at.MEAN]
    floats[at.MEAN] += rate * distance
    floats[at.VARIANCE] = (1.0 - rate) * (floats[at.VARIANCE] + rate * distance * distance)
    floats[at.LEVEL] += max(LEVEL_RATE, rate) * (x - floats[at.LEVEL])
    deviation = abs(x - floats[at.MEDIAN])
    error_rate = max(ERROR_RATE, rate)
    floats[at.MEAN_DEVIATION] += error_rate * (deviation - floats[at.MEAN_DEVIATION])
    spread, step = floats[at.MEAN_DEVIATION], quantile_rate(points)
    floats[at.MEDIAN] = next_quantile(floats[at.MEDIAN], x, 0.5, spread, step)
    floats[at.LOWER_QUARTILE] = next_quantile(floats[at.LOWER_QUARTILE], x, 0.25, spread, step)
    floats[at.UPPER_QUARTILE] = next_quantile(floats[at.UPPER_QUARTILE], x, 0.75, spread, step)
    for stream in range(at.STREAMS):
        residual = scratch.residuals[stream]
        floats[at.SQUARE + stream] += rate * (residual * residual - floats[at.SQUARE + stream])
        floats[at.ERROR + stream] += error_rate * (abs(residual) - floats[at.ERROR + stream])
        floats[at.TYPICAL + stream] = next_quantile(
            floats[at.TYPICAL + stream], abs(residual), 0.6, floats[at.ERROR + stream], step
        )


@kernel
def _roughness_novelty(slots: at.SlotArrays, slot: int, roughness: float) -> float:
    floats, ints = slots.floats[slot], slots.ints[slot]
    size = ints[at.ROUGHNESS_NET_SIZE]
    place = find_place(slots.roughness_net[slot], size, roughness)
    distance = distance_at(slots.roughness_net[slot], size, place, roughness)
    return float(distance / (np.sqrt(floats[at.ROUGHNESS_VARIANCE]) + 0.05))


@kernel
def _learn_roughness(slots: at.SlotArrays, slot: int, roughness: float, points: int) -> None:
    floats, ints, net = slots.floats[slot], slots.ints[slot], slots.roughness_net[slot]
    size = ints[at.ROUGHNESS_NET_SIZE]
    place = find_place(net, size, roughness)
    if size == 0 or distance_at(net, size, place, roughness) > 0.02:
        ints[at.ROUGHNESS_NET_SIZE] = insert_at(net, size, place, roughness)
    rate = rate_of(points)
    distance = roughness - floats[at.ROUGHNESS_MEAN]
    floats[at.ROUGHNESS_MEAN] += rate * distance
    floats[at.ROUGHNESS_VARIANCE] = (1.0 - rate) * (floats[at.ROUGHNESS_VARIANCE] + rate * distance * distance)


@kernel
def _may_learn(ints: Int64Array, time_ns: int) -> bool:
    """Whether a point is newer than the series; a long run of late points resets a clock that was ahead."""
    if time_ns > ints[at.LAST_NS]:
        ints[at.LATE_RUN] = 0
        return True
    ints[at.LATE] += 1
    if time_ns == ints[at.LAST_NS]:
        return False
    ints[at.LATE_RUN] += 1
    if ints[at.LATE_RUN] < LATE_RUN_LIMIT:
        return False
    ints[at.LATE_RUN] = 0
    return True


@kernel
def _score_point(
    slots: at.SlotArrays,
    rows: RowInput,
    settings: FloatArray,
    row: int,
    out: RowOutput,
    facts: RowFacts,
    scratch: RowScratch,
) -> None:
    """First pass over a row: all that its series alone decides, and what its series learns from it."""
    slot, time_ns, value = rows.slots[row], rows.times_ns[row], rows.values[row]
    floats, ints = slots.floats[slot], slots.ints[slot]
    points, threshold = ints[at.POINTS], settings[0]
    if points == 0:
        floats[at.OFFSET] = value
    x = value - floats[at.OFFSET]
    learns = _may_learn(ints, time_ns)
    floor = _spread_floor(floats, x)
    _predict(slots, slot, time_ns, x, scratch)
    value_novelty, seasonal_novelty = _novelties(slots, slot, x, floor, scratch)
    facts.deviation[row] = _deviations(floats, x, floor, scratch)
    spread = np.sqrt(floats[at.VARIANCE])
    roughness = log_roughness(slots.recent[slot], points, x, spread)
    roughness_novelty = _roughness_novelty(slots, slot, roughness) if points >= WINDOW_POINTS else 0.0
    rising, falling = next_sums(floats[at.RISING], floats[at.FALLING], (x - floats[at.MEAN]) / (spread + floor))
    features = facts.features[row]
    for k in range(at.STREAMS + 1):
        features[k] = scratch.logs[k]
    features[5] = np.log1p(max(value_novelty, seasonal_novelty))
    features[6] = roughness_novelty
    features[7] = max(rising, falling) / LIMIT

    novelty = max(value_novelty, seasonal_novelty)
    oldest = points - refractory_points(points)
    peak, head, size = window_peak(
        slots.peaks[slot], slots.peak_order[slot], ints[at.PEAK_HEAD], ints[at.PEAK_SIZE], oldest
    )
    habit = floats[at.HABIT] * HABIT_DECAY
    weighed = novelty / (1.0 + HABIT_WEIGHT * habit)
    if points >= settings[2] and novelty > peak and weighed >= EMISSION_SHARE * threshold:
        out.score[row] = emitted_score(weighed, threshold)
        alarms = weighed >= threshold
        out.is_anomaly[row] = alarms
        habit += 1.0 if alarms else 0.0
    expected, half_width = _expected_band(floats, x, settings[1], scratch)
    out.expected[row] = expected
    out.lower[row] = expected - half_width
    out.upper[row] = expected + half_width
    evidence(
        value_novelty,
        seasonal_novelty,
        threshold,
        scratch.logs,
        roughness_novelty,
        features[7],
        out.contributions[row],
    )
    if not learns:
        facts.role[row] = LATE
        return
    facts.role[row] = TEACHES if points >= WINDOW_POINTS else LEARNED
    ints[at.PEAK_HEAD] = head
    ints[at.PEAK_SIZE] = push_peak(slots.peaks[slot], slots.peak_order[slot], head, size, points, novelty)
    _learn_nets(slots, slot, x, floor, scratch)
    _learn_moments(floats, x, points, scratch)
    _learn_roughness(slots, slot, roughness, points)
    for profile in range(PROFILES):
        remember(
            profile,
            time_ns,
            x,
            slots.profile_values[slot],
            slots.profile_counts[slot],
            slots.profile_ns[slot],
            slots.profile_known_bin[slot],
        )
    floats[at.RISING], floats[at.FALLING], floats[at.HABIT] = rising, falling, habit
    slots.recent[slot, points % WINDOW_POINTS] = x
    ints[at.LAST_NS] = time_ns
    ints[at.POINTS] = points + 1


@kernel
def score_points(slots: at.SlotArrays, rows: RowInput, settings: FloatArray, out: RowOutput, facts: RowFacts) -> None:
    """Score every row by its series, one series after the other, and let it teach its series.

    Args:
        slots: State of the series, changed in place.
        rows: The rows.
        settings: [novelty threshold, band width, warm-up points, ...].
        out: Zeroed; bands, onsets, their scores and contributions but for the forest's are written.
        facts: Zeroed; what the second pass needs is written.
    """
    scratch = RowScratch(
        np.zeros(at.STREAMS, np.float64),
        np.zeros(at.STREAMS + 1, np.float64),
        np.zeros(at.STREAMS, np.int64),
        np.zeros(GATHERED, np.float32),
    )
    for row in rows.by_slot:
        if not abs(rows.values[row]) <= VALUE_LIMIT:  # also true of NaN
            slots.ints[rows.slots[row], at.MALFORMED] += 1
            out.expected[row] = np.nan
            out.lower[row] = np.nan
            out.upper[row] = np.nan
            continue
        _score_point(slots, rows, settings, row, out, facts, scratch)
