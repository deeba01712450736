"""Memory that only grows: on its way to the limit, at a pace that ordinary operation never had."""

from typing import Final

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from services.investigator.evidence import Evidence, MetricShift
from services.investigator.ranking.finding import Finding, certainty

# Warming caches add some per cent; a leak worth an incident adds a quarter of the ordinary use, or reaches its limit.
_LEAST_GROWTH: Final = 0.25
_NEAR_LIMIT: Final = 0.8


def memory_leak(evidence: Evidence) -> list[Finding]:
    """Growing memory by instance."""
    found = []
    for metric in evidence.metrics:
        if metric.resource != "memory" or metric.signal is not Signal.SATURATION or metric.is_limit:
            continue
        if (
            metric.bad != "high"
            or metric.slope_per_s <= 0
            or metric.level.median <= 0
            or "node" in metric.name.casefold()
        ):
            continue
        limit = _limit_of(evidence, metric)
        growth = (metric.last - metric.level.median) / metric.level.median
        filled = metric.last / limit if limit else 0.0
        still_growing = metric.last >= 0.97 * metric.worst
        if not still_growing or (growth < _LEAST_GROWTH and filled < _NEAR_LIMIT):
            continue
        strength = max(certainty(growth, 2 * _LEAST_GROWTH), certainty(filled, _NEAR_LIMIT) if filled else 0.0)
        strength *= certainty(metric.deviation, 6.0)
        left = f", {filled:.0%} of its limit" if limit else ""
        found.append(
            Finding(
                idea="memory_leak",
                service=metric.service,
                strength=strength,
                text=f"{metric.name} of {metric.instance or metric.service} grew from {metric.level.median:.4g} to "
                f"{metric.last:.4g} {metric.unit}{left} and still grows by {metric.slope_per_s:.3g} {metric.unit}/s",
                source="metrics",
                kind=CauseKind.MEMORY_LEAK,
                instance=metric.instance or None,
            )
        )
    return found


def _limit_of(evidence: Evidence, metric: MetricShift) -> float:
    """The memory limit of the same instance in the same unit, 0 when none is reported."""
    limits = [
        entry.last
        for entry in evidence.metrics
        if entry.is_limit
        and entry.resource == "memory"
        and entry.service == metric.service
        and entry.unit == metric.unit
        and entry.instance == metric.instance
    ]
    return min(limits, default=0.0)
