"""The metrics of each instance as vectors on its time grid, scored together."""

from collections.abc import Sequence
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
        self, service: str, shape: Shape, index: Int32Array, times: Int64Array, values: FloatArray
    ) -> list[VectorScore]:
        """Scores of the vectors that a batch completes; none while an instance's dimensions are being learned."""
        entries = shape.entries
        name = entries[0].series.attributes.get(INSTANCE, "") if entries else ""
        instance = self._instance(service, name)
        grids = times // _GRID_NS
        found = []
        for grid in np.unique(grids):
            rows = np.flatnonzero(grids == grid)
            if int(grid) <= instance.last_grid or len(rows) < _LEAST_DIMENSIONS:
                continue
            if instance.last_grid >= 0:
                instance.interval_s = float(grid - instance.last_grid)
            instance.last_grid = int(grid)
            if instance.scorer is None:
                _observe(instance, [entries[i] for i in index[rows]])
                continue
            vector = _vector(instance, shape, index[rows], values[rows])
            if vector is not None:
                found.append(_scored(service, name, instance, int(times[rows].max()), vector))
        return found

    def _instance(self, service: str, name: str) -> _Instance:
        key = (service, name)
        instance = self._instances.pop(key, None) or _Instance()
        if len(self._instances) >= _MAX_INSTANCES:
            del self._instances[next(iter(self._instances))]
        self._instances[key] = instance
        return instance


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


def _vector(instance: _Instance, shape: Shape, index: Int32Array, values: FloatArray) -> FloatArray | None:
    if instance.placed_shape is not shape:
        places = [instance.position.get(entry.key, -1) for entry in shape.entries]
        instance.placed_shape, instance.places = shape, np.array(places, np.int64)
    at = instance.places[index]
    vector = np.full(len(instance.position), np.nan)
    vector[at[at >= 0]] = values[at >= 0]
    return vector if np.isfinite(vector).sum() >= _LEAST_PRESENT * len(vector) else None


def _scored(service: str, name: str, instance: _Instance, at_ns: int, vector: FloatArray) -> VectorScore:
    scores = instance.scorer.update(vector.reshape(1, -1))
    shares = scores.contributions[0]
    greatest = np.argsort(-shares, kind="stable")[:_NAMED]
    return VectorScore(
        service=service,
        instance=name,
        at_ns=at_ns,
        interval_s=instance.interval_s,
        score=float(scores.score[0]),
        is_anomaly=bool(scores.is_anomaly[0]),
        contributions=tuple(
            (instance.names[place], float(vector[place]), float(shares[place]))
            for place in greatest
            if shares[place] > 0
        ),
    )


def _short_name(key: str) -> str:
    _, _, pairs, metric, statistic = key.split("\x00")
    labels = "/".join(pair.partition("=")[2] for pair in pairs.split("\x1f") if pair)
    return f"{metric}{f'[{labels}]' if labels else ''}{'' if statistic == 'value' else f' {statistic}'}"
