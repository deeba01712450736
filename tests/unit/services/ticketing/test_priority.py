"""Priority is impact times urgency, and only rises by itself."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from libs.contracts.anomaly import AnomalyDetected, Severity, Signal
from libs.contracts.incident import Level, Priority
from services.ticketing.decide import decide
from services.ticketing.priority import MATRIX, impact_of, impact_of_users, priority
from services.ticketing.ticket import State, Surroundings

MakeAnomaly = Callable[..., AnomalyDetected]
LEVELS = (Level.LOW, Level.MEDIUM, Level.HIGH)


def test_the_matrix_is_complete_and_monotone() -> None:
    assert set(MATRIX) == {(impact, urgency) for impact in LEVELS for urgency in LEVELS}
    for other in LEVELS:
        rows = [priority(level, other).value for level in LEVELS]
        columns = [priority(other, level).value for level in LEVELS]
        assert rows == sorted(rows, reverse=True)
        assert columns == sorted(columns, reverse=True)


@pytest.mark.parametrize(
    ("services", "expected"),
    [
        (["catalog"], Level.LOW),
        (["catalog", "inventory"], Level.MEDIUM),
        (["catalog", "inventory", "payments", "cart"], Level.HIGH),
        (["gateway"], Level.HIGH),
    ],
)
def test_impact_grows_with_services_and_at_the_entry(
    anomaly: MakeAnomaly, around: Surroundings, services: list[str], expected: Level
) -> None:
    assert impact_of(tuple(anomaly(service) for service in services), around.graph) is expected


def test_busy_traffic_at_the_entry_alone_is_no_high_impact(anomaly: MakeAnomaly, around: Surroundings) -> None:
    assert impact_of((anomaly("gateway", signal=Signal.TRAFFIC),), around.graph) is Level.LOW


@pytest.mark.parametrize(
    ("affected", "active", "expected"),
    [
        (0, 100, Level.LOW),
        (4, 4, Level.LOW),
        (5, 100, Level.MEDIUM),
        (25, 100, Level.HIGH),
        (5, 101, Level.LOW),
        (9, 0, Level.LOW),
    ],
)
def test_impact_grows_with_the_share_of_users(affected: int, active: int, expected: Level) -> None:
    assert impact_of_users(affected, active) is expected


@pytest.mark.parametrize(
    ("severity", "detector", "expected"),
    [
        (Severity.MEDIUM, "latency", Priority.P5),
        (Severity.HIGH, "latency", Priority.P4),
        (Severity.CRITICAL, "latency", Priority.P3),
        (Severity.HIGH, "burn_rate", Priority.P3),
        (Severity.MEDIUM, "burn_rate", Priority.P5),
    ],
)
def test_urgency_follows_severity_and_the_error_budget(
    anomaly: MakeAnomaly, around: Surroundings, severity: Severity, detector: str, expected: Priority
) -> None:
    state, _ = decide(State(), anomaly("catalog", severity=severity, detector=detector), around)
    (tracked,) = state.incidents.values()
    assert tracked.core.priority is expected


def test_priority_rises_when_it_grows_and_stays_when_it_calms_down(anomaly: MakeAnomaly, around: Surroundings) -> None:
    first = anomaly("catalog", 0, severity=Severity.MEDIUM)
    state, _ = decide(State(), first, around)
    state, _ = decide(state, anomaly("gateway", 20, severity=Severity.HIGH), around)
    (tracked,) = state.incidents.values()
    assert (tracked.core.impact, tracked.core.urgency, tracked.core.priority) == (Level.HIGH, Level.HIGH, Priority.P1)
    calm = anomaly("gateway", 20, closed_s=60, severity=Severity.HIGH)
    state, _ = decide(state, replace(calm, sequence=9), around)
    (tracked,) = state.incidents.values()
    assert tracked.core.priority is Priority.P1
