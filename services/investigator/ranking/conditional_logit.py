"""Learn what makes one of several candidates the right one: a penalised conditional logit over sparse signs.

Source: McFadden, "Conditional logit analysis of qualitative choice behavior", 1974.
"""

import math
from collections.abc import Callable
from typing import Final

import numpy as np

from libs.contracts.columns import FloatArray, Int64Array

_RIDGE: Final = 1.0  # 0.3 and 3 are as good on the past incidents of both labelled event systems
_STEPS: Final = 200
_BLOCK: Final = 2_048  # signs at a time: 4 MB with 250 incidents, however many signs there are


class Seen:
    """Signs of every candidate of every incident, as a sparse matrix: one row a candidate, one column a sign."""

    def __init__(self, rows: Int64Array, columns: Int64Array, values: FloatArray, height: int, width: int) -> None:
        self.rows, self.columns, self.values, self.height, self.width = rows, columns, values, height, width

    def times(self, weights: FloatArray) -> FloatArray:
        """Total of each row."""
        totals: FloatArray = np.bincount(self.rows, self.values * weights[self.columns], self.height).astype(np.float64)
        return totals

    def back(self, totals: FloatArray) -> FloatArray:
        """The transpose: one number a sign."""
        sums: FloatArray = np.bincount(self.columns, self.values * totals[self.rows], self.width).astype(np.float64)
        return sums


def fit(seen: Seen, right: FloatArray, choices: int) -> FloatArray:
    """Weight of each sign, where every candidate shows signs of its own.

    Args:
        seen: Signs; the candidates of one incident lie next to each other.
        right: shape (rows,), 1.0 for the candidate that was right, else 0.0.
        choices: Candidates of each incident.
    """

    def slope(weights: FloatArray) -> FloatArray:
        return seen.back(_shares(seen.times(weights).reshape(-1, choices)).ravel() - right)

    return _descend(slope, np.zeros(seen.width), _curvature(lambda way: seen.back(seen.times(way)), seen.width))


def fit_classes(seen: Seen, right: FloatArray) -> FloatArray:
    """Weight of each sign for each class, where the incident shows the signs whichever class it is of.

    There are more signs than incidents, and the weights are sums over incidents: the coefficients of these sums are
    looked for, on the products of the incidents with one another.

    Args:
        seen: Signs; one row an incident.
        right: shape (incidents, classes), 1.0 for the class that was right, else 0.0.
    Returns:
        shape (signs, classes).
    """
    alike = _products(seen)

    def slope(coefficients: FloatArray) -> FloatArray:
        return _shares(alike @ coefficients) - right

    coefficients = _descend(slope, np.zeros_like(right), _curvature(lambda way: alike @ way, seen.height))
    return np.array([seen.back(column) for column in coefficients.T]).T


def _products(seen: Seen) -> FloatArray:
    """shape (rows, rows): sum over the signs that two rows share."""
    products = np.zeros((seen.height, seen.height))
    for first in range(0, seen.width, _BLOCK):
        inside = (seen.columns >= first) & (seen.columns < first + _BLOCK)
        block = np.zeros((seen.height, _BLOCK))
        block[seen.rows[inside], seen.columns[inside] - first] = seen.values[inside]
        products += block @ block.T
    return products


def _curvature(product: Callable[[FloatArray], FloatArray], width: int) -> float:
    """The greatest, by power iteration: it bounds the step."""
    direction = np.ones(width)
    for _ in range(20):
        direction = product(direction)
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
    return float(np.linalg.norm(product(direction)))


def _shares(totals: FloatArray) -> FloatArray:
    powers = np.exp(totals - totals.max(axis=1, keepdims=True))
    shares: FloatArray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _descend(slope: Callable[[FloatArray], FloatArray], start: FloatArray, curvature: float) -> FloatArray:
    """Accelerated gradient steps down a slope plus the ridge.

    Source: Beck and Teboulle, "A fast iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sciences 2009.
    """
    step = 1.0 / (0.5 * curvature * 1.1 + _RIDGE)
    here, ahead, momentum = start, start, 1.0
    for _ in range(_STEPS):
        moved = ahead - step * (slope(ahead) + _RIDGE * ahead)
        faster = (1.0 + math.sqrt(1.0 + 4.0 * momentum * momentum)) / 2.0
        ahead = moved + (momentum - 1.0) / faster * (moved - here)
        here, momentum = moved, faster
    return here
