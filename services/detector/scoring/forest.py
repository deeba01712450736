"""Isolation forest: how few random cuts set a row apart from the rest; 1 is anomalous, 0 is ordinary.

Trees lie in perfect-heap arrays (children of node i are 2i + 1 and 2i + 2) and are all of one depth, so a row costs
`trees` short walks without a Python object and without a branch that depends on it (forest_walk.py);
scikit-learn takes 5 ms for one row. A leaf above the bottom goes on as cuts that send every row left.

Source: Liu, Ting and Zhou, "Isolation Forest", ICDM 2008. scikit-learn's IsolationForest is the reference:
`Forest.from_sklearn` scores like its `-score_samples` to 1e-12.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import numpy as np
import numpy.typing as npt

from libs.errors import ConfigurationError
from services.detector.scoring.compiled import entry_kernel, kernel, source_fingerprint
from services.detector.scoring.forest_walk import CUTS, LEAVES, MAX_DEPTH, path_lengths
from services.detector.scoring.random_bits import UInt64Array, next_below, next_uniform

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
Int8Array = npt.NDArray[np.int8]
Int64Array = npt.NDArray[np.int64]

SAMPLE_ROWS: Final = 256  # Liu et al. find no gain beyond 256 rows a tree
_NODES: Final = CUTS + LEAVES
TREES: Final = 100
_LEAF: Final = -1
_EULER_GAMMA: Final = 0.5772156649015329


def _average_path_length(rows: int) -> float:
    """Mean depth of an unsuccessful search in a binary tree of `rows` leaves (ICDM 2008, equation 1)."""
    if rows <= 1:
        return 0.0
    if rows == 2:
        return 1.0
    return float(2.0 * (np.log(rows - 1.0) + _EULER_GAMMA) - 2.0 * (rows - 1.0) / rows)


average_path_length = kernel(_average_path_length)


def _first_leaf(node: int, depth: int) -> int:
    """The leaf at the bottom that a row reaches from a node when it is sent left all the way."""
    return ((node + 1) << (MAX_DEPTH - depth)) - LEAVES


first_leaf = kernel(_first_leaf)


@kernel
def _cut(rows: Float32Array, order: Int64Array, low: int, high: int, rng: UInt64Array, cell: int) -> tuple[int, float]:
    """Choose a random feature that still varies and a random threshold; (-1, 0) when every row is the same."""
    columns = rows.shape[1]
    start = next_below(rng, cell, columns)
    for step in range(columns):
        feature = (start + step) % columns
        least = rows[order[low], feature]
        greatest = least
        for k in range(low + 1, high):
            least = min(least, rows[order[k], feature])
            greatest = max(greatest, rows[order[k], feature])
        if greatest > least:
            threshold = np.float32(least + next_uniform(rng, cell) * (greatest - least))
            if threshold >= greatest:  # rounding must not send every row to the left
                threshold = least
            return feature, float(threshold)
    return _LEAF, 0.0


@kernel
def _fit_tree(
    rows: Float32Array,
    order: Int64Array,
    sample: int,
    feature: Int8Array,
    threshold: Float32Array,
    path: FloatArray,
    rng: UInt64Array,
    cell: int,
) -> None:
    for k in range(sample):  # a partial Fisher-Yates shuffle draws the sample without replacement
        other = k + next_below(rng, cell, order.shape[0] - k)
        order[k], order[other] = order[other], order[k]
    low = np.zeros(_NODES, np.int64)
    high = np.full(_NODES, -1, np.int64)
    low[0], high[0] = 0, sample
    depth = 0
    for node in range(CUTS):
        if node == 2 ** (depth + 1) - 1:
            depth += 1
        feature[node], threshold[node] = 0, np.inf
        if high[node] < 0:
            continue
        count = high[node] - low[node]
        chosen, cut = _LEAF, 0.0
        if count > 1:
            chosen, cut = _cut(rows, order, low[node], high[node], rng, cell)
        if chosen == _LEAF:
            path[first_leaf(node, depth)] = depth + average_path_length(count)
            continue
        feature[node], threshold[node] = chosen, cut
        left = low[node]
        for k in range(low[node], high[node]):
            if rows[order[k], chosen] <= cut:
                order[k], order[left] = order[left], order[k]
                left += 1
        low[2 * node + 1], high[2 * node + 1] = low[node], left
        low[2 * node + 2], high[2 * node + 2] = left, high[node]
    for leaf in range(LEAVES):
        if high[CUTS + leaf] >= 0:
            path[leaf] = MAX_DEPTH + average_path_length(high[CUTS + leaf] - low[CUTS + leaf])


@kernel
def fit_forest(
    rows: Float32Array,
    feature: Int8Array,
    threshold: Float32Array,
    path: FloatArray,
    rng: UInt64Array,
    cell: int,
) -> float:
    """Fit every tree in place and return the normalising path length.

    Args:
        rows: shape (n, d), n >= 2.
        feature: shape (trees, CUTS), receives the column cut at each node.
        threshold: shape (trees, CUTS), receives the cuts; a row goes left when its value is <= the cut.
        path: shape (trees, LEAVES), receives depth + average_path_length(rows in the leaf).
        rng: Random state; `rng[cell]` is advanced.
    """
    sample = min(SAMPLE_ROWS, rows.shape[0])
    order = np.arange(rows.shape[0])
    for tree in range(feature.shape[0]):
        _fit_tree(rows, order, sample, feature[tree], threshold[tree], path[tree], rng, cell)
    return average_path_length(sample)


@kernel
def score_rows_of(
    rows: Float32Array,
    chosen: Int64Array,
    feature: Int8Array,
    threshold: Float32Array,
    path: FloatArray,
    normaliser: float,
    scores: FloatArray,
) -> None:
    """Write the scores in [0, 1] of chosen rows; 1 is anomalous (ICDM 2008, equation 2). Shapes: see `path_lengths`."""
    path_lengths(rows, chosen, feature, threshold, path, scores)
    for k in range(chosen.shape[0]):
        scores[k] = 2.0 ** (-scores[k] / (feature.shape[0] * normaliser))


def _entry_kernels(fingerprint: int) -> tuple[Callable[..., float], Callable[..., FloatArray]]:
    @entry_kernel
    def fit(
        rows: Float32Array, feature: Int8Array, threshold: Float32Array, path: FloatArray, rng: UInt64Array
    ) -> float:
        assert fingerprint >= 0  # keeps the fingerprint in the closure, and so in the key of the cache
        return float(fit_forest(rows, feature, threshold, path, rng, 0))

    @entry_kernel
    def score(
        rows: Float32Array, feature: Int8Array, threshold: Float32Array, path: FloatArray, normaliser: float
    ) -> FloatArray:
        assert fingerprint >= 0
        scores = np.empty(rows.shape[0], np.float64)
        score_rows_of(rows, np.arange(rows.shape[0]), feature, threshold, path, normaliser, scores)
        return scores

    return cast("tuple[Callable[..., float], Callable[..., FloatArray]]", (fit, score))


_fit_rows, _score_rows = _entry_kernels(source_fingerprint())


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """A fitted isolation forest in perfect-heap layout.

    Attributes:
        feature: shape (trees, CUTS), column cut at each node.
        threshold: shape (trees, CUTS), float32, rounded down so that float32 rows go where float64 cuts send them.
        path: shape (trees, LEAVES), path length of a row that ends in the leaf.
        normaliser: Average path length of a tree of the sample's size.
        columns: Number of columns of a row.
    """

    feature: Int8Array
    threshold: Float32Array
    path: FloatArray
    normaliser: float
    columns: int

    @classmethod
    def fit(cls, rows: FloatArray, *, seed: int, trees: int = TREES) -> Self:
        """Fit on rows of shape (n, d), n >= 2, 1 <= d <= 127, all finite; `ConfigurationError` otherwise."""
        sample = _checked(rows)
        if len(sample) < 2:
            raise ConfigurationError("an isolation forest needs at least two rows")
        feature = np.zeros((trees, CUTS), np.int8)
        threshold = np.zeros((trees, CUTS), np.float32)
        path = np.zeros((trees, LEAVES), np.float64)
        rng = np.array([seed], np.uint64)
        normaliser = _fit_rows(sample, feature, threshold, path, rng)
        return cls(feature=feature, threshold=threshold, path=path, normaliser=normaliser, columns=sample.shape[1])

    @classmethod
    def fit_sklearn(cls, rows: FloatArray, *, seed: int, trees: int = TREES) -> Self:
        """Fit with scikit-learn, 40 times slower, for comparison; same arguments and errors as `fit`."""
        from sklearn.ensemble import IsolationForest

        sample = _checked(rows)
        model = IsolationForest(n_estimators=trees, max_samples=min(SAMPLE_ROWS, len(sample)), random_state=seed)
        return cls.from_sklearn(model.fit(sample))

    @classmethod
    def from_sklearn(cls, model: Any) -> Self:
        """Lay a fitted scikit-learn IsolationForest (all features, max_samples <= 256) out as heaps."""
        trees = [estimator.tree_ for estimator in model.estimators_]
        if max(tree.max_depth for tree in trees) > MAX_DEPTH:
            raise ConfigurationError(f"trees deeper than {MAX_DEPTH} do not fit: use max_samples <= {SAMPLE_ROWS}")
        feature = np.zeros((len(trees), CUTS), np.int8)
        threshold = np.full((len(trees), CUTS), np.inf, np.float32)
        path = np.zeros((len(trees), LEAVES), np.float64)
        for index, tree in enumerate(trees):
            pending = [(0, 0, 0)]
            while pending:
                source, node, depth = pending.pop()
                left = int(tree.children_left[source])
                if left < 0:
                    leaf = _first_leaf(node, depth)
                    path[index, leaf] = depth + _average_path_length(int(tree.n_node_samples[source]))
                    continue
                feature[index, node] = tree.feature[source]
                threshold[index, node] = _rounded_down(float(tree.threshold[source]))
                pending.append((left, 2 * node + 1, depth + 1))
                pending.append((int(tree.children_right[source]), 2 * node + 2, depth + 1))
        normaliser = float(_average_path_length(int(model.max_samples_)))
        return cls(
            feature=feature, threshold=threshold, path=path, normaliser=normaliser, columns=int(model.n_features_in_)
        )

    def score(self, rows: FloatArray) -> FloatArray:
        """Score rows of shape (n, d); shape (n,), each in [0, 1], 1 is anomalous."""
        sample = _checked(rows)
        if sample.shape[1] != self.columns:
            raise ConfigurationError(f"rows have {sample.shape[1]} columns, the forest was fitted on {self.columns}")
        return _score_rows(sample, self.feature, self.threshold, self.path, self.normaliser)


def _checked(rows: FloatArray) -> Float32Array:
    sample = np.ascontiguousarray(rows, dtype=np.float32)
    if sample.ndim != 2 or not 1 <= sample.shape[1] <= 127:
        raise ConfigurationError(f"rows must have shape (n, d) with 1 <= d <= 127, not {sample.shape}")
    if not np.isfinite(sample).all():
        raise ConfigurationError("rows must be finite in float32")
    return sample


def _rounded_down(threshold: float) -> np.float32:
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if float(rounded) > threshold else rounded
