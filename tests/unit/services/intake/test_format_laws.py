"""Laws of every source format: hostile bytes are decoded or refused with a reason, never anything else."""

import json

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.contracts.codec import Codec
from libs.errors import InvalidMessage
from services.intake.decode.formats import Format, UnsupportedContentType, format_for, formats
from services.intake.decode.runtime_messages import message_class
from services.intake.normalise.normaliser import Normaliser
from services.intake.recording import Recordable, to_line
from services.intake.signals import Signal
from tests.unit.services.intake.requests import (
    NOON,
    NOON_NS,
    Request,
    attributes,
    counter,
    gauge,
    histogram,
    log,
    metrics,
    send,
    span,
)

CODEC = Codec()


def remote_write() -> bytes:
    request = message_class("WriteRequest")()
    for name, labels in (("up", {}), ("http_total", {}), ("d_bucket", {"le": "0.5"}), ("d_bucket", {"le": "+Inf"})):
        series = request.timeseries.add()
        for key, value in {"__name__": name, "job": "cart", **labels}.items():
            series.labels.add(name=key, value=value)
        series.samples.add(value=1.5, timestamp=NOON_NS // 1_000_000)
    native = request.timeseries.add()
    native.labels.add(name="__name__", value="native")
    point = native.histograms.add(count_int=3, sum=2.0, schema=1, timestamp=NOON_NS // 1_000_000)
    point.positive_spans.add(offset=-1, length=2)
    point.positive_deltas.extend([1, 1])
    return bytes(cramjam.snappy.compress_raw(request.SerializeToString()))


def example(signal: Signal, name: str) -> bytes:
    """A payload that a format reads without loss."""
    if name == "changes_json":
        return (
            b'{"kind":"deploy","service":"cart","timestamp":"2026-01-01T11:59:00Z","version":"2","attributes":{"a":1}}'
        )
    if name == "prometheus_remote_write":
        return remote_write()
    requests: dict[Signal, Request] = {
        Signal.METRICS: metrics(gauge(1.5, unit="By", state="used"), counter(3, 0), histogram([1, 2, 3, 4], 0)),
        Signal.SPANS: span(pairs={"server__address": "db", "n": 3, "x": 1.5, "b": True}),
        Signal.LOGS: log(pairs={"user__id": "u"}),
    }
    request = requests[signal]
    if name == "otlp_proto":
        return request.SerializeToString()
    assert name == "otlp_json", f"give the new format {name} an example here"
    records: list[Recordable] = [emit.record for emit in send(Normaliser(), request, signal).emits]  # type: ignore[misc]
    return to_line(records[0]).encode()


CASES = [(form, signal) for form in formats().values() for signal in sorted(form.signals)]


def case_name(value: Format | Signal) -> str:
    return value.name


every_format = pytest.mark.parametrize(("form", "signal"), CASES, ids=case_name)


def outcome(form: Format, signal: Signal, payload: bytes) -> bool:
    """Whether the payload is accepted whole; it may be refused with a reason, and nothing else may happen."""
    try:
        accepted = Normaliser().emits_for_request(signal, payload, sorted(form.content_types)[0], NOON)
    except InvalidMessage as error:
        if not str(error):
            pytest.fail("refused without a reason")
        return False
    for emit in accepted.emits:
        CODEC.encode(emit.topic, emit.record)
    assert bool(accepted.rejected) == bool(accepted.reason)
    return not accepted.rejected


def test_every_format_file_is_found_by_its_name() -> None:
    assert set(formats()) == {"otlp_proto", "otlp_json", "prometheus_remote_write", "changes_json"}


@every_format
def test_the_example_is_accepted(form: Format, signal: Signal) -> None:
    assert outcome(form, signal, example(signal, form.name))


@every_format
def test_an_empty_body_is_nothing_or_refused(form: Format, signal: Signal) -> None:
    outcome(form, signal, b"")


@every_format
def test_a_body_truncated_at_any_byte_is_decoded_or_refused(form: Format, signal: Signal) -> None:
    whole = example(signal, form.name)
    for length in range(len(whole)):
        outcome(form, signal, whole[:length])


# Protobuf cut between two fields is a shorter message, so only the other formats notice every cut.
@pytest.mark.parametrize(("form", "signal"), [case for case in CASES if case[0].name != "otlp_proto"], ids=case_name)
def test_a_json_or_snappy_body_truncated_at_any_byte_is_refused(form: Format, signal: Signal) -> None:
    whole = example(signal, form.name)
    for length in range(len(whole)):
        assert not outcome(form, signal, whole[:length])


@every_format
@settings(max_examples=60, deadline=None)
@given(noise=st.binary(max_size=400))
def test_random_bytes_are_decoded_or_refused(form: Format, signal: Signal, noise: bytes) -> None:
    outcome(form, signal, noise)


@every_format
@settings(max_examples=150, deadline=None)
@given(position=st.integers(min_value=0), value=st.integers(min_value=0, max_value=255))
def test_a_flipped_byte_is_decoded_or_refused(form: Format, signal: Signal, position: int, value: int) -> None:
    whole = bytearray(example(signal, form.name))
    whole[position % len(whole)] = value
    outcome(form, signal, bytes(whole))


@every_format
@pytest.mark.parametrize(
    "lengths",
    [
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\xff\xff\xff\xff\x0f" + b"\x00" * 20,
        b"[" * 200_000,
        b'{"resourceSpans":' * 5_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'[{"kind":"deploy"}]',
        b"[" + b"1," * 2_000 + b"1]",
        b"null",
        b'"text"',
        b"1e400",
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"\\ud800"}]}]}]}',
    ],
    ids=lambda lengths: repr(lengths[:20]),
)
def test_absurd_lengths_and_depths_are_refused_or_nothing(form: Format, signal: Signal, lengths: bytes) -> None:
    outcome(form, signal, lengths)


@every_format
def test_another_content_type_is_refused_with_the_ones_that_would_do(form: Format, signal: Signal) -> None:
    with pytest.raises(UnsupportedContentType, match="are read as application/"):
        format_for(signal, "text/html; charset=utf-8")
    assert format_for(signal, f" {sorted(form.content_types)[0].upper()} ; charset=utf-8") is form


def test_a_claim_of_gigabytes_is_refused_before_anything_is_allocated() -> None:
    claim = b"\xff\xff\xff\xff\x0f" + b"\x00" * 100
    with pytest.raises(InvalidMessage, match="4294967295 bytes uncompressed"):
        formats()["prometheus_remote_write"].decode(Signal.METRICS, claim)


KEYS = """
    resourceMetrics scopeMetrics metrics name unit gauge sum histogram exponentialHistogram summary dataPoints
    timeUnixNano asInt asDouble attributes key value stringValue intValue kvlistValue values bucketCounts
    explicitBounds scale positive offset count aggregationTemporality isMonotonic resource resourceSpans scopeSpans
    spans traceId spanId kind status code startTimeUnixNano endTimeUnixNano events resourceLogs scopeLogs logRecords
    body severityNumber severityText eventName
"""
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS.split()), inner, max_size=4),
    max_leaves=25,
)


@pytest.mark.parametrize("signal", [Signal.METRICS, Signal.LOGS, Signal.SPANS])
@settings(max_examples=150, deadline=None)
@given(found=JSON_VALUES)
def test_json_of_any_shape_is_decoded_or_refused(signal: Signal, found: object) -> None:
    for body in (found, {"resourceMetrics": found, "resourceLogs": found, "resourceSpans": found}):
        outcome(formats()["otlp_json"], signal, json.dumps(body).encode())


def test_attributes_may_be_anything_that_otlp_allows() -> None:
    request = span(pairs={"n": 1})
    value = request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value
    value.kvlist_value.values.extend(attributes(a=1, b="x"))
    assert outcome(formats()["otlp_proto"], Signal.SPANS, request.SerializeToString())
