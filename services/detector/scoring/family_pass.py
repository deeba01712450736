"""The second pass over rows: what the forest of their family adds, and what the family learns from them.

The rows of a family are taken in stretches in which its forest stands still, up to the row that makes it grow anew: so
many rows go through the forest together, with the result of taking them one after the other.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from services.detector.scoring import bank_state as at
from services.detector.scoring.calibration import deviation_score, shares_of
from services.detector.scoring.compiled import kernel
from services.detector.scoring.forest import fit_forest, score_rows_of
from services.detector.scoring.random_bits import next_below
from services.detector.scoring.row_columns import LEARNED, MALFORMED, TEACHES, RowFacts, RowInput, RowOutput

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

SMOOTHING: Final = 0.5  # an incident lasts longer than one point: cloud-monitoring AP .55 without, .63 with


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
def _next_stretch(
    slots: at.SlotArrays, families: at.FamilyArrays, rows: RowInput, facts: RowFacts, begin: int, chosen: Int64Array
) -> tuple[int, int]:
    """Rows of one family that its present forest judges, into `chosen`: (how many, where the next stretch begins)."""
    family = slots.ints[rows.slots[rows.by_family[begin]], at.FAMILY]
    lessons = families.ints[family, at.FAMILY_NEXT_FIT] - families.ints[family, at.FAMILY_ROWS]
    count, place = 0, begin
    while place < rows.by_family.shape[0] and lessons > 0:
        row = rows.by_family[place]
        if slots.ints[rows.slots[row], at.FAMILY] != family:
            break
        place += 1
        if facts.role[row] == MALFORMED:
            continue
        chosen[count] = row
        count += 1
        if facts.role[row] == TEACHES:
            lessons -= 1
    return count, place


@kernel
def _judge(families: at.FamilyArrays, family: int, facts: RowFacts, chosen: Int64Array, scores: FloatArray) -> None:
    """The family's forest on chosen rows; 0.5, neither ordinary nor anomalous, before its first fit."""
    if families.normaliser[family] <= 0.0:
        scores[:] = 0.5
        return
    score_rows_of(
        facts.features,
        chosen,
        families.feature[family],
        families.threshold[family],
        families.path[family],
        families.normaliser[family],
        scores,
    )


@kernel
def weigh_rows(
    slots: at.SlotArrays,
    families: at.FamilyArrays,
    rows: RowInput,
    forest_weight: float,
    out: RowOutput,
    facts: RowFacts,
) -> None:
    """Finish the scores of all rows; malformed ones are left as they are.

    Args:
        slots: State of the series; their smoothed deviation changes.
        families: State of the families, changed in place.
        rows: The rows.
        forest_weight: How much the forest's excess over 0.5 counts beside log deviations.
        out: Where scores and contributions are finished.
        facts: From the first pass.
    """
    count = rows.values.shape[0]
    chosen, forest = np.zeros(count, np.int64), np.zeros(count, np.float64)
    begin = 0
    while begin < count:
        size, end = _next_stretch(slots, families, rows, facts, begin, chosen)
        family = slots.ints[rows.slots[rows.by_family[begin]], at.FAMILY]
        _judge(families, family, facts, chosen[:size], forest[:size])
        for k in range(size):
            row = chosen[k]
            floats = slots.floats[rows.slots[row]]
            excess = max(0.0, forest[k] - 0.5)
            smoothed = floats[at.SMOOTHED] + SMOOTHING * (
                facts.deviation[row] + forest_weight * excess - floats[at.SMOOTHED]
            )
            if out.score[row] == 0.0:  # not emitted: an emitted score is at least 0.5
                out.score[row] = deviation_score(smoothed)
            shares_of(forest[k], out.contributions[row])
            if facts.role[row] == TEACHES:
                _learn_family(families, family, facts.features[row])
            if facts.role[row] >= LEARNED:
                floats[at.SMOOTHED] = smoothed
        begin = end
