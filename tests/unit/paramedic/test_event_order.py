"""Recordings whose lines hold minutes at once are played in the order in which things happened."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from libs.contracts.batch_rows import LogIn, SpanIn, logs, metric_points, spans
from libs.contracts.batches import LogBatchBuilder, MetricBatchBuilder, SpanBatchBuilder
from libs.contracts.codec import ns_from_utc, utc_from_ns
from libs.contracts.telemetry import LogBatch, MetricBatch, SpanBatch
from libs.service.settings import Settings
from libs.streaming.handler import Emit
from paramedic.event_order import Piece, pieces
from services.intake.recording import Recordable, RecordedLine, decode_line, to_line
from services.intake.service import recording_normaliser

BEGIN = datetime(2026, 1, 1, 12, tzinfo=UTC)
NS = 1_000_000_000


def ns(second: float) -> int:
    return ns_from_utc(BEGIN) + int(second * NS)


def span_batch(service: str, seconds: Sequence[float]) -> SpanBatch:
    builder = SpanBatchBuilder(service, {}, BEGIN)
    for number, second in enumerate(seconds):
        identity = (number + 1).to_bytes(8)
        builder.add(
            SpanIn(
                trace_id=bytes(8) + identity,
                span_id=identity,
                start=ns(second) - NS // 10,
                duration=NS // 10,
                kind=2,
                name="GET",
                attributes={"second": str(second)},
            )
        )
    [batch] = builder.build()
    return batch


def log_batch(service: str, seconds: Sequence[float]) -> LogBatch:
    builder = LogBatchBuilder(service, {}, BEGIN)
    for second in seconds:
        builder.add(LogIn(timestamp=ns(second), severity=9, body=f"at {second}", logger="l"))
    [batch] = builder.build()
    return batch


def metric_batch(service: str, seconds: Sequence[float]) -> MetricBatch:
    builder = MetricBatchBuilder(service, {}, BEGIN)
    for second in seconds:
        builder.add(("queue.depth", "value", "1", ()), ns(second), second)
    [batch] = builder.build()
    return batch


def played(folder: Path, records: Sequence[Recordable], *, lateness_s: float = 5.0) -> list[Piece]:
    path = folder / "recording.jsonl"
    path.write_text("".join(to_line(record) + "\n" for record in records))
    accept = recording_normaliser(Settings(_env_file=None))  # type: ignore[call-arg]  # pydantic settings' own

    def decode(line: RecordedLine) -> list[Emit]:
        return decode_line(line, utc_from_ns(line.time_ns), accept)

    return list(pieces([path], decode, lateness_s=lateness_s, slice_s=1.0))


def happened(piece: Piece) -> list[tuple[str, float]]:
    """Service and second of each item."""
    found: list[tuple[str, float]] = []
    for emit in piece.emits:
        record = emit.record
        if isinstance(record, SpanBatch):
            found += [(record.service, (row.start + row.duration - ns(0)) / NS) for row in spans(record)]
        elif isinstance(record, LogBatch):
            found += [(record.service, (row.timestamp - ns(0)) / NS) for row in logs(record)]
        elif isinstance(record, MetricBatch):
            found += [(record.service, (at - ns(0)) / NS) for _, at, _ in metric_points(record)]
    return found


def test_lines_of_an_exporter_are_played_as_they_were_sent(tmp_path: Path) -> None:
    found = played(tmp_path, [span_batch("a", [0.0, 4.0]), span_batch("b", [1.0, 5.0]), span_batch("c", [3.0])])
    assert [happened(piece) for piece in found] == [
        [("a", 0.0), ("a", 4.0)],
        [("b", 1.0), ("b", 5.0)],
        [("c", 3.0)],
    ]


def test_a_line_of_minutes_is_cut_and_mixed_with_the_others_by_event_time(tmp_path: Path) -> None:
    minutes = [0.0, 0.5, 30.0, 90.0]
    found = played(tmp_path, [span_batch("a", minutes), log_batch("b", minutes), metric_batch("c", minutes)])
    assert [happened(piece) for piece in found] == [
        [("a", 0.0), ("a", 0.5)],
        [("b", 0.0), ("b", 0.5)],
        [("c", 0.0), ("c", 0.5)],
        [("a", 30.0)],
        [("b", 30.0)],
        [("c", 30.0)],
        [("a", 90.0)],
        [("b", 90.0)],
        [("c", 90.0)],
    ]


def test_a_piece_keeps_what_its_items_say_and_counts_as_received_when_it_happened(tmp_path: Path) -> None:
    first, second = played(tmp_path, [span_batch("a", [0.0, 60.0])])
    record = second.emits[0].record
    assert isinstance(record, SpanBatch)
    assert [row.attributes["second"] for row in spans(record)] == ["60.0"]
    assert record.observed_at == utc_from_ns(second.time_ns)
    assert first.time_ns < second.time_ns


def test_the_time_between_pieces_never_runs_back(tmp_path: Path) -> None:
    records = [span_batch("a", [0.0, 100.0]), span_batch("b", [50.0, 150.0]), span_batch("c", [149.0])]
    times = [piece.time_ns for piece in played(tmp_path, records)]
    assert times == sorted(times)
