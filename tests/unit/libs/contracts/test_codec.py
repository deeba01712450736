"""The codec refuses every malformed byte string with a reason and never with anything else."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.codec import Codec, from_json, ns_from_utc, to_json, utc_from_ns
from libs.contracts.columns import pack_float64, pack_int32, pack_int64, unpack_index, unpack_int64
from libs.contracts.investigation import CauseKind, Evidence, Hypothesis
from libs.contracts.telemetry import ChangeEvent, ChangeKind, MetricBatch, MetricSeries
from libs.errors import InvalidMessage

CODEC = Codec()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BATCH = MetricBatch(
    service="cart",
    resource={"service.instance.id": "cart-1"},
    observed_at=NOON,
    series=(MetricSeries(name="process.memory.usage", unit="By", attributes={"state": "used"}),),
    series_index=pack_int32([0, 0]),
    timestamps=pack_int64([1, 2]),
    values=pack_float64([1.5, 2.5]),
)
ENCODED = CODEC.encode("telemetry-metrics", BATCH)


def test_a_record_comes_back_as_it_was() -> None:
    assert CODEC.decode("telemetry-metrics", ENCODED) == BATCH


@pytest.mark.parametrize("length", range(len(ENCODED)))
def test_a_truncated_message_is_refused_at_every_byte(length: int) -> None:
    with pytest.raises(InvalidMessage):
        CODEC.decode("telemetry-metrics", ENCODED[:length])


def test_bytes_behind_the_record_are_refused() -> None:
    with pytest.raises(InvalidMessage, match="1 bytes too many"):
        CODEC.decode("telemetry-metrics", ENCODED + b"x")


def test_an_unknown_schema_id_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="unknown schema id 999999"):
        CODEC.decode("telemetry-metrics", b"\x00" + (999999).to_bytes(4, "big") + ENCODED[5:])


def test_another_magic_byte_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="first byte is 1"):
        CODEC.decode("telemetry-metrics", b"\x01" + ENCODED[1:])


def test_a_record_of_another_topic_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="changes carries change-event"):
        CODEC.decode("changes", ENCODED)


def test_a_tombstone_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="0 bytes"):
        CODEC.decode("changes", None)


def test_a_value_outside_its_enumeration_is_refused() -> None:
    change = ChangeEvent(id="1", kind=ChangeKind.DEPLOY, service="cart", timestamp=NOON)
    wrong = CODEC.encode("changes", change).replace(b"deploy", b"deplay")
    with pytest.raises(InvalidMessage, match="deplay"):
        CODEC.decode("changes", wrong)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_decoded_but_never_crash(noise: bytes) -> None:
    for payload in (noise, ENCODED[:5] + noise):
        try:
            CODEC.decode("telemetry-metrics", payload)
        except InvalidMessage:
            continue


@given(st.integers(min_value=0, max_value=len(ENCODED) - 1), st.integers(min_value=0, max_value=255))
def test_one_flipped_byte_is_refused_or_decoded_but_never_crashes(position: int, value: int) -> None:
    flipped = ENCODED[:position] + bytes([value]) + ENCODED[position + 1 :]
    with suppress(InvalidMessage):
        CODEC.decode("telemetry-metrics", flipped)


def test_a_column_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="not a multiple of 8"):
        unpack_int64(b"1234567", "timestamps")
    with pytest.raises(InvalidMessage, match="1 values where 2"):
        unpack_int64(pack_int64([1]), "timestamps", 2)


def test_a_position_outside_its_list_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="outside its list"):
        unpack_index(pack_int32([0, 3]), "series_index", 2, 3)
    assert list(unpack_index(pack_int32([-1, 2]), "users", 2, 3, optional=True)) == [-1, 2]


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)))
def test_times_survive_the_way_to_nanoseconds_and_back(naive: datetime) -> None:
    moment = naive.replace(tzinfo=UTC)
    assert utc_from_ns(ns_from_utc(moment)) == moment


def test_a_time_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(InvalidMessage):
        utc_from_ns(2**63 * 1000)


def hypothesis(weight: float, confidence: float = 0.5) -> Hypothesis:
    evidence = (Evidence(text="ordinary", weight=0.2), Evidence(text="odd", weight=weight))
    return Hypothesis(
        rank=1, service="cart", kind=CauseKind.DEPLOY, cause="", confidence=confidence, evidence_for=evidence
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_know_is_refused_when_it_is_written(value: float) -> None:
    with pytest.raises(InvalidMessage, match=r"Hypothesis: evidence_for\[1\]\.weight is -?(nan|inf)"):
        to_json(hypothesis(value))
    with pytest.raises(InvalidMessage, match=r"\[0\]\.confidence"):
        to_json((hypothesis(0.5, confidence=value),))
    with pytest.raises(InvalidMessage, match=r"dict: a\.b"):
        to_json({"a": {"b": value}})


def test_what_is_written_as_json_is_read_as_it_was() -> None:
    written = hypothesis(1e300)
    assert written.instance is None
    assert from_json(to_json(written), Hypothesis) == written


@pytest.mark.parametrize("text", ["NaN", "Infinity", "null", "1e999", '"1"'])
def test_a_number_that_json_does_not_know_is_refused_when_it_is_read(text: str) -> None:
    payload = to_json(hypothesis(0.25)).replace(b"0.25", text.encode())
    with pytest.raises(InvalidMessage, match="Hypothesis"):
        from_json(payload, Hypothesis)
