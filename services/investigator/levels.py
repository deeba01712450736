"""How much and how fast: rates of requests, and the ordinary level of a value."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What is ordinary for a number.

    Attributes:
        median: Its median.
        spread: Robust standard deviation (1.4826 MAD) with a floor, never 0.
        points: How many values it rests on.
    """

    median: float
    spread: float
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rate, errors and duration over a stretch of time.

    Attributes:
        requests: How many.
        requests_per_s: How many a second.
        error_ratio: Failed ones among them.
        mean_s: Mean duration in seconds.
        p95_s: 95th percentile of the worst step in seconds.
    """

    requests: float = 0.0
    requests_per_s: float = 0.0
    error_ratio: float = 0.0
    mean_s: float = 0.0
    p95_s: float = 0.0


def total(values: Sequence[Rates], seconds: float) -> Rates:
    """Rates of several stretches together."""
    requests = sum(value.requests for value in values)
    if not requests or seconds <= 0:
        return Rates()
    return Rates(
        requests=requests,
        requests_per_s=requests / seconds,
        error_ratio=sum(value.error_ratio * value.requests for value in values) / requests,
        mean_s=sum(value.mean_s * value.requests for value in values) / requests,
        p95_s=max(value.p95_s for value in values),
    )
