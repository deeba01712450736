"""More requests from outside than a service can serve: demand for it rose, and it is saturated.

Demand rises where requests enter, or for what some of them need: five times the orders are twice the requests.
"""

from collections.abc import Mapping
from typing import Final

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from libs.observability.signals import words_of
from services.investigator.evidence import CallShift, Evidence, MetricShift, Source
from services.investigator.ranking.finding import Finding, certainty
from services.investigator.ranking.resource import is_of_node

_LEAST_GROWTH: Final = 1.6  # times the ordinary rate; daily swings of a minute-by-minute rate stay below
_SCALE_GROWTH: Final = 0.8
_QUEUES: Final = frozenset({"pool", "queue", "threads", "cpu"})
_LEAST_REQUESTS: Final = 20.0
_UNTOLD: Final = 0.5  # whether requests take longer, where nobody says
_SHARE_WORDS: Final = frozenset({"utilization", "ratio", "percent", "percentage"})
_DEMAND: Final = "traffic_surge"


def traffic_surge(evidence: Evidence) -> list[Finding]:
    """The saturated services for which demand grew."""
    needed = {demand.service: demand.growth for demand in evidence.traces.demand}
    at_entry = _entry_growth(evidence, needed)
    found = []
    for service in evidence.services():
        grown = max(at_entry, needed.get(service, 1.0))
        if grown < _LEAST_GROWTH:
            continue
        own = evidence.own(service, Source.SPANS) or evidence.own(service, Source.METRICS)
        full = max((_fullness(metric) for metric in evidence.metrics if metric.service == service), default=0.0)
        slower = certainty(_slower(own), 2.0) if own is not None else _UNTOLD
        # What is served grows no further than to what can be served.
        if own is not None and max(_growth(own), needed.get(service, 1.0)) < _LEAST_GROWTH:
            continue
        strength = certainty(grown - 1.0, _SCALE_GROWTH) * full * slower
        if strength < 0.1:
            continue
        where = "at the entry" if at_entry == grown else f"that need {service}"
        found.append(
            Finding(
                idea=_DEMAND,
                service=service,
                strength=strength,
                text=f"requests {where} came {grown:.1f} times as often as usual, and {_fullest(evidence, service)}",
                source="red",
                kind=CauseKind.TRAFFIC_SURGE,
            )
        )
    return found


def _entry_growth(evidence: Evidence, needed: Mapping[str, float]) -> float:
    """Growth of requests at the services that nobody calls; of every service where no graph is known."""
    called = {callee for _, callee in evidence.graph.calls}
    calling = {caller for caller, _ in evidence.graph.calls}
    entries = [
        c for c in evidence.calls if not c.peer and c.service not in called and (not calling or c.service in calling)
    ]
    return max((max(_growth(shift), needed.get(shift.service, 1.0)) for shift in entries), default=1.0)


def _growth(shift: CallShift) -> float:
    many = shift.source is Source.METRICS or shift.now.requests >= _LEAST_REQUESTS
    return shift.growth if many else 1.0


def _slower(shift: CallShift) -> float:
    return (shift.now.mean_s - shift.before.mean_s) / (3.0 * max(shift.mean_noise_s, 0.002))


def _fullness(metric: MetricShift) -> float:
    if (
        metric.resource not in _QUEUES
        or metric.signal is not Signal.SATURATION
        or metric.is_limit
        or is_of_node(metric)
    ):
        return 0.0
    # Ten times as many workers busy as usual may still be one in ten.
    used = 1.0 if metric.resource == "cpu" else _share_in_use(metric)
    return certainty(metric.rarity, 3.0) * used


def _share_in_use(metric: MetricShift) -> float:
    """How much of a pool is in use, where the metric says it; 1 otherwise."""
    if not words_of(metric.name) & _SHARE_WORDS:
        return 1.0
    return min(max(metric.worst / (100.0 if metric.unit == "%" else 1.0), 0.0), 1.0)


def _fullest(evidence: Evidence, service: str) -> str:
    metrics = [metric for metric in evidence.metrics if metric.service == service and _fullness(metric) > 0]
    worst = max(metrics, key=_fullness)
    return f"{worst.name} of {service} is {worst.worst:.4g} (ordinary {worst.level.median:.4g})"
