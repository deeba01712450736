"""What grouping, priority and lifecycle ask of an anomaly episode and of an incident's list of them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity
from libs.contracts.incident import IncidentChanged

_RANK: Final = {Severity.LOW: 0, Severity.MEDIUM: 1, Severity.HIGH: 2, Severity.CRITICAL: 3}
OrderKey = tuple[datetime, str, str, str, str, str, int]


def severity_rank(severity: Severity) -> int:
    """0 for low up to 3 for critical."""
    return _RANK[severity]


def counts(anomaly: AnomalyDetected) -> bool:
    """Whether the anomaly may open a ticket and widen one: medium and above; low ones are context."""
    return anomaly.severity is not Severity.LOW


def counting(anomalies: Iterable[AnomalyDetected]) -> list[AnomalyDetected]:
    """The anomalies of medium severity and above."""
    return [anomaly for anomaly in anomalies if counts(anomaly)]


def is_open(anomaly: AnomalyDetected) -> bool:
    """Whether the signal is still outside its band."""
    return anomaly.state is not EpisodeState.CLOSED


def closed_at(anomaly: AnomalyDetected) -> datetime | None:
    """When the episode closed; None while it is open."""
    if is_open(anomaly):
        return None
    return anomaly.closed_at if anomaly.closed_at is not None else anomaly.updated_at


def worst(anomalies: Sequence[AnomalyDetected]) -> AnomalyDetected:
    """The most severe, the earliest among equals."""
    return min(anomalies, key=lambda a: (-_RANK[a.severity], *order(a)))


def order(anomaly: AnomalyDetected) -> OrderKey:
    """The order in which a batch is looked at, whatever order it arrived in."""
    return (
        anomaly.detected_at,
        anomaly.service,
        anomaly.signal.value,
        anomaly.metric,
        anomaly.peer or "",
        anomaly.id,
        anomaly.sequence,
    )


def quiet_since(core: IncidentChanged) -> datetime | None:
    """When the last anomaly that counts closed; None while one is open. Low ones may stay open for an hour."""
    latest: datetime | None = None
    for anomaly in counting(core.anomalies):
        closed = closed_at(anomaly)
        if closed is None:
            return None
        latest = closed if latest is None else max(latest, closed)
    return latest


def affected_services(anomalies: Iterable[AnomalyDetected]) -> tuple[str, ...]:
    """Services with an anomaly that counts, the first affected first."""
    first: dict[str, datetime] = {}
    for anomaly in counting(anomalies):
        seen = first.get(anomaly.service)
        first[anomaly.service] = anomaly.started_at if seen is None else min(seen, anomaly.started_at)
    return tuple(sorted(first, key=lambda service: (first[service], service)))


def fingerprint(anomalies: Iterable[AnomalyDetected]) -> tuple[str, ...]:
    """Order-free tokens service|signal|metric|direction, and the same without the service, for similar incidents."""
    tokens = set()
    for anomaly in counting(anomalies):
        direction = "down" if anomaly.deviation < 0 else "up"
        what = f"{anomaly.signal.value}|{anomaly.metric}|{direction}"
        tokens.add(what)
        tokens.add(f"{anomaly.service}|{what}")
    return tuple(sorted(tokens))
