"""Log records and change events."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from libs.contracts.batch_rows import NO_SPAN_ID, NO_TRACE_ID, LogIn
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from libs.errors import InvalidMessage
from services.intake.decode.formats import JSON
from services.intake.normalise.logs import severity_of
from services.intake.normalise.normaliser import Normaliser
from services.intake.signals import Accepted, Signal
from tests.unit.services.intake.requests import NOON, SPAN, TRACE, at, log, logs_of, send

DEPLOY = {"kind": "deploy", "service": "cart", "timestamp": "2026-01-01T11:59:00Z", "version": "2"}


def sent(request: ExportLogsServiceRequest) -> Accepted:
    return send(Normaliser(), request, Signal.LOGS)


def one(**fields: Any) -> LogIn:
    (found,) = logs_of(sent(log(**fields)))
    return found


def test_a_record_keeps_time_body_trace_logger_and_user() -> None:
    found = one(trace_id=TRACE, span_id=SPAN, severity_number=17, pairs={"user__id": "u-1", "n": 1})
    assert found == LogIn(
        timestamp=at(0),
        severity=17,
        body="order placed",
        trace_id=TRACE,
        span_id=SPAN,
        logger="cart.orders",
        user="u-1",
        attributes={"n": "1"},
    )


def test_a_record_without_time_happened_when_it_was_observed() -> None:
    assert one(time_unix_nano=0, observed_time_unix_nano=at(3)).timestamp == at(3)


def test_a_record_without_any_time_is_rejected() -> None:
    assert "no timestamp" in sent(log(time_unix_nano=0)).reason


def test_a_malformed_trace_id_does_not_cost_the_record() -> None:
    found = one(trace_id=b"x", span_id=b"y")
    assert (found.trace_id, found.span_id) == (NO_TRACE_ID, NO_SPAN_ID)


@pytest.mark.parametrize(
    ("number", "text", "severity"),
    [
        (9, "ERROR", 9),
        (0, "error", 17),
        (0, " Warning ", 13),
        (0, "INFO2", 10),
        (0, "CRITICAL", 21),
        (0, "?", 0),
        (99, "", 0),
    ],
)
def test_severity_comes_from_the_number_else_from_the_text(number: int, text: str, severity: int) -> None:
    assert severity_of(number, text) == severity


def test_a_structured_body_becomes_json() -> None:
    request = log()
    body = request.resource_logs[0].scope_logs[0].log_records[0].body
    body.kvlist_value.values.add(key="event").value.string_value = "paid"
    body.kvlist_value.values.add(key="amount").value.int_value = 3
    assert logs_of(sent(request))[0].body == '{"event":"paid","amount":3}'


def post(body: object) -> Accepted:
    return Normaliser().emits_for_request(Signal.CHANGES, json.dumps(body).encode(), JSON, NOON)


def change(body: object) -> ChangeEvent:
    (emit,) = post(body).emits
    assert isinstance(emit.record, ChangeEvent)
    assert (emit.topic, emit.key) == ("changes", emit.record.service)
    return emit.record


def test_a_change_is_posted_and_its_id_follows_from_what_defines_it() -> None:
    first = change({**DEPLOY, "attributes": {"replicas": 3, "canary": True}})
    assert first.kind is ChangeKind.DEPLOY
    assert first.timestamp == datetime(2026, 1, 1, 11, 59, tzinfo=UTC)
    assert first.attributes == {"replicas": "3", "canary": "true"}
    assert change({**DEPLOY, "attributes": {"canary": True, "replicas": 3}}).id == first.id
    assert change({**DEPLOY, "version": "3"}).id != first.id


def test_the_senders_own_id_is_kept() -> None:
    assert change({**DEPLOY, "id": "deploy-17"}).id == "deploy-17"


def test_a_change_without_a_time_happened_when_it_was_received() -> None:
    assert change({"kind": "flag", "service": "cart"}).timestamp == NOON


def test_a_time_with_another_offset_is_the_same_moment() -> None:
    assert change({**DEPLOY, "timestamp": "2026-01-01T13:59:00+02:00"}).id == change(DEPLOY).id


def test_several_changes_are_several_messages() -> None:
    assert len(post([DEPLOY, {**DEPLOY, "kind": "scale"}]).emits) == 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({**DEPLOY, "kind": "party"}, "kind"),
        ({**DEPLOY, "service": ""}, "service"),
        ({**DEPLOY, "servise": "cart"}, "servise"),
        ({**DEPLOY, "timestamp": "2026-01-01T11:59:00"}, "timezone"),
        ({**DEPLOY, "timestamp": "2026-01-01T13:00:00Z"}, "in the future"),
        ({**DEPLOY, "timestamp": "2025-01-01T13:00:00Z"}, "older than 720 h"),
        ({**DEPLOY, "timestamp": "0001-01-01T00:00:00+14:00"}, "change"),
        ({**DEPLOY, "attributes": {"a": ["b"]}}, "attributes"),
        ({}, "kind"),
        ([], "empty"),
        ("deploy", "change"),
        ([DEPLOY, {}], "kind"),
    ],
)
def test_a_wrong_change_is_refused_with_what_is_wrong(body: object, reason: str) -> None:
    with pytest.raises(InvalidMessage, match=reason):
        post(body)


def test_a_change_may_come_as_a_log_event() -> None:
    request = log(event_name="paramedic.change")
    body = request.resource_logs[0].scope_logs[0].log_records[0].body
    body.kvlist_value.values.add(key="kind").value.string_value = "flag"
    body.kvlist_value.values.add(key="version").value.bool_value = True
    (emit,) = sent(request).emits
    assert isinstance(emit.record, ChangeEvent)
    assert (emit.record.service, emit.record.kind, emit.record.version) == ("cart", "flag", "true")


def test_a_wrong_change_among_logs_is_rejected_with_a_reason() -> None:
    accepted = sent(log(event_name="paramedic.change"))
    assert (accepted.rejected, accepted.emits) == (1, ())
    assert "change of cart" in accepted.reason
