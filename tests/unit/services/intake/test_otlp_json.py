"""OTLP as JSON, as the specification writes it and not as protobuf's own mapping does."""

import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from libs.errors import InvalidMessage
from services.intake.decode.formats import JSON, PROTOBUF, sniff
from services.intake.decode.otlp_json import decode
from services.intake.signals import Signal
from tests.unit.services.intake.requests import span

# The example of opentelemetry-proto's examples/trace.json, shortened.
SPAN: dict[str, Any] = {
    "traceId": "5B8EFFF798038103D269B633813FC60C",
    "spanId": "EEE19B7EC3C1B174",
    "parentSpanId": "EEE19B7EC3C1B173",
    "name": "I'm a server span",
    "startTimeUnixNano": "1544712660000000000",
    "endTimeUnixNano": 1544712661000000000,
    "kind": 2,
    "attributes": [{"key": "my.span.attr", "value": {"stringValue": "some value"}}],
}


def parsed(**fields: Any) -> Any:
    body = {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "lib"}, "spans": [{**SPAN, **fields}]}]}]}
    request = decode(Signal.SPANS, json.dumps(body).encode()).request
    assert isinstance(request, ExportTraceServiceRequest)
    return request.resource_spans[0].scope_spans[0].spans[0]


def test_ids_are_hex_and_numbers_may_be_text() -> None:
    found = parsed()
    assert found.trace_id.hex() == "5b8efff798038103d269b633813fc60c"
    assert found.parent_span_id.hex() == "eee19b7ec3c1b173"
    assert (found.start_time_unix_nano, found.end_time_unix_nano) == (1544712660000000000, 1544712661000000000)


@pytest.mark.parametrize("kind", [3, "3", "SPAN_KIND_CLIENT"])
def test_an_enum_is_a_number_or_a_name(kind: object) -> None:
    assert parsed(kind=kind).kind == 3


def test_unknown_fields_and_nulls_are_ignored() -> None:
    assert parsed(fromTheFuture={"a": [1]}, droppedEventsCount=None).name == "I'm a server span"


def test_names_of_the_proto_file_are_read_too() -> None:
    body = {"resource_spans": [{"scope_spans": [{"spans": [{"trace_id": "00" * 16, "name": "x"}]}]}]}
    request = decode(Signal.SPANS, json.dumps(body).encode()).request
    assert isinstance(request, ExportTraceServiceRequest)
    assert request.resource_spans[0].scope_spans[0].spans[0].trace_id == bytes(16)


@pytest.mark.parametrize(
    ("value", "field", "expected"),
    [
        ({"intValue": "-7"}, "int_value", -7),
        ({"intValue": 7.0}, "int_value", 7),
        ({"doubleValue": 1}, "double_value", 1.0),
        ({"doubleValue": "Infinity"}, "double_value", float("inf")),
        ({"boolValue": True}, "bool_value", True),
        ({"bytesValue": "AAE="}, "bytes_value", b"\x00\x01"),
        ({"bytesValue": "-_8"}, "bytes_value", b"\xfb\xff"),
    ],
)
def test_values_are_read_as_their_kind(value: dict[str, Any], field: str, expected: object) -> None:
    found = parsed(attributes=[{"key": "k", "value": value}]).attributes[0].value
    assert getattr(found, field) == expected


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"traceId": "not hex"}, "trace_id: 'not hex' is not hex"),
        ({"traceId": 5}, "trace_id: '5' is not a str"),
        ({"startTimeUnixNano": "soon"}, "start_time_unix_nano: 'soon' is not a whole number"),
        ({"startTimeUnixNano": 1.5}, "is not a whole number"),
        ({"startTimeUnixNano": True}, "is not a whole number"),
        ({"startTimeUnixNano": "-1"}, "traces"),
        ({"startTimeUnixNano": str(2**64)}, "traces"),
        ({"kind": "SPAN_KIND_FRIEND"}, "kind"),
        ({"name": 5}, "name: '5' is not a str"),
        ({"attributes": {"key": "k"}}, "attributes is not an array"),
        ({"attributes": ["k"]}, "KeyValue is not an object"),
        ({"attributes": [{"key": "k", "value": {"doubleValue": "x"}}]}, "double_value: 'x' is not a number"),
        ({"attributes": [{"key": "k", "value": {"doubleValue": 10**400}}]}, "not a number|malformed"),
        ({"attributes": [{"key": "k", "value": {"boolValue": "true"}}]}, "is not a bool"),
        ({"attributes": [{"key": "k", "value": {"bytesValue": "?"}}]}, "not base64"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidMessage, match=reason):
        parsed(**fields)


def test_protobuf_and_json_are_told_apart_by_their_first_byte() -> None:
    assert sniff(span().SerializeToString()) == PROTOBUF
    assert sniff(b"") == PROTOBUF
    assert sniff(b' \t{"resourceSpans":[]}') == JSON
