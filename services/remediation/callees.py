"""What is in trouble below a target: a service that waits for a failing callee is a symptom, and no fix of it helps."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Signal
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import CauseKind
from libs.stores.telemetry import Edge
from services.remediation.run import WORSE_THAN_LOW

_FAILING: Final = frozenset({Signal.ERRORS, Signal.SILENCE})
_HARMED: Final = frozenset({*_FAILING, Signal.LATENCY})


def ailing_callees(
    target: str, edges: Iterable[Edge], incidents: Sequence[IncidentChanged]
) -> tuple[AnomalyDetected, ...]:
    """Open anomalies, above LOW, that show a service or peer below the target to fail, be slow or be silent.

    Args:
        target: service.name.
        edges: Who calls whom, as far as it is known.
        incidents: Open incidents of any service: the trouble below may have its own ticket.
    """
    beneath = below(target, edges)
    return tuple(
        anomaly
        for incident in incidents
        for anomaly in incident.anomalies
        if anomaly.state is not EpisodeState.CLOSED
        and anomaly.severity in WORSE_THAN_LOW
        and anomaly.signal in _HARMED
        and sufferer(anomaly) in beneath
        # What an outsider sees of a callee may be the outsider's own trouble.
        and (not anomaly.peer or anomaly.service == target or anomaly.service in beneath)
    )


def objects_to(kind: CauseKind, ailing: Sequence[AnomalyDetected]) -> tuple[AnomalyDetected, ...]:
    """Those that make a cause of this kind doubtful: under a surge everybody is slower, so only failures count."""
    counting = _FAILING if kind is CauseKind.TRAFFIC_SURGE else _HARMED
    return tuple(anomaly for anomaly in ailing if anomaly.signal in counting)


def sufferer(anomaly: AnomalyDetected) -> str:
    """Who is in trouble: the callee of a call edge, else the service."""
    return anomaly.peer or anomaly.service


def below(target: str, edges: Iterable[Edge]) -> frozenset[str]:
    """Everything that the target reaches by calls, without itself."""
    callees: dict[str, set[str]] = defaultdict(set)
    for edge in edges:
        callees[edge.caller].add(edge.callee)
    reached: set[str] = set()
    waiting = [target]
    while waiting:
        new = callees[waiting.pop()] - reached - {target}
        reached |= new
        waiting.extend(new)
    return frozenset(reached)
