"""The columns of spans in the SQLite telemetry store, read for a window."""

import sqlite3
from collections.abc import Sequence

import numpy as np

from libs.stores.call_table import SpanTable
from libs.stores.telemetry import Window
from libs.stores.telemetry_columns import SPAN_IDS, SPAN_ROW


def load_spans(
    connection: sqlite3.Connection, window: Window, services: Sequence[int] | None, *, with_ids: bool
) -> SpanTable:
    """Read the columns of the spans that ended in a window; `services` None means all."""
    condition, values = service_condition(services)
    chunks = connection.execute(
        f"SELECT service, size, columns{', ids' if with_ids else ''} FROM span_chunks "
        f"WHERE max_ns >= ? AND min_ns < ?{condition} ORDER BY id",
        (window.start_ns, window.end_ns, *values),
    ).fetchall()
    rows = np.frombuffer(b"".join([chunk[2] for chunk in chunks]), SPAN_ROW)
    ids = np.frombuffer(b"".join([chunk[3] for chunk in chunks]) if with_ids else b"", SPAN_IDS)
    owners = np.repeat([chunk[0] for chunk in chunks], [chunk[1] for chunk in chunks]).astype(np.int64)
    ends = rows["start"] + rows["duration"]
    inside = (ends >= window.start_ns) & (ends < window.end_ns)
    if inside.all():
        return SpanTable(rows=rows, services=owners, ends=ends, ids=ids)
    return SpanTable(
        rows=rows[inside], services=owners[inside], ends=ends[inside], ids=ids[inside] if with_ids else ids
    )


def service_condition(services: Sequence[int] | None) -> tuple[str, list[int]]:
    """SQL that keeps the chunks of some services, and its values."""
    if services is None:
        return "", []
    return f" AND service IN ({', '.join('?' * len(services))})", list(services)
