"""MultivariateScorer: odd combinations, label-free threshold, contributions per metric."""

import numpy as np
import numpy.typing as npt
import pytest

from libs.errors import ConfigurationError
from services.detector.scoring import MultivariateConfig, MultivariateScorer

FloatArray = npt.NDArray[np.float64]


def coupled(rows: int, *, seed: int = 0) -> FloatArray:
    """Requests, CPU that follows them, memory and latency in units of their own."""
    rng = np.random.default_rng(seed)
    load = 100.0 + 40.0 * np.sin(np.arange(rows) / 50.0) + rng.normal(scale=2.0, size=rows)
    return np.stack(
        [load, load / 2.0 + rng.normal(size=rows), 4e9 + 1e7 * rng.normal(size=rows), 0.05 + load / 5e3], axis=1
    )


def test_a_broken_relation_is_found_though_each_metric_stays_in_its_range() -> None:
    scorer = MultivariateScorer(4)
    scorer.fit(coupled(2_000))
    rows = coupled(500, seed=1)
    rows[300:340, 1] = rows[300:340, 1].max() + rows[300:340, 1].min() - rows[300:340, 1]
    rows[300:340, 1] = np.where(rows[300:340, 0] > 100.0, 32.0, 68.0)
    scores = scorer.update(rows)
    assert scores.is_anomaly[303:340].all()
    assert scores.is_anomaly[:300].mean() < 0.02
    assert (scores.contributions[305:340].argmax(axis=1) == 1).mean() > 0.9


def test_an_anomaly_ends_soon_after_its_cause() -> None:
    scorer = MultivariateScorer(4)
    scorer.fit(coupled(2_000))
    rows = coupled(600, seed=1)
    rows[200:300, 0] += 500.0
    flags = scorer.update(rows).is_anomaly
    assert flags[202:300].all()
    assert not flags[380:].any()  # the peak fades by half in 20 rows


def test_without_history_it_warms_up_and_then_works() -> None:
    scorer = MultivariateScorer(4)
    rows = coupled(2_000)
    rows[1_500:1_520, 2] = 6e9
    scores = scorer.update(rows)
    assert (scores.score[:200] == 0.0).all()
    assert np.isnan(scores.expected[:200]).all()
    assert scores.is_anomaly[1_502:1_520].all()
    assert (scores.contributions[1_505:1_520].argmax(axis=1) == 2).all()


def test_results_do_not_depend_on_how_rows_are_batched() -> None:
    rows = coupled(1_000)
    whole = MultivariateScorer(4).update(rows)
    scorer = MultivariateScorer(4)
    parts = [scorer.update(rows[a:b]) for a, b in ((0, 3), (3, 199), (199, 201), (201, 640), (640, 1_000))]
    np.testing.assert_allclose(np.concatenate([part.score for part in parts]), whole.score, rtol=1e-9)
    np.testing.assert_array_equal(np.concatenate([part.is_anomaly for part in parts]), whole.is_anomaly)


def test_a_long_incident_does_not_become_normal() -> None:
    scorer = MultivariateScorer(4)
    scorer.fit(coupled(5_000))
    rows = coupled(3_000, seed=1)
    rows[100:, 0] += 500.0
    assert scorer.update(rows).is_anomaly[103:].all()


def test_missing_and_malformed_metrics_are_counted_and_harmless() -> None:
    scorer = MultivariateScorer(4)
    scorer.fit(coupled(1_000))
    rows = coupled(100, seed=1)
    rows[50] = [np.nan, np.inf, -np.inf, 1e300]
    scores = scorer.update(rows)
    assert scorer.malformed == 4
    assert np.isfinite(scores.score).all()
    assert not scores.is_anomaly[48:60].any()


def test_a_metric_that_slept_through_the_history_is_no_infinite_surprise() -> None:
    history = coupled(2_000)
    history[:, 3] = 0.0
    scorer = MultivariateScorer(4)
    scorer.fit(history)
    rows = coupled(50, seed=1)
    rows[:, 3] = 0.0
    rows[25, 3] = 0.01
    assert not scorer.update(rows).is_anomaly.any()


def test_contributions_are_shares_and_scores_lie_in_the_unit_interval() -> None:
    scorer = MultivariateScorer(4)
    scorer.fit(coupled(1_000))
    rows = coupled(200, seed=2)
    rows[100:] *= 50.0
    scores = scorer.update(rows)
    np.testing.assert_allclose(scores.contributions.sum(axis=1), 1.0)
    assert ((scores.score >= 0.0) & (scores.score <= 1.0)).all()


def test_one_metric_and_constant_metrics_work() -> None:
    scorer = MultivariateScorer(1, MultivariateConfig(warm_up_rows=50))
    rows = np.full((300, 1), 7.0)
    rows[200] = 70.0
    scores = scorer.update(rows)
    assert scores.score[200] > scores.score[:200].max()


def test_rows_of_another_width_and_empty_histories_are_refused() -> None:
    scorer = MultivariateScorer(3)
    for rows in (np.zeros((5, 2)), np.zeros(3)):
        with pytest.raises(ConfigurationError, match="shape"):
            scorer.update(rows)
    with pytest.raises(ConfigurationError, match="two rows"):
        scorer.fit(np.zeros((1, 3)))
    with pytest.raises(ConfigurationError, match="metrics"):
        MultivariateScorer(0)
