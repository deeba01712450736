"""Spans: who was called, for whom, whether it failed, and what is refused."""

from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from libs.contracts.batch_rows import NO_SPAN_ID, SpanIn
from libs.contracts.codec import Codec
from services.intake.normalise.attributes import CUT_MARK, DROPPED, VALUE_MAX_BYTES
from services.intake.normalise.normaliser import Normaliser
from services.intake.signals import Accepted, Signal
from tests.unit.services.intake.requests import SPAN, TRACE, at, attributes, send, span, spans_of

CLIENT, SERVER, INTERNAL, PRODUCER = 3, 2, 1, 4


def sent(request: ExportTraceServiceRequest) -> Accepted:
    return send(Normaliser(), request, Signal.SPANS)


def one(**fields: Any) -> SpanIn:
    accepted = sent(span(**fields))
    assert not accepted.rejected, accepted.reason
    (found,) = spans_of(accepted)
    return found


def test_a_span_keeps_ids_times_and_name() -> None:
    found = one(kind=INTERNAL)
    assert (found.trace_id, found.span_id, found.parent_span_id) == (TRACE, SPAN, NO_SPAN_ID)
    assert (found.name, found.start, found.duration, found.status) == ("GET /", at(0), 1_000_000_000, 0)


@pytest.mark.parametrize(
    ("pairs", "peer"),
    [
        ({"peer__service": "bank", "server__address": "10.0.0.1"}, "bank"),
        ({"server__address": "catalog", "server__port": 8080}, "catalog:8080"),
        ({"server__address": "catalog"}, "catalog"),
        ({"net__peer__name": "db", "net__peer__port": 5432}, "db:5432"),
        ({"db__system__name": "postgresql"}, "postgresql"),
        ({"db__system": "redis"}, "redis"),
        ({"messaging__destination__name": "orders"}, "orders"),
        ({"rpc__service": "shop.Cart"}, "shop.Cart"),
        ({"url__full": "https://user:secret@bank.example:8443/pay?x=1"}, "bank.example:8443"),
        ({"http__url": "http://bank/pay"}, "bank"),
        ({"http__url": "http://[bad"}, ""),
        ({"http__host": "bank:80"}, "bank:80"),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("kind", [CLIENT, PRODUCER])
def test_the_peer_of_a_call_is_what_the_caller_names(pairs: dict[str, Any], peer: str, kind: int) -> None:
    assert one(kind=kind, pairs=pairs).peer == peer


@pytest.mark.parametrize("kind", [SERVER, INTERNAL, 5, 0])
def test_other_spans_call_nobody_and_keep_the_attribute(kind: int) -> None:
    found = one(kind=kind, pairs={"peer__service": "gateway"})
    assert (found.peer, found.attributes) == ("", {"peer.service": "gateway"})


@pytest.mark.parametrize("key", ["enduser__id", "user__id", "enduser__pseudo__id"])
def test_a_user_is_taken_out_of_the_attributes(key: str) -> None:
    found = one(pairs={key: "u-1", "x": "y"})
    assert (found.user, found.attributes) == ("u-1", {"x": "y"})


@pytest.mark.parametrize(
    ("kind", "pairs", "code", "status"),
    [
        (SERVER, {"http__response__status_code": 500}, 0, 2),
        (SERVER, {"http__response__status_code": 404}, 0, 0),
        (SERVER, {"http__status_code": "503"}, 0, 2),
        (CLIENT, {"http__response__status_code": 404}, 0, 2),
        (CLIENT, {"http__response__status_code": 200}, 0, 0),
        (SERVER, {"http__response__status_code": 500}, 1, 1),
        (INTERNAL, {"http__response__status_code": 500}, 0, 0),
        (SERVER, {"http__response__status_code": "٥٠٠"}, 0, 0),
        (SERVER, {}, 2, 2),
    ],
)
def test_an_http_failure_is_an_error_unless_the_sender_said_ok(
    kind: int, pairs: dict[str, Any], code: int, status: int
) -> None:
    request = span(kind=kind, pairs=pairs)
    request.resource_spans[0].scope_spans[0].spans[0].status.code = code  # type: ignore[assignment]
    assert spans_of(sent(request))[0].status == status


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"trace_id": b""}, "trace id"),
        ({"trace_id": bytes(16)}, "trace id"),
        ({"trace_id": b"x" * 15}, "trace id"),
        ({"span_id": bytes(8)}, "span id"),
        ({"span_id": b"12345678\x00"}, "span id"),
        ({"parent_span_id": b"1"}, "parent span id"),
        ({"start_time_unix_nano": at(2)}, "ends before it starts"),
        ({"start_time_unix_nano": 0}, "no start time"),
        ({"end_time_unix_nano": at(3600)}, "in the future"),
        ({"end_time_unix_nano": at(-25 * 3600)}, "older than 24 h"),
    ],
)
def test_a_span_that_cannot_be_is_refused_with_a_reason_and_its_neighbours_are_kept(
    fields: dict[str, Any], reason: str
) -> None:
    request = span(**fields)
    request.resource_spans[0].scope_spans[0].spans.extend(span().resource_spans[0].scope_spans[0].spans)
    accepted = sent(request)
    assert (accepted.accepted, accepted.rejected) == (1, 1)
    assert reason in accepted.reason


def test_unknown_kinds_and_codes_are_unspecified() -> None:
    request = span(kind=1000)
    request.resource_spans[0].scope_spans[0].spans[0].status.code = 900  # type: ignore[assignment]
    (found,) = spans_of(sent(request))
    assert (found.kind, found.status) == (0, 0)


def test_values_become_text() -> None:
    request = span(pairs={"n": 3, "zero": 0, "x": 1.5, "yes": True, "no": False, "empty": ""})
    pairs = request.resource_spans[0].scope_spans[0].spans[0].attributes
    array, unset, raw = pairs.add(key="array"), pairs.add(key="unset"), pairs.add(key="raw")
    array.value.array_value.values.add(int_value=1)
    array.value.array_value.values.add(string_value="b")
    raw.value.bytes_value = b"\x00\x01"
    assert unset.key == "unset"
    assert spans_of(sent(request))[0].attributes == {
        "n": "3",
        "zero": "0",
        "x": "1.5",
        "yes": "true",
        "no": "false",
        "empty": "",
        "array": '[1,"b"]',
        "unset": "",
        "raw": "AAE=",
    }


def test_a_long_value_is_cut_with_a_mark_and_a_stack_trace_later() -> None:
    request = span(pairs={"long": "é" * 5_000})
    event = request.resource_spans[0].scope_spans[0].spans[0].events.add(name="exception", time_unix_nano=at(0.5))
    event.attributes.extend(attributes(exception__stacktrace="x" * 10_000))
    (found,) = spans_of(sent(request))
    assert found.attributes["long"].endswith(CUT_MARK)
    assert VALUE_MAX_BYTES - 2 <= len(found.attributes["long"].encode()) <= VALUE_MAX_BYTES
    (kept,) = found.events
    assert (kept.name, kept.timestamp, len(kept.attributes["exception.stacktrace"])) == ("exception", at(0.5), 10_000)


def test_attributes_beyond_64_are_dropped_and_counted() -> None:
    found = one(pairs={f"k{n}": "v" for n in range(100)})
    assert len(found.attributes) == 64
    assert found.attributes[DROPPED] == "37"


def test_a_large_request_becomes_messages_of_less_than_a_megabyte() -> None:
    request = span()
    spans = request.resource_spans[0].scope_spans[0].spans
    for number in range(3_000):
        spans.add(
            trace_id=TRACE,
            span_id=(number + 1).to_bytes(8, "big"),
            name="GET",
            start_time_unix_nano=at(0),
            end_time_unix_nano=at(1),
            attributes=attributes(body=str(number) * 200),
        )
    accepted = sent(request)
    assert len(accepted.emits) > 1
    assert all(len(Codec().encode(emit.topic, emit.record)) < 1_000_000 for emit in accepted.emits)
    assert len(spans_of(accepted)) == 3_001 == accepted.accepted


def test_a_span_larger_than_a_message_is_refused() -> None:
    accepted = sent(span(pairs={"k" * 1_000_000: "v"}))
    assert "larger than a message" in accepted.reason
