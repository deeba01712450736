"""Histograms and summaries become the statistics of their interval."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from services.intake.normalise.distributions import Exponential, quantiles
from services.intake.normalise.normaliser import Normaliser
from tests.unit.services.intake.requests import CUMULATIVE, DELTA, at, histogram, send_metrics, units, values


def exponential(
    buckets: dict[int, int],
    at_s: float,
    *,
    scale: int = 3,
    zero_count: int = 0,
    total: float = 0.0,
    temporality: int = CUMULATIVE,
) -> Metric:
    metric = Metric(name="duration", unit="s")
    metric.exponential_histogram.aggregation_temporality = temporality  # type: ignore[assignment]
    first = min(buckets, default=0)
    point = metric.exponential_histogram.data_points.add(
        time_unix_nano=at(at_s), count=sum(buckets.values()) + zero_count, sum=total, scale=scale, zero_count=zero_count
    )
    point.positive.offset = first
    point.positive.bucket_counts.extend(buckets.get(i, 0) for i in range(first, max(buckets, default=-1) + 1))
    return metric


def statistics(*wanted: Metric) -> dict[str, float]:
    """Statistics that the last of several exports gives."""
    normaliser = Normaliser()
    for metric in wanted:
        accepted = send_metrics(normaliser, metric)
        assert not accepted.rejected, accepted.reason
    return {statistic: found[0] for (_, statistic), found in values(accepted).items()}


def test_a_delta_histogram_gives_quantiles_mean_and_rate_of_its_interval() -> None:
    found = statistics(histogram([0, 100, 0, 0], 10, total=15.0, start_s=0, temporality=DELTA))
    assert found == pytest.approx({"rate": 10.0, "mean": 0.15, "p50": 0.15, "p95": 0.195, "p99": 0.199})


def test_a_cumulative_histogram_gives_the_statistics_of_what_was_added() -> None:
    found = statistics(histogram([1000, 0, 0, 0], 0, total=10.0), histogram([1000, 0, 100, 0], 10, total=40.0))
    assert found == pytest.approx({"rate": 10.0, "mean": 0.3, "p50": 0.3, "p95": 0.39, "p99": 0.398})


def test_the_first_cumulative_histogram_gives_nothing() -> None:
    assert statistics(histogram([1, 2, 3, 4], 0)) == {}


def test_an_interval_without_observations_has_a_rate_of_zero_and_no_quantiles() -> None:
    assert statistics(histogram([1, 2, 3, 4], 0, total=1.0), histogram([1, 2, 3, 4], 5, total=1.0)) == {"rate": 0.0}


def test_a_histogram_that_began_anew_counts_what_it_shows() -> None:
    found = statistics(histogram([100, 0, 0, 0], 0, total=5.0), histogram([0, 20, 0, 0], 10, total=3.0))
    assert found["rate"] == 2.0
    assert found["mean"] == pytest.approx(0.15)


def test_a_quantile_in_the_open_bucket_is_its_lower_bound_or_lies_below_the_known_maximum() -> None:
    assert statistics(histogram([0, 0, 0, 10], 10, start_s=0, temporality=DELTA))["p50"] == 0.4
    found = statistics(histogram([0, 0, 0, 10], 10, start_s=0, temporality=DELTA, greatest=0.6))
    assert found["p50"] == pytest.approx(0.5)
    assert found["p99"] <= 0.6


def test_units_are_the_histograms_own_and_observations_per_second() -> None:
    found = units(send_metrics(Normaliser(), histogram([1, 1, 1, 1], 10, total=1.0, start_s=0, temporality=DELTA)))
    assert found == {
        ("duration", "rate"): "1/s",
        ("duration", "mean"): "s",
        ("duration", "p50"): "s",
        ("duration", "p95"): "s",
        ("duration", "p99"): "s",
    }


def test_a_histogram_whose_bounds_changed_is_rejected_once_and_goes_on() -> None:
    normaliser = Normaliser()
    send_metrics(normaliser, histogram([1, 1, 1, 1], 0))
    changed = send_metrics(normaliser, histogram([1, 1], 5, bounds=[1.0]))
    assert "bounds changed" in changed.reason
    assert values(send_metrics(normaliser, histogram([11, 1], 10, bounds=[1.0])))["duration", "rate"] == [2.0]


@pytest.mark.parametrize(
    ("counts", "bounds", "reason"),
    [
        ([1, 2], [0.1, 0.2], "do not fit together"),
        ([1, 2, 3], [0.2, 0.1], "not ascending"),
        ([1, 2, 3], [0.1, 0.1], "not ascending"),
        ([1, 2, 3], [0.1, float("inf")], "not ascending"),
        ([1, 2, 3], [float("nan"), 1.0], "not ascending"),
        ([1] * 2050, list(range(2049)), "more than 2048 buckets"),
    ],
)
def test_a_histogram_that_contradicts_itself_is_rejected(counts: list[int], bounds: list[float], reason: str) -> None:
    assert reason in send_metrics(Normaliser(), histogram(counts, 0, bounds=bounds)).reason


def test_a_scale_out_of_range_is_rejected() -> None:
    assert "scale is not in" in send_metrics(Normaliser(), exponential({0: 1}, 0, scale=2**31 - 1)).reason


def test_exponential_histograms_of_two_scales_are_compared_at_the_coarser_one() -> None:
    fine = exponential({0: 8, 1: 8}, 0, scale=1, total=24.0)
    coarse = exponential({0: 16, 1: 10}, 10, scale=0, total=54.0)
    found = statistics(fine, coarse)
    assert (found["rate"], found["mean"]) == (1.0, 3.0)
    assert 2.0 < found["p50"] < 4.0


@settings(max_examples=50, deadline=None)
@given(
    st.integers(min_value=0, max_value=2**32 - 1),
    st.floats(min_value=0.2, max_value=1.5),
    st.integers(min_value=2, max_value=6),
)
def test_exponential_quantiles_lie_within_one_bucket_of_the_truth(seed: int, spread: float, scale: int) -> None:
    observed = np.random.default_rng(seed).lognormal(-2.0, spread, 2_000)
    index = np.ceil(np.log2(observed) * 2**scale).astype(int) - 1
    buckets = {int(i): int(n) for i, n in zip(*np.unique(index, return_counts=True), strict=True)}
    found = dict(quantiles(Exponential(count=2_000, total=None, scale=scale, positive=buckets, negative={})))
    width = 2.0 ** (2.0**-scale)
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        truth = float(np.quantile(observed, q, method="inverted_cdf"))
        assert truth / width <= found[name] <= truth * width


def test_quantiles_of_negative_zero_and_positive_observations_are_in_order() -> None:
    mixed = Exponential(count=30, total=None, scale=0, zero_count=10, positive={0: 10}, negative={0: 10})
    found = dict(quantiles(mixed))
    assert found["p50"] == 0.0
    assert 1.0 < found["p95"] <= found["p99"] <= 2.0
    below = Exponential(count=10, total=None, scale=0, positive={}, negative={0: 10})
    assert -2.0 <= dict(quantiles(below))["p50"] <= -1.0


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(-(2**31), 2**31), st.integers(1, 2**62), max_size=5),
    st.dictionaries(st.integers(-(2**31), 2**31), st.integers(1, 2**62), max_size=5),
    st.integers(-10, 20),
)
def test_quantiles_are_finite_and_ascending_whatever_the_buckets(
    positive: dict[int, int], negative: dict[int, int], scale: int
) -> None:
    found = [
        v for _, v in quantiles(Exponential(count=1, total=None, scale=scale, positive=positive, negative=negative))
    ]
    assert np.isfinite(found).all()
    assert all(b >= a or b == pytest.approx(a) for a, b in pairwise(found))


def test_a_summary_gives_its_own_quantiles_and_the_rate_and_mean_of_the_interval() -> None:
    def summary(count: int, total: float, at_s: float) -> Metric:
        metric = Metric(name="duration", unit="s")
        point = metric.summary.data_points.add(time_unix_nano=at(at_s), count=count, sum=total)
        point.quantile_values.add(quantile=0.5, value=0.2)
        point.quantile_values.add(quantile=0.999, value=float("nan"))
        point.quantile_values.add(quantile=0.9, value=0.4)
        return metric

    assert statistics(summary(10, 5.0, 0)) == {"p50": 0.2, "p90": 0.4}
    assert statistics(summary(10, 5.0, 0), summary(20, 8.0, 10)) == pytest.approx(
        {"p50": 0.2, "p90": 0.4, "rate": 1.0, "mean": 0.3}
    )
