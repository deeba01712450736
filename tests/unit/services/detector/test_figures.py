"""Figures read as people write them, and tails are what tables say."""

import pytest

from services.detector.figures import quantity
from services.detector.tail_probability import (
    binomial_at_least,
    poisson_at_least,
    poisson_at_most,
    score_of,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.412, "s", "412 ms"),
        (412.0, "ms", "412 ms"),
        (2.5, "s", "2.5 s"),
        (0.00002, "s", "20 us"),
        (200e6, "By", "200 MB"),
        (1.5e6, "By/s", "1.5 MB/s"),
        (512.0, "By", "512 B"),
        (0.034, "ratio", "3.4 %"),
        (12.0, "{request}/s", "12 request/s"),
        (3.14159, "", "3.14"),
        (1234.5, "1", "1234"),
        (float("nan"), "s", "unknown"),
    ],
)
def test_a_quantity_in_words(value: float, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_binomial_tails() -> None:
    assert binomial_at_least(1, 10, 0.1) == pytest.approx(1 - 0.9**10)
    assert binomial_at_least(3, 3, 0.05) == pytest.approx(0.05**3)
    assert binomial_at_least(0, 10, 0.1) == 1.0
    assert binomial_at_least(5, 0, 0.1) == 1.0


def test_poisson_tails() -> None:
    assert poisson_at_most(0, 3.0) == pytest.approx(0.049787068)
    assert poisson_at_least(1, 3.0) == pytest.approx(1 - 0.049787068)
    assert poisson_at_least(10, 5.0, dispersion=3.0) > poisson_at_least(10, 5.0)


def test_a_score_grows_with_surprise_and_stays_in_its_range() -> None:
    scores = [score_of(p) for p in (1.0, 1e-4, 1e-8, 1e-300, 0.0)]
    assert scores == sorted(scores)
    assert (scores[0], scores[1], scores[2]) == pytest.approx((0.0, 0.5, 0.75))
    assert scores[-1] <= 1.0
