"""What a ticket is opened with: traces, logs, changes, topology, users and similar incidents, from real stores."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from libs.contracts.anomaly import AnomalyDetected, Severity, Signal
from libs.contracts.codec import ns_from_utc
from libs.contracts.columns import pack_int8, pack_int32, pack_int64
from libs.contracts.command import CommandKind
from libs.contracts.incident import IncidentChange
from libs.contracts.telemetry import ChangeEvent, ChangeKind, LogBatch
from tests.unit.services.ticketing.said import command

MakeAnomaly = Callable[..., AnomalyDetected]
Moment = Callable[[float], datetime]
World = Any


def test_a_service_between_is_judged_by_its_telemetry_whatever_arrives_first(
    world: World, anomaly: MakeAnomaly
) -> None:
    world.call("gateway", "checkout", -20.0)
    world.call("checkout", "payments", -20.0)
    world.spans("checkout", [(second, 0.02, "", 0) for second in range(-100, 0, 2)])
    world.spans("checkout", [(second, 0.02, "", 2) for second in range(0, 10)])
    world.feed(anomaly("payments", 0, signal=Signal.ERRORS))
    (told,) = world.feed(anomaly("gateway", 1, signal=Signal.ERRORS))
    assert told.change is IncidentChange.ANOMALY_ADDED
    assert told.services == ("payments", "gateway")


@pytest.fixture
def rich(world: World, moment: Moment) -> World:
    """A world with calls, users, failures, logs and changes around catalog."""
    world.call("gateway", "catalog", -300.0)
    world.spans("catalog", [(second, 0.04, f"u{second % 40}", 0) for second in range(-120, 0)])
    world.spans("catalog", [(second, 0.5, f"u{second}", 0) for second in range(1, 9)])
    world.spans("catalog", [(9, 0.02, "u9", 2), (9.5, 0.5, "", 0)], name="GET /failing")
    world.platform.telemetry.write(
        logs=[
            LogBatch(
                service="catalog",
                observed_at=world.now,
                timestamps=pack_int64([ns_from_utc(moment(2 + i)) for i in range(4)]),
                severities=pack_int8([13, 17, 17, 9]),
                bodies=("pool is 91% full", "query 17 took 512 ms", "query 18 took 498 ms", "fine"),
                trace_ids=bytes(64),
                span_ids=bytes(32),
                loggers=("sql",),
                logger_index=pack_int32([0] * 4),
                user_index=pack_int32([-1] * 4),
                attribute_sets=({},),
                attribute_index=pack_int32([0] * 4),
            )
        ],
        changes=[
            ChangeEvent(id="d1", kind=ChangeKind.DEPLOY, service="catalog", timestamp=moment(-30), version="1.1"),
            ChangeEvent(id="d0", kind=ChangeKind.DEPLOY, service="catalog", timestamp=moment(-2_000), version="1.0"),
            ChangeEvent(id="d2", kind=ChangeKind.DEPLOY, service="printer", timestamp=moment(-30), version="7"),
        ],
    )
    return world


def test_the_context_holds_traces_logs_changes_topology_and_users(rich: World, anomaly: MakeAnomaly) -> None:
    rich.feed(anomaly("catalog", 0))
    told = rich.tick(12)
    assert told[-1].change is IncidentChange.CONTEXT_ADDED
    document = rich.document("INC-000001")
    context = document.context
    assert {trace.reason for trace in context.traces} == {"error", "slow"}
    assert len(context.traces) == 10
    assert context.traces[0].errors == 1
    assert [(log.body, log.count) for log in context.logs] == [("query 17 took 512 ms", 2), ("pool is 91% full", 1)]
    assert [change.id for change in context.changes] == ["d1"]
    assert [(edge.caller, edge.callee) for edge in context.topology] == [("gateway", "catalog")]
    users = context.affected_users
    assert users.count == 9
    assert users.sample == tuple(f"u{i}" for i in range(1, 10))
    assert "distinct enduser.id or user.id of server spans of catalog" in users.basis
    assert "longer than the expected 60 ms" in users.basis
    assert users.basis.endswith("a lower bound: 1 such spans name no user")
    assert document.incident.affected_users == users
    assert "deploy of catalog" in document.timeline[0].text


def test_users_at_the_entry_raise_the_priority(rich: World, anomaly: MakeAnomaly) -> None:
    (opened,) = rich.feed(anomaly("catalog", 0, severity=Severity.CRITICAL))
    told = rich.tick(12)
    assert opened.priority.value == "P3"
    assert told[-1].priority.value == "P1"


def test_failures_are_counted_where_latency_is_as_expected(rich: World, anomaly: MakeAnomaly) -> None:
    rich.feed(anomaly("catalog", 0, signal=Signal.ERRORS))
    rich.tick(12)
    users = rich.document("INC-000001").context.affected_users
    assert (users.count, users.sample) == (1, ("u9",))
    assert "that failed between" in users.basis


def test_users_are_read_from_the_traces_when_the_service_names_none(world: World, anomaly: MakeAnomaly) -> None:
    traces = [bytes([i]) * 16 for i in range(1, 4)]
    world.spans("gateway", [(i, 0.03, f"u{i}", 0) for i in range(1, 4)], traces=traces)
    world.spans("catalog", [(i, 0.02, "", 2) for i in range(1, 4)], traces=traces)
    world.feed(anomaly("catalog", 0, signal=Signal.ERRORS))
    world.tick(12)
    users = world.document("INC-000001").context.affected_users
    assert users.sample == ("u1", "u2", "u3")
    assert "in 3 traces through catalog" in users.basis
    assert "name no user" in users.basis


def test_context_is_gathered_on_growth_at_most_every_ten_seconds_and_once_at_rest(
    rich: World, anomaly: MakeAnomaly
) -> None:
    rich.feed(anomaly("catalog", 0))
    rich.tick(12)
    rich.feed(anomaly("gateway", 5))
    assert rich.tick(15) == []
    assert [core.change for core in rich.tick(23)] == [IncidentChange.CONTEXT_ADDED]
    assert rich.tick(60) == []
    rich.feed(anomaly("catalog", 0, closed_s=61), anomaly("gateway", 5, closed_s=62))
    assert [core.change for core in rich.tick(70)] == [IncidentChange.CONTEXT_ADDED]
    assert rich.tick(80) == []


def test_similar_incidents_bring_their_cause_and_fix(rich: World, anomaly: MakeAnomaly, moment: Moment) -> None:
    (first,) = rich.feed(anomaly("catalog", -9_000))
    confirmed = command(
        CommandKind.CONFIRM_ROOT_CAUSE, first.id, moment, service="catalog", text="no index", fixed_by="rollback"
    )
    rich.feed(replace(confirmed, arguments={**confirmed.arguments, "kind": "deploy"}))
    rich.feed(anomaly("catalog", 0))
    rich.tick(12)
    (similar,) = rich.document("INC-000002").context.similar_incidents
    assert (similar.number, similar.root_cause, similar.root_cause_service) == ("INC-000001", "no index", "catalog")
    assert (similar.confirmed_by, similar.fixed_by) == ("ada", "rollback")
    assert similar.similarity > 0.9
