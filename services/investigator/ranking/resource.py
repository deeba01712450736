"""A resource in use as it never was: cpu, memory, disk, pools and queues, against the worst of ordinary operation."""

from typing import Final

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from services.investigator.evidence import Evidence, MetricShift, Source
from services.investigator.ranking.finding import Finding, certainty

# Of 46 quiet services one is always at 3 to 5 times its 98th percentile; contention is at 20 to 500.
_SCALE: Final = 8.0
# A machine's cpu is shared: it says less about the service that happens to report it.
_NODE_SHARE: Final = 0.3
# Pools and queues fill behind whatever is slow; they say where it hurts as much as why.
_SYMPTOMATIC: Final = frozenset({"pool", "queue", "threads"})
_SYMPTOM_SHARE: Final = 0.5
_KINDS: Final = {"cpu": CauseKind.RESOURCE, "disk": CauseKind.RESOURCE, "memory": CauseKind.RESOURCE}
_JUDGED: Final = frozenset({"cpu", "disk", "memory", "pool", "queue", "threads", "gc"})


def resource(evidence: Evidence) -> list[Finding]:
    """Rare use of a resource by service, weaker where the requests themselves explain it."""
    judged = [m for m in evidence.metrics if m.resource in _JUDGED and not m.is_limit and m.signal is Signal.SATURATION]
    greatest = max((_rarity(evidence, metric) for metric in judged), default=0.0)
    found = []
    for metric in judged:
        rare = _rarity(evidence, metric)
        share = (_NODE_SHARE if is_of_node(metric) else 1.0) * (
            _SYMPTOM_SHARE if metric.resource in _SYMPTOMATIC else 1.0
        )
        strength = certainty(rare, _SCALE) * share * (0.5 + 0.5 * rare / greatest if greatest else 0.0)
        if strength < 0.02:
            continue
        found.append(
            Finding(
                idea="resource",
                service=metric.service,
                strength=strength,
                text=f"{metric.name} of {metric.service} is {metric.worst:.4g}{metric.unit and ' ' + metric.unit}, "
                f"{metric.rarity:.1f} times as far from its ordinary {metric.level.median:.4g} as it ever went",
                source="metrics",
                kind=CauseKind.SATURATION if metric.resource in _SYMPTOMATIC else _KINDS.get(metric.resource),
                instance=metric.instance or None,
            )
        )
    return found


def is_of_node(metric: MetricShift) -> bool:
    """Whether the metric is of the machine and not of the service."""
    return "node" in metric.name.casefold() or "host" in metric.name.casefold()


def _rarity(evidence: Evidence, metric: MetricShift) -> float:
    """Rarity without the part that more requests explain."""
    return metric.rarity / max(1.0, growth(evidence, metric.service))


def growth(evidence: Evidence, service: str) -> float:
    """Requests now over before; 1 when unknown."""
    shifts = (evidence.own(service, source) for source in Source)
    return max((shift.growth for shift in shifts if shift is not None), default=1.0)
