"""Recordings: what is written is read back as it was, and files merge in time order."""

import gzip
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libs.contracts.batch_rows import NO_SPAN_ID, NO_TRACE_ID, EventIn, LogIn, SpanIn
from libs.contracts.batches import LogBatchBuilder, MetricBatchBuilder, SpanBatchBuilder
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from services.intake.normalise.normaliser import Normaliser
from services.intake.recording import Recordable, RecordedLine, decode_line, read_recording, to_line
from tests.unit.services.intake.requests import NOON, NOON_NS, SECOND, SPAN, TRACE

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
reserved = {"peer.service", "enduser.id", "user.id", "enduser.pseudo.id", "paramedic.statistic", "service.name"}
pairs = st.dictionaries(names.filter(lambda key: key not in reserved), texts, max_size=4)
times = st.integers(min_value=NOON_NS - 3600 * SECOND, max_value=NOON_NS)
statistics = st.sampled_from(["value", "rate", "mean", "p50", "p95", "p99", "p99.9"])


@st.composite
def metric_batches(draw: st.DrawFn) -> Recordable:
    builder = MetricBatchBuilder(draw(names), draw(pairs), NOON)
    finite = st.floats(allow_nan=False, allow_infinity=False)
    for _ in range(draw(st.integers(1, 8))):
        attributes = tuple(sorted(draw(pairs).items()))
        builder.add((draw(names), draw(statistics), draw(texts), attributes), draw(times), draw(finite))
    return builder.build()[0]


@st.composite
def span_batches(draw: st.DrawFn) -> Recordable:
    builder = SpanBatchBuilder(draw(names), draw(pairs), NOON)
    ids = st.binary(min_size=8, max_size=8).filter(any)
    for _ in range(draw(st.integers(1, 5))):
        kind = draw(st.integers(0, 5))
        event = st.builds(EventIn, name=texts, timestamp=times, attributes=pairs)
        builder.add(
            SpanIn(
                trace_id=draw(st.binary(min_size=16, max_size=16).filter(any)),
                span_id=draw(ids),
                parent_span_id=draw(st.just(NO_SPAN_ID) | ids),
                start=draw(times) - 10 * SECOND,
                duration=draw(st.integers(0, 10 * SECOND)),
                kind=kind,
                status=draw(st.integers(0, 2)),
                name=draw(texts),
                peer=draw(texts) if kind in (3, 4) else "",
                user=draw(texts),
                attributes=draw(pairs),
                events=tuple(draw(st.lists(event, max_size=2))),
            )
        )
    return builder.build()[0]


@st.composite
def log_batches(draw: st.DrawFn) -> Recordable:
    builder = LogBatchBuilder(draw(names), draw(pairs), NOON)
    for _ in range(draw(st.integers(1, 5))):
        builder.add(
            LogIn(
                timestamp=draw(times),
                severity=draw(st.integers(0, 24)),
                body=draw(texts),
                trace_id=draw(st.just(NO_TRACE_ID) | st.binary(min_size=16, max_size=16)),
                span_id=draw(st.just(NO_SPAN_ID) | st.binary(min_size=8, max_size=8)),
                logger=draw(texts),
                user=draw(texts),
                attributes=draw(pairs),
            )
        )
    return builder.build()[0]


changes = st.builds(
    ChangeEvent,
    id=names,
    kind=st.sampled_from(ChangeKind),
    service=names,
    timestamp=st.datetimes(datetime(2025, 12, 20), datetime(2026, 1, 1), timezones=st.just(UTC)),
    version=st.none() | texts,
    previous_version=st.none() | texts,
    summary=texts,
    actor=texts,
    attributes=pairs,
)


def line(payload: str, **fields: Any) -> RecordedLine:
    path = fields.pop("path")
    path.write_text(payload + "\n")
    (found,) = read_recording([path])
    return found


# The strategies draw whole batches: on a busy machine hypothesis would call that a failure.
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(record=metric_batches() | span_batches() | log_batches() | changes)
def test_what_is_written_is_read_back_as_it_was(record: Recordable, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "law.jsonl"
    written = to_line(record)
    assert "\n" not in written
    bad: list[str] = []
    emits = decode_line(line(written, path=path), NOON, Normaliser(), on_bad_line=bad.append)
    assert bad == []
    assert [emit.record for emit in emits] == [record]


def test_the_time_of_a_line_is_its_greatest_event_time(tmp_path: Path) -> None:
    builder = SpanBatchBuilder("cart", {}, NOON)
    for seconds in (5, 9, 7):
        builder.add(SpanIn(trace_id=TRACE, span_id=SPAN, start=NOON_NS, duration=seconds * SECOND, name="x"))
    (batch,) = builder.build()
    assert line(to_line(batch), path=tmp_path / "spans.jsonl").time_ns == NOON_NS + 9 * SECOND


def gauge_line(seconds: float) -> str:
    builder = MetricBatchBuilder("cart", {}, NOON)
    builder.add(("m", "value", "", ()), NOON_NS + round(seconds * SECOND), seconds)
    return to_line(builder.build()[0])


def seconds_of(lines: list[RecordedLine]) -> list[float]:
    return [(found.time_ns - NOON_NS) / SECOND for found in lines]


def test_files_are_merged_in_time_order_compressed_or_not(tmp_path: Path) -> None:
    plain, zipped = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_text("\n".join(gauge_line(s) for s in (0, 2, 4)))
    zipped.write_bytes(gzip.compress("\n".join(gauge_line(s) for s in (1, 3, 5)).encode()))
    progress: list[int] = []
    found = list(read_recording([zipped, plain], on_progress=progress.append))
    assert seconds_of(found) == [0, 1, 2, 3, 4, 5]
    assert progress == sorted(progress)
    assert found[-1].bytes_read == progress[-1] == plain.stat().st_size + zipped.stat().st_size


def test_lines_of_one_file_keep_their_order_when_one_is_late(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(gauge_line(s) for s in (0, 5, 4)))
    assert seconds_of(list(read_recording([path]))) == [0, 5, 5]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("not json", "a.jsonl:2: does not begin"),
        ('{"resourceMetrics": []}', "a.jsonl:2: metrics without any time"),
        ('{"resourceMetrics": [{"timeUnixNano": "1767268800000000000"', "a.jsonl:2: malformed JSON"),
        (gauge_line(0).replace('"asDouble":0.0', '"asDouble":"x"'), "a.jsonl:2: .*as_double"),
        (gauge_line(-48 * 3600), "a.jsonl:2: 1 x older than 24 h"),
        ("[" * 5_000, "a.jsonl:2: "),
    ],
)
def test_a_bad_line_is_told_with_its_file_and_number_and_the_others_are_read(
    tmp_path: Path, bad: str, reason: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([gauge_line(0), bad, "", gauge_line(2)]))
    told: list[str] = []
    normaliser, emits = Normaliser(), 0
    for found in read_recording([path], on_bad_line=told.append):
        emits += len(decode_line(found, NOON + timedelta(seconds=5), normaliser, on_bad_line=told.append))
    assert emits == 2
    (text,) = told
    assert re.match(reason, text)


def test_a_recording_cut_by_a_crash_gives_what_lies_before_the_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    whole = gzip.compress(b"".join(gauge_line(s / 10).encode() + b"\n" for s in range(500)))
    path.write_bytes(whole[: len(whole) // 2])
    told: list[str] = []
    found = list(read_recording([path], on_bad_line=told.append))
    assert 0 < len(found) < 500
    assert "damaged gzip" in told[0]
    assert len(told) == 1


def test_a_line_longer_than_a_request_may_be_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join([gauge_line(0), '{"resourceMetrics":' + " " * 5_000 + "}", gauge_line(1)]))
    monkeypatch.setattr("services.intake.recording.PAYLOAD_MAX_BYTES", 1_000)
    told: list[str] = []
    assert seconds_of(list(read_recording([path], on_bad_line=told.append))) == [0, 1]
    assert told == ["a.jsonl:2: longer than 1000 bytes"]
