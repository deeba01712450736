"""Score rows in order against the state of their series and family, then let each row teach both.

Everything a row is scored with was learned from earlier rows, so the result does not depend on how rows are batched.
"""

from collections.abc import Callable
from typing import cast

import numpy as np
import numpy.typing as npt

from services.detector.scoring import bank_state as at
from services.detector.scoring.compiled import entry_kernel, source_fingerprint
from services.detector.scoring.family_pass import weigh_rows
from services.detector.scoring.row_columns import RowFacts, RowInput, RowOutput
from services.detector.scoring.series_pass import score_points

FloatArray = npt.NDArray[np.float64]


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
        facts = RowFacts(
            np.zeros(count, np.int8), np.zeros(count, np.float64), np.zeros((count, at.FOREST_COLUMNS), np.float32)
        )
        score_points(slots, rows, settings, out, facts)
        weigh_rows(slots, families, rows, settings[3], out, facts)

    return cast("Callable[..., None]", score_rows)


score_rows = _entry_kernel(source_fingerprint())
