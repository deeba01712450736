"""Cut a batch into pieces of event time, each with what happened in it."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TypeVar

import numpy as np

from libs.contracts.batch_rows import LogIn, SpanIn, logs, spans
from libs.contracts.batches import LogBatchBuilder, SpanBatchBuilder
from libs.contracts.codec import utc_from_ns
from libs.contracts.columns import pack_float64, pack_int32, pack_int64, unpack_float64, unpack_int32, unpack_int64
from libs.contracts.records import Record
from libs.contracts.telemetry import LogBatch, MetricBatch, SpanBatch

Row = TypeVar("Row", SpanIn, LogIn)


def cut(record: Record, width_ns: int) -> Iterator[tuple[int, Record]]:
    """The pieces of a batch with the greatest event time of each, oldest first; a change is one piece.

    A span happened when it ended, as the detector counts it. A piece counts as received when its newest item happened.

    Raises:
        InvalidMessage: a column of the batch is wrong.
    """
    if isinstance(record, MetricBatch):
        yield from _metric_pieces(record, width_ns)
    elif isinstance(record, SpanBatch):
        for newest_ns, span_rows in _grouped(((span.start + span.duration, span) for span in spans(record)), width_ns):
            span_builder = SpanBatchBuilder(record.service, record.resource, _received(newest_ns))
            for span in span_rows:
                span_builder.add(span)
            yield from ((newest_ns, batch) for batch in span_builder.build())
    elif isinstance(record, LogBatch):
        for newest_ns, log_rows in _grouped(((log.timestamp, log) for log in logs(record)), width_ns):
            log_builder = LogBatchBuilder(record.service, record.resource, _received(newest_ns))
            for log in log_rows:
                log_builder.add(log)
            yield from ((newest_ns, batch) for batch in log_builder.build())
    else:
        yield 0, record


def _metric_pieces(batch: MetricBatch, width_ns: int) -> Iterator[tuple[int, MetricBatch]]:
    times = unpack_int64(batch.timestamps, "timestamps")
    index = unpack_int32(batch.series_index, "series_index", len(times))
    values = unpack_float64(batch.values, "values", len(times))
    order = np.argsort(times, kind="stable")
    edges = np.flatnonzero(np.diff(times[order] // width_ns)) + 1
    for rows in np.split(order, edges):
        if not len(rows):
            continue
        newest_ns = int(times[rows[-1]])
        piece = dataclasses.replace(
            batch,
            observed_at=_received(newest_ns),
            series_index=pack_int32(index[rows]),
            timestamps=pack_int64(times[rows]),
            values=pack_float64(values[rows]),
        )
        yield newest_ns, piece


def _grouped(timed: Iterable[tuple[int, Row]], width_ns: int) -> Iterator[tuple[int, list[Row]]]:
    """Rows by stretch of time with the greatest time of each; within one, in the order given."""
    groups: dict[int, list[tuple[int, Row]]] = defaultdict(list)
    for at_ns, row in timed:
        groups[at_ns // width_ns].append((at_ns, row))
    for _, group in sorted(groups.items()):
        yield max(at_ns for at_ns, _ in group), [row for _, row in group]


def _received(newest_ns: int) -> datetime:
    return utc_from_ns(newest_ns)
