"""A recording's items in the order in which they happened, also where its lines hold minutes at once.

What an exporter sends every few seconds is played as it was sent. A line that stretches over more event time than the
detector waits for late telemetry was gathered afterwards (an archive, a converted data set): played whole, it would
close the windows of everybody who comes after it. It is cut, and each piece waits for its own moment.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from libs.streaming.handler import Emit
from paramedic.batch_cuts import cut
from services.intake.recording import RecordedLine, longest_stretch_ns, read_recording

# Lines wait for the pieces of later ones in memory; 64 MiB of JSON take about 300 MB there. A recording of larger lines
# is played in the order that this leaves.
WAITING_MAX_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """What is played at one moment.

    Attributes:
        time_ns: Greatest event time in it.
        number: Keeps the order of reading among equals.
        emits: Its batches.
        bytes_read: Bytes read from all files up to its line.
        held_bytes: Its share of the line, in bytes.
    """

    time_ns: int
    number: int
    emits: tuple[Emit, ...] = field(compare=False)
    bytes_read: int = field(compare=False)
    held_bytes: int = field(compare=False)


def pieces(
    paths: Sequence[Path],
    decode: Callable[[RecordedLine], Sequence[Emit]],
    *,
    lateness_s: float,
    slice_s: float,
    on_bad_line: Callable[[str], None] = lambda _: None,
) -> Iterator[Piece]:
    """Decode the lines of recordings in time order.

    Args:
        paths: The recordings.
        decode: The batches of a line.
        lateness_s: A line that stretches over more event time than this is cut.
        slice_s: Into pieces of this width, event time.
        on_bad_line: Told why a line is left out.
    """
    lateness_ns, slice_ns = int(lateness_s * 1e9), int(slice_s * 1e9)
    longest_ns = longest_stretch_ns(paths)
    hold_ns = longest_ns if longest_ns > lateness_ns else 0
    waiting: list[Piece] = []
    held_bytes = number = 0
    for line in read_recording(paths, on_bad_line=on_bad_line):
        timed = _timed(line, decode(line), lateness_ns, slice_ns)
        share_bytes = len(line.payload) // max(1, len(timed))
        for time_ns, emits in timed:
            heapq.heappush(waiting, Piece(time_ns, number, emits, line.bytes_read, share_bytes))
            held_bytes, number = held_bytes + share_bytes, number + 1
        while waiting and (waiting[0].time_ns <= line.time_ns - hold_ns or held_bytes > WAITING_MAX_BYTES):
            piece = heapq.heappop(waiting)
            held_bytes -= piece.held_bytes
            yield piece
    while waiting:
        yield heapq.heappop(waiting)


def _timed(
    line: RecordedLine, emits: Sequence[Emit], lateness_ns: int, slice_ns: int
) -> list[tuple[int, tuple[Emit, ...]]]:
    if line.time_ns - line.first_ns <= lateness_ns:
        return [(line.time_ns, tuple(emits))]
    return [
        (min(time_ns, line.time_ns), (replace(emit, record=record),))
        for emit in emits
        for time_ns, record in cut(emit.record, slice_ns)
    ]
