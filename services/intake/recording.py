"""Recordings: the Collector file exporter's JSON lines, read back in time order through the same decoders as live.

A line is one OTLP/JSON request (resourceMetrics, resourceLogs or resourceSpans). `to_line` writes batches so that
reading them gives the same batches: derived statistics as gauges that say so in `paramedic.statistic`; a change is a
line {"change": {...}} with the fields that `POST /v1/changes` takes.
"""

import gzip
import heapq
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Final

import msgspec

from libs.contracts.codec import ns_from_utc
from libs.contracts.telemetry import ChangeEvent, LogBatch, MetricBatch, SpanBatch
from libs.errors import InvalidMessage
from libs.streaming.handler import Emit
from services.intake.decode.formats import JSON, PAYLOAD_MAX_BYTES
from services.intake.normalise.normaliser import Normaliser
from services.intake.recording_lines import change_line, log_line, metric_line, span_line
from services.intake.signals import Signal

Recordable = MetricBatch | LogBatch | SpanBatch | ChangeEvent

_SIGNALS: Final = {
    "resourceMetrics": Signal.METRICS,
    "resourceLogs": Signal.LOGS,
    "resourceSpans": Signal.SPANS,
    "change": Signal.CHANGES,
}
_SIGNAL: Final = re.compile(rb'"(resourceMetrics|resourceLogs|resourceSpans|change)"\s*:')
_TIME: Final = re.compile(rb'"(?:endT|t)imeUnixNano"\s*:\s*"?(\d{1,20})')
_OBSERVED_TIME: Final = re.compile(rb'"observedTimeUnixNano"\s*:\s*"?(\d{1,20})')
_GZIP_MAGIC: Final = b"\x1f\x8b"
_HEAD_BYTES: Final = 256  # the signal is the first key; a schema URL may come before it


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedLine:
    """One line of a recording.

    Attributes:
        signal: What it carries.
        payload: The line: one OTLP/JSON request.
        time_ns: Greatest event time in it, or in a line before it in its file, unix nanoseconds.
        first_ns: Least event time in it.
        source: File and line number, for messages.
        bytes_read: Bytes read from all files so far (compressed ones where compressed).
    """

    signal: Signal
    payload: bytes
    time_ns: int
    first_ns: int
    source: str
    bytes_read: int


class _File:
    """One file of a recording, with the bytes read from disk so far."""

    def __init__(self, path: Path, on_bad_line: Callable[[str], None]) -> None:
        self._path = path
        self._on_bad_line = on_bad_line
        self.bytes_read = 0

    def lines(self) -> Iterator[tuple[int, int, str, Signal, bytes]]:
        """Least and greatest time, source, signal and payload of each line that has a signal and a time."""
        for number, line in self._numbered():
            source = f"{self._path.name}:{number}"
            if not line:
                self._on_bad_line(f"{source}: longer than {PAYLOAD_MAX_BYTES} bytes")
                continue
            payload = line.strip()
            if not payload:
                continue
            try:
                signal, first_ns, time_ns = _head(payload)
            except InvalidMessage as error:
                self._on_bad_line(f"{source}: {error}")
                continue
            yield first_ns, time_ns, source, signal, payload

    def _numbered(self) -> Iterator[tuple[int, bytes]]:
        """Lines with their line feeds, counted from 1; b"" for one that is too long to be kept in memory."""
        number = 0
        with self._path.open("rb") as raw, _opened(raw) as text:
            try:
                while line := text.readline(PAYLOAD_MAX_BYTES + 1):
                    number += 1
                    self.bytes_read = raw.tell()
                    if len(line) <= PAYLOAD_MAX_BYTES:
                        yield number, line
                        continue
                    while line and not line.endswith(b"\n"):
                        line = text.readline(PAYLOAD_MAX_BYTES)
                    yield number, b""
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                # A recording cut by a crash still has everything before the cut.
                self._on_bad_line(f"{self._path.name}:{number + 1}: damaged gzip: {error}")


def _opened(raw: BufferedReader) -> gzip.GzipFile | BufferedReader:
    zipped = raw.peek(2)[:2] == _GZIP_MAGIC
    return gzip.GzipFile(fileobj=raw) if zipped else raw


def read_recording(
    paths: Sequence[Path],
    *,
    on_bad_line: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Iterator[RecordedLine]:
    """Merge files in time order, in constant memory.

    A file's own order is kept: a line older than the one before it counts as of the same time.

    Args:
        paths: JSON lines, gzip-compressed or not (told by their first bytes).
        on_bad_line: Told file, line number and reason of each line that is left out.
        on_progress: Told the bytes read so far, for each line.
    """
    files = [_File(path, on_bad_line) for path in paths]
    merged = heapq.merge(*(_ascending(file, order) for order, file in enumerate(files)), key=lambda entry: entry[:2])
    for time_ns, _, first_ns, source, signal, payload in merged:
        bytes_read = sum(file.bytes_read for file in files)
        on_progress(bytes_read)
        yield RecordedLine(
            signal=signal, payload=payload, time_ns=time_ns, first_ns=first_ns, source=source, bytes_read=bytes_read
        )


def longest_stretch_ns(paths: Sequence[Path]) -> int:
    """Most event time between the items of one line, over all lines of the files; 0 without any."""
    return max(
        (time_ns - first_ns for path in paths for first_ns, time_ns, _, _, _ in _File(path, lambda _: None).lines()),
        default=0,
    )


def _ascending(file: _File, order: int) -> Iterator[tuple[int, int, int, str, Signal, bytes]]:
    latest_ns = 0
    for first_ns, time_ns, source, signal, payload in file.lines():
        latest_ns = max(latest_ns, time_ns)
        yield latest_ns, order, first_ns, source, signal, payload


def _head(payload: bytes) -> tuple[Signal, int, int]:
    """Signal, least and greatest event time of a line, found without parsing it: `decode_line` parses it once.

    Inside a JSON text the quotes of a key are escaped, so what looks like a key is one.
    """
    found = _SIGNAL.search(payload, 0, _HEAD_BYTES)
    if found is None:
        raise InvalidMessage(f"does not begin as JSON with one of {', '.join(_SIGNALS)}")
    signal = _SIGNALS[found[1].decode()]
    if signal is Signal.CHANGES:
        happened_ns = ns_from_utc(_posted(payload).timestamp)
        return signal, happened_ns, happened_ns
    for form in (_TIME, _OBSERVED_TIME):
        times = [time_ns for time_ns in map(int, form.findall(payload)) if 0 < time_ns < 2**63]
        if times:
            return signal, min(times), max(times)
    raise InvalidMessage(f"{signal} without any time")


def decode_line(
    line: RecordedLine,
    observed_at: datetime,
    normaliser: Normaliser,
    *,
    on_bad_line: Callable[[str], None] = lambda _: None,
) -> list[Emit]:
    """The batches of a line; a line or item that is refused is told to `on_bad_line` with its file and number."""
    try:
        payload = _change_body(line.payload) if line.signal is Signal.CHANGES else line.payload
        accepted = normaliser.emits_for_request(line.signal, payload, JSON, observed_at)
    except InvalidMessage as error:
        on_bad_line(f"{line.source}: {error}")
        return []
    normaliser.commit()
    if accepted.rejected:
        on_bad_line(f"{line.source}: {accepted.reason}")
    return list(accepted.emits)


class _Posted(msgspec.Struct):
    """What orders a change among the other lines; the rest is validated as a posted change is."""

    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]


class _ChangeLine(msgspec.Struct):
    change: msgspec.Raw


def _change_body(payload: bytes) -> bytes:
    try:
        return bytes(msgspec.json.decode(payload, type=_ChangeLine).change)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessage(f"change: {error}") from error


def _posted(payload: bytes) -> _Posted:
    try:
        return msgspec.json.decode(_change_body(payload), type=_Posted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidMessage(f"change: {error}") from error


def to_line(record: Recordable) -> str:
    """One OTLP/JSON line, without its line feed; `InvalidMessage` names a bad column."""
    if isinstance(record, MetricBatch):
        found = metric_line(record)
    elif isinstance(record, SpanBatch):
        found = span_line(record)
    elif isinstance(record, LogBatch):
        found = log_line(record)
    else:
        found = change_line(record)
    return msgspec.json.encode(found).decode()
