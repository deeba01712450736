"""SeriesBank: the streaming scores of many series at once, in columns."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from libs.errors import ConfigurationError
from services.detector.scoring import bank_state as at
from services.detector.scoring.config import FEATURE_NAMES, ScoringConfig
from services.detector.scoring.row_columns import RowInput, RowOutput
from services.detector.scoring.row_kernel import score_rows

FloatArray = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SNAPSHOT_VERSION: Final = 2
_FIRST_SLOTS: Final = 16
_FIRST_FAMILIES: Final = 1
_FOREST_WEIGHT: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of n rows, in the order of the rows given.

    Attributes:
        score: shape (n,), in [0, 1], 1 is anomalous; 0 for a malformed value.
        is_anomaly: shape (n,), the onset of an anomaly: more novel than the threshold and than all recent points.
        expected: shape (n,), in the unit of the series; NaN for a malformed value.
        lower: shape (n,), lower edge of the expected band.
        upper: shape (n,), upper edge of the expected band.
        contributions: shape (n, 7), share of each of `FEATURE_NAMES`; a row adds up to 1, or is all 0.
    """

    score: FloatArray
    is_anomaly: BoolArray
    expected: FloatArray
    lower: FloatArray
    upper: FloatArray
    contributions: FloatArray

    def part(self, begin: int, end: int) -> "Scores":
        """The scores of rows begin .. end - 1."""
        rows = slice(begin, end)
        return Scores(
            score=self.score[rows],
            is_anomaly=self.is_anomaly[rows],
            expected=self.expected[rows],
            lower=self.lower[rows],
            upper=self.upper[rows],
            contributions=self.contributions[rows],
        )


class SeriesBank:
    """State of up to `config.max_series` series, about 18 kB each, in structure-of-arrays form.

    Not thread-safe: one bank belongs to one consumer.
    """

    def __init__(self, config: ScoringConfig | None = None) -> None:
        self.config = config or ScoringConfig()
        self._slots = at.new_slots(min(_FIRST_SLOTS, self.config.max_series))
        self._families = at.new_families(_FIRST_FAMILIES, seed=self.config.random_seed)
        self._slot_of: dict[str, int] = {}
        self._key_of: list[str] = []
        self._family_of: dict[str, int] = {}
        self._touched = np.zeros(len(self._slots.ints), np.int64)
        self._evicted = 0

    @property
    def series_count(self) -> int:
        """Series that hold a slot."""
        return len(self._slot_of)

    @property
    def evicted_series(self) -> int:
        """Series that lost their slot to a newer one."""
        return self._evicted

    @property
    def state_bytes(self) -> int:
        """Memory of all arrays, used or in reserve."""
        return sum(array.nbytes for array in (*self._slots, *self._families)) + self._touched.nbytes

    @property
    def bytes_per_series(self) -> int:
        """Memory of one more series, without the forests, which families share."""
        return sum(array[:1].nbytes for array in self._slots) + 8

    def slot(self, series_key: str, family: str) -> int:
        """Slot of a series, made when it is new; call it again after any call that made a slot: it may evict.

        Args:
            series_key: Identity of the series: service, metric and attributes.
            family: Metric name; series of one family share a forest.
        """
        known = self._slot_of.get(series_key)
        if known is not None:
            return known
        if len(self._slot_of) < self.config.max_series:
            slot = len(self._slot_of)
            self._key_of.append(series_key)
            if slot == len(self._slots.ints):
                self._grow_slots(min(2 * slot, self.config.max_series))
        else:
            slot = self._evict()
            self._key_of[slot] = series_key
        self._slot_of[series_key] = slot
        self._slots.ints[slot, at.FAMILY] = self._family(family)
        # an unscored newcomer ranks as the newest: it must outlive the call of update that it was made for
        self._touched[slot] = np.iinfo(np.int64).max
        return slot

    def points(self, slot: int) -> int:
        """Points that the series of a slot has learned from."""
        return int(self._slots.ints[slot, at.POINTS])

    def malformed(self, slot: int) -> int:
        """NaN, infinite or absurdly large values of the series of a slot."""
        return int(self._slots.ints[slot, at.MALFORMED])

    def late(self, slot: int) -> int:
        """Points of the series of a slot that were not newer than the one before."""
        return int(self._slots.ints[slot, at.LATE])

    def update(self, slots: Int32Array, timestamps_ns: Int64Array, values: FloatArray) -> Scores:
        """Score rows in order, each against what its series showed before, and learn from them.

        Args:
            slots: shape (n,), from `slot`; a slot may occur many times.
            timestamps_ns: shape (n,), int64 unix nanoseconds. A row that is older than its series is scored and not
                learned from, an equal timestamp likewise; 64 older rows in a row reset the series' clock.
            values: shape (n,), in the unit of the series. NaN, infinite or beyond 1e30: score 0, counted, not learned.
        Raises:
            ConfigurationError: shapes differ, or a slot was never handed out.
        """
        rows = np.ascontiguousarray(slots, np.int32)
        times = np.ascontiguousarray(timestamps_ns, np.int64)
        points = np.ascontiguousarray(values, np.float64)
        if not rows.shape == times.shape == points.shape or rows.ndim != 1:
            raise ConfigurationError(f"columns differ in shape: {rows.shape}, {times.shape}, {points.shape}")
        if rows.size and (rows.min() < 0 or rows.max() >= len(self._slot_of)):
            raise ConfigurationError(f"slots must lie in 0..{len(self._slot_of) - 1}")
        out = _new_output(len(rows))
        config = self.config
        settings = np.array([config.novelty_threshold, config.band_width, config.warm_up_points, _FOREST_WEIGHT])
        by_slot = np.argsort(rows, kind="stable")
        by_family = np.argsort(self._slots.ints[rows, at.FAMILY], kind="stable")
        score_rows(self._slots, self._families, RowInput(rows, times, points, by_slot, by_family), settings, out)
        self._touched[rows] = self._slots.ints[rows, at.LAST_NS]
        return Scores(**out._asdict())

    def snapshot(self) -> dict[str, npt.NDArray[Any]]:
        """The whole state as arrays that numpy.savez stores; `header` is JSON in UTF-8 bytes."""
        used = len(self._slot_of)
        header = {
            "version": SNAPSHOT_VERSION,
            "config": asdict(self.config),
            "keys": self._key_of,
            "families": list(self._family_of),
            "evicted": self._evicted,
        }
        arrays: dict[str, npt.NDArray[Any]] = {
            "header": np.frombuffer(json.dumps(header).encode(), np.uint8).copy(),
            "touched": self._touched[:used].copy(),
        }
        arrays |= {f"slot_{name}": array[:used].copy() for name, array in _named(self._slots)}
        arrays |= {f"family_{name}": array[: len(self._family_of)].copy() for name, array in _named(self._families)}
        return arrays

    @classmethod
    def restore(cls, snapshot: Mapping[str, npt.NDArray[Any]]) -> Self:
        """A bank that goes on bit for bit where the snapshot was taken.

        Raises:
            ConfigurationError: the snapshot is incomplete, damaged or of another version.
        """
        try:
            header = json.loads(snapshot["header"].tobytes())
            if header["version"] != SNAPSHOT_VERSION:
                raise ConfigurationError(f"snapshot version {header['version']} is not {SNAPSHOT_VERSION}")
            bank = cls(ScoringConfig(**header["config"]))
            keys, families = list(header["keys"]), list(header["families"])
            bank._grow_slots(max(len(keys), 1))
            bank._grow_families(max(len(families), 1))
            for name, array in _named(bank._slots):
                array[: len(keys)] = snapshot[f"slot_{name}"]
            for name, array in _named(bank._families):
                array[: len(families)] = snapshot[f"family_{name}"]
            bank._touched[: len(keys)] = snapshot["touched"]
            bank._evicted = int(header["evicted"])
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigurationError(f"not a snapshot of a series bank: {error}") from error
        bank._key_of = keys
        bank._slot_of = {key: slot for slot, key in enumerate(keys)}
        bank._family_of = {name: index for index, name in enumerate(families)}
        return bank

    def _family(self, name: str) -> int:
        known = self._family_of.get(name)
        if known is not None:
            return known
        if len(self._family_of) == self.config.max_families:
            return self.config.max_families - 1
        index = self._family_of[name] = len(self._family_of)
        if index == len(self._families.ints):
            self._grow_families(min(2 * index, self.config.max_families))
        return index

    def _evict(self) -> int:
        slot = int(np.argmin(self._touched[: len(self._slot_of)]))
        del self._slot_of[self._key_of[slot]]
        at.clear_slots(self._slots, slice(slot, slot + 1))
        self._evicted += 1
        return slot

    def _grow_slots(self, count: int) -> None:
        grown = at.new_slots(count)
        kept = min(count, len(self._slots.ints))
        for (_, old), (_, new) in zip(_named(self._slots), _named(grown), strict=True):
            new[:kept] = old[:kept]
        touched = np.zeros(count, np.int64)
        touched[:kept] = self._touched[:kept]
        self._slots, self._touched = grown, touched

    def _grow_families(self, count: int) -> None:
        grown = at.new_families(count, seed=self.config.random_seed)
        kept = min(count, len(self._families.ints))
        for (_, old), (_, new) in zip(_named(self._families), _named(grown), strict=True):
            new[:kept] = old[:kept]
        self._families = grown


def _named(arrays: at.SlotArrays | at.FamilyArrays) -> list[tuple[str, npt.NDArray[Any]]]:
    return [(name, getattr(arrays, name)) for name in arrays._fields]


def _new_output(rows: int) -> RowOutput:
    return RowOutput(
        score=np.zeros(rows, np.float64),
        is_anomaly=np.zeros(rows, np.bool_),
        expected=np.zeros(rows, np.float64),
        lower=np.zeros(rows, np.float64),
        upper=np.zeros(rows, np.float64),
        contributions=np.zeros((rows, len(FEATURE_NAMES)), np.float64),
    )
