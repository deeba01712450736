"""More requests from outside than a service can serve: demand rose at the entry, and someone below is saturated."""

from typing import Final

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from services.investigator.evidence import CallShift, Evidence, MetricShift, Source
from services.investigator.ranking.finding import Finding, certainty
from services.investigator.ranking.resource import is_of_node

_LEAST_GROWTH: Final = 1.6  # times the ordinary rate; daily swings of a minute-by-minute rate stay below
_SCALE_GROWTH: Final = 0.8
_QUEUES: Final = frozenset({"pool", "queue", "threads", "cpu"})
_LEAST_REQUESTS: Final = 20.0
_DEMAND: Final = "traffic_surge"


def traffic_surge(evidence: Evidence) -> list[Finding]:
    """The saturated services of a surge, given that demand grew where requests enter."""
    grown = _entry_growth(evidence)
    if grown < _LEAST_GROWTH:
        return []
    demand = certainty(grown - 1.0, _SCALE_GROWTH)
    found = []
    for service in evidence.services():
        own = evidence.own(service, Source.SPANS) or evidence.own(service, Source.METRICS)
        full = max((_fullness(metric) for metric in evidence.metrics if metric.service == service), default=0.0)
        slower = certainty(_slower(own), 2.0) if own is not None else 0.0
        rate = _growth(own) if own is not None else 1.0
        if own is not None and rate < _LEAST_GROWTH:
            continue
        strength = demand * full * (0.5 + 0.5 * slower)
        if strength < 0.1:
            continue
        found.append(
            Finding(
                idea=_DEMAND,
                service=service,
                strength=strength,
                text=f"requests at the entry rose to {grown:.1f} times the ordinary, and {_fullest(evidence, service)}",
                source="red",
                kind=CauseKind.TRAFFIC_SURGE,
            )
        )
    return found


def _entry_growth(evidence: Evidence) -> float:
    """Growth of requests at the services that nobody calls; of every service where no graph is known."""
    called = {callee for _, callee in evidence.graph.calls}
    calling = {caller for caller, _ in evidence.graph.calls}
    entries = [
        c for c in evidence.calls if not c.peer and c.service not in called and (not calling or c.service in calling)
    ]
    return max((_growth(shift) for shift in entries), default=1.0)


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
    return certainty(metric.rarity, 3.0)


def _fullest(evidence: Evidence, service: str) -> str:
    metrics = [metric for metric in evidence.metrics if metric.service == service and _fullness(metric) > 0]
    worst = max(metrics, key=_fullness)
    return f"{worst.name} of {service} is {worst.worst:.4g} (ordinary {worst.level.median:.4g})"
