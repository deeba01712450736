"""Score rows in order against the state of their series and family, then let each row teach both.

Everything a row is scored with was learned from earlier rows, so the result does not depend on how rows are batched.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from services.detector.scoring import bank_state as at
from services.detector.scoring.calibration import (
    EMISSION_SHARE,
    HABIT_DECAY,
    HABIT_WEIGHT,
    deviation_score,
    emitted_score,
    evidence,
    refractory_points,
    shares_of,
)
from services.detector.scoring.compiled import entry_kernel, kernel, source_fingerprint
from services.detector.scoring.drift import LIMIT, next_sums
from services.detector.scoring.forest import fit_forest, score_row
from services.detector.scoring.local_variance import WINDOW_POINTS, log_roughness
from services.detector.scoring.nearest_past import NET_TOLERANCE, distance_at, find_place, insert_at
from services.detector.scoring.random_bits import next_below
from services.detector.scoring.running import next_quantile, push_peak, quantile_rate, rate_of, window_peak
from services.detector.scoring.seasonal import GATHERED, PROFILES, expectation, remember

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

VALUE_LIMIT: Final = 1e30  # squares of larger values leave float32 and float64; such a value counts as malformed
LATE_RUN_LIMIT: Final = 64  # so many late points in a row mean that the clock was wrong before, not now
LEVEL_RATE: Final = 0.1
ERROR_RATE: Final = 0.005
SMOOTHING: Final = 0.5  # an incident lasts longer than one point: cloud-monitoring AP .55 without, .63 with
MALFORMED: Final = 0
LATE: Final = 1
LEARNED: Final = 2  # by its series; too young a series teaches its family nothing
TEACHES: Final = 3
NORMAL_WIDTH: Final = 1.19  # standard deviations per 60 % quantile of |x| for a normal x


class RowOutput(NamedTuple):
    """Where the kernel writes; the first axis is the row."""

    score: FloatArray
    is_anomaly: BoolArray
    expected: FloatArray
    lower: FloatArray
    upper: FloatArray
    contributions: FloatArray


class RowInput(NamedTuple):
    """Rows to score, and the orders in which to visit them.

    Attributes:
        slots: shape (n,), slot of each row.
        times_ns: shape (n,), unix nanoseconds.
        values: shape (n,).
        by_slot: shape (n,), rows of one series after the other, those of one series in order.
        by_family: shape (n,), rows of one family after the other, those of one family in order.
    """

    slots: npt.NDArray[np.int32]
    times_ns: Int64Array
    values: FloatArray
    by_slot: Int64Array
    by_family: Int64Array


class RowScratch(NamedTuple):
    """Reused between rows: allocated once per batch."""

    residuals: FloatArray
    logs: FloatArray
    places: Int64Array
    gathered: Float32Array


class RowFacts(NamedTuple):
    """What the first pass leaves for the second; the first axis is the row.

    Attributes:
        role: What the row may teach: one of the constants above.
        deviation: Mean log deviation from what was expected.
        features: shape (n, FOREST_COLUMNS).
    """

    role: npt.NDArray[np.int8]
    deviation: FloatArray
    features: Float32Array


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
def _learn_family(families: at.FamilyArrays, family: int, features: Float32Array) -> None:
    """Keep an even sample of all rows (Vitter's algorithm R) and refit when their number has doubled."""
    ints = families.ints[family]
    rows = ints[at.FAMILY_ROWS]
    if rows < at.SAMPLE_ROWS:
        families.sample[family, rows] = features
    else:
        place = next_below(families.rng, family, rows + 1)
        if place < at.SAMPLE_ROWS:
            families.sample[family, place] = features
    ints[at.FAMILY_ROWS] = rows + 1
    if rows + 1 == ints[at.FAMILY_NEXT_FIT]:
        ints[at.FAMILY_NEXT_FIT] = min(2 * (rows + 1), rows + 100_000)
        families.normaliser[family] = fit_forest(
            families.sample[family, : min(rows + 1, at.SAMPLE_ROWS)],
            families.feature[family],
            families.threshold[family],
            families.path[family],
            families.rng,
            family,
        )


@kernel
def _forest_score(families: at.FamilyArrays, family: int, features: Float32Array) -> float:
    """The family's forest on a feature row; 0.5, neither ordinary nor anomalous, before its first fit."""
    if families.normaliser[family] <= 0.0:
        return 0.5
    return score_row(
        features,
        families.feature[family],
        families.threshold[family],
        families.path[family],
        families.normaliser[family],
    )


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
def _weigh_point(
    slots: at.SlotArrays,
    families: at.FamilyArrays,
    slot: int,
    settings: FloatArray,
    row: int,
    out: RowOutput,
    facts: RowFacts,
) -> None:
    """Second pass over a row: what the forest of its family adds, and what the family learns from it."""
    floats, family, role = slots.floats[slot], slots.ints[slot, at.FAMILY], facts.role[row]
    forest = _forest_score(families, family, facts.features[row])
    smoothed = floats[at.SMOOTHED] + SMOOTHING * (
        facts.deviation[row] + settings[3] * max(0.0, forest - 0.5) - floats[at.SMOOTHED]
    )
    if out.score[row] == 0.0:  # not emitted: an emitted score is at least 0.5
        out.score[row] = deviation_score(smoothed)
    shares_of(forest, out.contributions[row])
    if role == TEACHES:
        _learn_family(families, family, facts.features[row])
    if role >= LEARNED:
        floats[at.SMOOTHED] = smoothed


def _entry_kernel(fingerprint: int) -> Callable[..., None]:
    @entry_kernel
    def score_rows(
        slots: at.SlotArrays, families: at.FamilyArrays, rows: RowInput, settings: FloatArray, out: RowOutput
    ) -> None:
        """Score and learn every row, with the result of taking them one after the other in order.

        Series do not know of each other, nor do families: so the first pass takes one series after the other, whose
        18 kB then stay in the processor's cache, and the second one family after the other, with its forest.

        Args:
            slots: State of the series, changed in place.
            families: State of the families, changed in place.
            rows: The rows.
            settings: [novelty threshold, band width, warm-up points, forest weight].
            out: arrays of n rows, zeroed.
        """
        assert fingerprint >= 0  # keeps the fingerprint in the closure, and so in the key of the cache
        count = rows.values.shape[0]
        scratch = RowScratch(
            np.zeros(at.STREAMS, np.float64),
            np.zeros(at.STREAMS + 1, np.float64),
            np.zeros(at.STREAMS, np.int64),
            np.zeros(GATHERED, np.float32),
        )
        facts = RowFacts(
            np.zeros(count, np.int8), np.zeros(count, np.float64), np.zeros((count, at.FOREST_COLUMNS), np.float32)
        )
        for row in rows.by_slot:
            if not abs(rows.values[row]) <= VALUE_LIMIT:  # also true of NaN
                slots.ints[rows.slots[row], at.MALFORMED] += 1
                out.expected[row] = np.nan
                out.lower[row] = np.nan
                out.upper[row] = np.nan
                continue
            _score_point(slots, rows, settings, row, out, facts, scratch)
        for row in rows.by_family:
            if facts.role[row] != MALFORMED:
                _weigh_point(slots, families, rows.slots[row], settings, row, out, facts)

    return cast("Callable[..., None]", score_rows)


score_rows = _entry_kernel(source_fingerprint())
