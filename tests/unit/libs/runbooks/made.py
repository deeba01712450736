"""Hypotheses, anomalies, incidents and changes as the tests need them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState, Level, Priority
from libs.contracts.investigation import CauseKind, Hypothesis
from libs.contracts.telemetry import ChangeEvent, ChangeKind

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A moment, in seconds after T0."""
    return T0 + timedelta(seconds=seconds)


def an_anomaly(service: str = "catalog", **fields: Any) -> AnomalyDetected:
    """An open latency anomaly that began at T0."""
    given: dict[str, Any] = {
        "id": f"anomaly-{service}",
        "state": EpisodeState.OPENED,
        "service": service,
        "signal": Signal.LATENCY,
        "metric": "span.server.duration",
        "detector": "latency",
        "severity": Severity.HIGH,
        "score": 0.9,
        "observed": 0.4,
        "expected": 0.05,
        "expected_lower": 0.03,
        "expected_upper": 0.08,
        "deviation": 12.0,
        "started_at": at(0),
        "detected_at": at(10),
        "updated_at": at(10),
        "window_s": 5.0,
        "explanation": f"p95 of {service} 400 ms, expected 30..80 ms",
    }
    return AnomalyDetected(**{**given, **fields})


def closed(anomaly: AnomalyDetected, seconds: float) -> AnomalyDetected:
    """The same episode at its end."""
    return AnomalyDetected(
        **{
            **{name: getattr(anomaly, name) for name in anomaly.__dataclass_fields__},
            "state": EpisodeState.CLOSED,
            "closed_at": at(seconds),
            "updated_at": at(seconds),
            "sequence": anomaly.sequence + 1,
        }
    )


def an_incident(*anomalies: AnomalyDetected, **fields: Any) -> IncidentChanged:
    """An open incident."""
    held = anomalies or (an_anomaly(),)
    given: dict[str, Any] = {
        "id": "incident-1",
        "number": "INC-000001",
        "version": 1,
        "change": IncidentChange.OPENED,
        "title": "catalog is slow",
        "state": IncidentState.NEW,
        "priority": Priority.P2,
        "impact": Level.MEDIUM,
        "urgency": Level.HIGH,
        "services": tuple(dict.fromkeys(anomaly.service for anomaly in held)),
        "anomalies": held,
        "started_at": at(0),
        "opened_at": at(10),
        "updated_at": at(10),
        "observed_at": at(11),
    }
    return IncidentChanged(**{**given, **fields})


def a_hypothesis(**fields: Any) -> Hypothesis:
    """A deploy of catalog is to blame."""
    given: dict[str, Any] = {
        "rank": 1,
        "service": "catalog",
        "kind": CauseKind.DEPLOY,
        "cause": "deploy 2.4.0 of catalog",
        "confidence": 0.8,
        "change_id": "change-1",
    }
    return Hypothesis(**{**given, **fields})


def a_change(**fields: Any) -> ChangeEvent:
    """The deploy that is to blame."""
    given: dict[str, Any] = {
        "id": "change-1",
        "kind": ChangeKind.DEPLOY,
        "service": "catalog",
        "timestamp": at(-20),
        "version": "2.4.0",
        "previous_version": "2.3.0",
        "summary": "catalog 2.4.0 deployed",
        "actor": "deploy-bot",
    }
    return ChangeEvent(**{**given, **fields})
