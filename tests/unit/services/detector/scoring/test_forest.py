"""The isolation forest equals scikit-learn's, and finds what stands apart."""

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from libs.errors import ConfigurationError
from services.detector.scoring import Forest


@pytest.mark.parametrize(("rows", "columns"), [(2_000, 5), (300, 1), (40, 3)])
def test_scores_equal_those_of_scikit_learn(rows: int, columns: int) -> None:
    rng = np.random.default_rng(3)
    train = rng.normal(size=(rows, columns)).astype(np.float32)
    probe = np.concatenate([train[:200], rng.normal(scale=4.0, size=(200, columns))]).astype(np.float32)
    model = IsolationForest(n_estimators=60, max_samples=min(256, rows), random_state=0).fit(train)
    ours = Forest.from_sklearn(model).score(probe.astype(np.float64))
    np.testing.assert_allclose(ours, -model.score_samples(probe), rtol=0.0, atol=1e-12)


def test_thresholds_between_two_float32_values_send_rows_the_same_way_as_scikit_learn() -> None:
    steps = np.arange(400, dtype=np.float32)[:, None] * np.float32(1e-7) + np.float32(1.0)
    model = IsolationForest(n_estimators=40, max_samples=256, random_state=1).fit(steps)
    ours = Forest.from_sklearn(model).score(steps.astype(np.float64))
    np.testing.assert_allclose(ours, -model.score_samples(steps), rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("fit", [Forest.fit, Forest.fit_sklearn])
def test_a_row_far_from_the_rest_scores_higher_than_any_ordinary_row(fit: object) -> None:
    rng = np.random.default_rng(5)
    ordinary = rng.normal(size=(1_000, 4))
    forest = fit(ordinary, seed=11)  # type: ignore[operator]
    scores = forest.score(np.concatenate([ordinary, np.full((1, 4), 9.0)]))
    assert scores[-1] > scores[:-1].max()
    assert ((scores >= 0.0) & (scores <= 1.0)).all()


def test_our_fitter_agrees_with_scikit_learns_on_the_ranking() -> None:
    rng = np.random.default_rng(6)
    rows = rng.normal(size=(2_000, 3)) * np.array([1.0, 2.0, 0.5])
    ours = Forest.fit(rows, seed=1).score(rows)
    theirs = Forest.fit_sklearn(rows, seed=1).score(rows)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95


def test_the_same_seed_gives_the_same_forest_and_another_seed_another() -> None:
    rows = np.random.default_rng(8).normal(size=(500, 3))
    first, again, other = (Forest.fit(rows, seed=seed).score(rows) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rows_that_are_all_the_same_are_neither_split_nor_a_crash() -> None:
    forest = Forest.fit(np.ones((100, 2)), seed=0)
    assert np.ptp(forest.score(np.array([[1.0, 1.0], [50.0, -3.0]]))) == 0.0


@pytest.mark.parametrize("rows", [np.zeros((1, 2)), np.zeros(5), np.full((5, 2), np.nan), np.zeros((5, 0))])
def test_rows_of_another_shape_or_without_numbers_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(ConfigurationError):
        Forest.fit(rows, seed=0)


def test_scoring_rows_of_another_width_is_refused() -> None:
    forest = Forest.fit(np.random.default_rng(0).normal(size=(50, 3)), seed=0)
    with pytest.raises(ConfigurationError, match="2 columns"):
        forest.score(np.zeros((1, 2)))
