"""Both ways to fit a conditional logit agree, and prefer what was right."""

import numpy as np
import pytest

from services.investigator.ranking.conditional_logit import Seen, fit, fit_classes

INCIDENTS, SIGNS, CLASSES = 12, 30, 3


def shown() -> tuple[np.ndarray, np.ndarray]:
    """Which incident shows which sign, and the class of each."""
    chance = np.random.default_rng(3)
    classes = chance.integers(0, CLASSES, INCIDENTS)
    signs = (chance.random((INCIDENTS, SIGNS)) < 0.3).astype(float)
    signs[np.arange(INCIDENTS), classes] = 1.0
    return signs, np.eye(CLASSES)[classes]


def sparse(table: np.ndarray) -> Seen:
    rows, columns = np.nonzero(table)
    return Seen(rows, columns, table[rows, columns], *table.shape)


def test_looking_for_coefficients_of_incidents_finds_the_same_weights() -> None:
    signs, right = shown()
    weights = fit_classes(sparse(signs), right)
    each = np.kron(signs, np.eye(CLASSES))  # a candidate a class, with signs of its own
    assert weights == pytest.approx(fit(sparse(each), right.ravel(), CLASSES).reshape(SIGNS, CLASSES), abs=1e-3)


def test_the_weights_leave_no_slope() -> None:
    signs, right = shown()
    weights = fit_classes(sparse(signs), right)
    powers = np.exp(signs @ weights)
    slope = signs.T @ (powers / powers.sum(axis=1, keepdims=True) - right) + weights
    assert np.abs(slope).max() < 1e-3


def test_what_was_right_leads() -> None:
    signs, right = shown()
    assert ((signs @ fit_classes(sparse(signs), right)).argmax(axis=1) == right.argmax(axis=1)).all()
