"""The metrics of each instance as vectors on its time grid, scored together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from libs.contracts.columns import FloatArray, Int32Array, Int64Array
from services.detector.gauges import VectorScore
from services.detector.series_catalog import INSTANCE, Entry, Shape

_OBSERVED_GRIDS: Final = 5
_LEAST_DIMENSIONS: Final = 4
_MAX_DIMENSIONS: Final = 200
_MAX_INSTANCES: Final = 500
_LEAST_PRESENT: Final = 0.5
_GRID_NS: Final = 1_000_000_000  # one export's points carry times within a second
_NAMED: Final = 5

Columns = tuple[Int32Array, Int64Array, FloatArray]


@dataclass(slots=True)
class _Instance:
    grids: int = 0
    seen: dict[str, int] = field(default_factory=dict)
    position: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    scorer: Any = None
    placed_shape: Shape | None = None
    places: Int64Array = field(default_factory=lambda: np.zeros(0, np.int64))
    last_grid: int = -1
    interval_s: float = 0.0


class InstanceVectors:
    """Vectors of the instances of one partition; not part of snapshots: after a restart they learn anew."""

    def __init__(self) -> None:
        self._instances: dict[tuple[str, str], _Instance] = {}

    def score(
        self, service: str, shape: Shape, columns: Columns, is_followed: Callable[[str], bool]
    ) -> list[VectorScore]:
        """Scores of the vectors that a batch completes, where they matter.

        Args:
            service: service.name.
            shape: The batch's series.
            columns: Its (series index, times, values).
            is_followed: Whether an instance has an episode, so that its ordinary scores matter too.
        Returns:
            Anomalous vectors, and all of instances that are followed; none while an instance's dimensions are
            being learned.
        """
        name = shape.entries[0].series.attributes.get(INSTANCE, "") if shape.entries else ""
        instance = self._instance(service, name)
        index, times, values = columns
        grids, inverse = _grids(times)
        first_new = int(np.searchsorted(grids, instance.last_grid, side="right"))
        if first_new == len(grids):
            return []
        steps = np.diff(grids[max(0, first_new - 1) :])
        if instance.last_grid >= 0 or len(steps):
            instance.interval_s = float(steps[-1]) if len(steps) else float(grids[-1] - instance.last_grid)
        instance.last_grid = int(grids[-1])
        if instance.scorer is None:
            for grid in range(first_new, len(grids)):
                _observe(instance, [shape.entries[i] for i in index[inverse == grid]])
            return []
        moments = np.full(len(grids), 0, np.int64)
        np.maximum.at(moments, inverse, times)
        vectors = _vectors(instance, shape, index, values, inverse, len(grids))
        enough = np.isfinite(vectors).sum(axis=1) >= _LEAST_PRESENT * vectors.shape[1]
        chosen = np.flatnonzero(enough & (np.arange(len(grids)) >= first_new))
        return _scored(service, name, instance, moments[chosen], vectors[chosen], everything=is_followed(name))

    def _instance(self, service: str, name: str) -> _Instance:
        key = (service, name)
        instance = self._instances.pop(key, None) or _Instance()
        if len(self._instances) >= _MAX_INSTANCES:
            del self._instances[next(iter(self._instances))]
        self._instances[key] = instance
        return instance


def _grids(times: Int64Array) -> tuple[Int64Array, Int64Array]:
    """(grid of each moment in order, position of each point's); most batches are in order: no need to sort."""
    grid = times // _GRID_NS
    steps = np.diff(grid)
    if (steps >= 0).all():
        inverse = np.concatenate(([0], np.cumsum(steps > 0)))
        return grid[np.concatenate(([True], steps > 0))], inverse
    grids, inverse = np.unique(grid, return_inverse=True)
    return grids, inverse


def _observe(instance: _Instance, entries: Sequence[Entry]) -> None:
    from services.detector.scoring.multivariate import MultivariateScorer

    for entry in entries:
        if not entry.series.kind.is_limit:
            instance.seen[entry.key] = instance.seen.get(entry.key, 0) + 1
    instance.grids += 1
    if instance.grids < _OBSERVED_GRIDS:
        return
    steady = sorted(key for key, count in instance.seen.items() if count >= _OBSERVED_GRIDS - 1)[:_MAX_DIMENSIONS]
    if len(steady) < _LEAST_DIMENSIONS:
        instance.grids, instance.seen = 0, {}
        return
    instance.position = {key: place for place, key in enumerate(steady)}
    instance.names = [_short_name(key) for key in steady]
    instance.scorer = MultivariateScorer(len(steady))


def _vectors(
    instance: _Instance, shape: Shape, index: Int32Array, values: FloatArray, rows: Int64Array, count: int
) -> FloatArray:
    if instance.placed_shape is not shape:
        places = [instance.position.get(entry.key, -1) for entry in shape.entries]
        instance.placed_shape, instance.places = shape, np.array(places, np.int64)
    at = instance.places[index]
    known = at >= 0
    vectors = np.full((count, len(instance.position)), np.nan)
    vectors[rows[known], at[known]] = values[known]
    return vectors


def _scored(
    service: str, name: str, instance: _Instance, moments: Int64Array, vectors: FloatArray, *, everything: bool
) -> list[VectorScore]:
    if not len(vectors):
        return []
    scores = instance.scorer.update(vectors)
    found = []
    for row in range(len(vectors)) if everything else np.flatnonzero(scores.is_anomaly).tolist():
        shares = scores.contributions[row]
        greatest = np.argsort(-shares, kind="stable")[:_NAMED]
        found.append(
            VectorScore(
                service=service,
                instance=name,
                at_ns=int(moments[row]),
                interval_s=instance.interval_s,
                score=float(scores.score[row]),
                is_anomaly=bool(scores.is_anomaly[row]),
                contributions=tuple(
                    (instance.names[place], float(vectors[row, place]), float(shares[place]))
                    for place in greatest
                    if shares[place] > 0 and np.isfinite(vectors[row, place])
                ),
            )
        )
    return found


def _short_name(key: str) -> str:
    _, _, pairs, metric, statistic = key.split("\x00")
    labels = "/".join(pair.partition("=")[2] for pair in pairs.split("\x1f") if pair)
    return f"{metric}{f'[{labels}]' if labels else ''}{'' if statistic == 'value' else f' {statistic}'}"
