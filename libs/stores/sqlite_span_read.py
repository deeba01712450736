"""Reading single spans from the SQLite telemetry store: by window, by trace, and their users."""

import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from libs.contracts.columns import Int64Array
from libs.stores.sqlite_calls import service_condition
from libs.stores.sqlite_top import Order, TopRows
from libs.stores.telemetry import SpanQuery, SpanRow, UserCount, Window
from libs.stores.telemetry_columns import SPAN_IDS, SPAN_ROW

MOST_TRACE_SPANS: Final = 5_000
_SERVER: Final = 2
_SAMPLE_USERS: Final = 20
_WORDS: Final = msgspec.json.Decoder(tuple[list[str], list[str], list[str]])
_DETAILS: Final = msgspec.json.Decoder(tuple[list[dict[str, str]], list[tuple[int, dict[str, str]]]])
_NO_ID: Final = bytes(8)


def find_spans(
    connection: sqlite3.Connection, query: SpanQuery, services: Sequence[int] | None, names: Mapping[int, str]
) -> list[SpanRow]:
    """Spans that match, in the order asked for."""
    order = Order(query.order)
    condition, values = service_condition(services)
    top = TopRows(order, query.limit)
    # "slowest" has to look at every chunk; the others stop at the first that cannot hold anything newer or older.
    by = {Order.NEWEST: "max_ns DESC", Order.OLDEST: "min_ns", Order.SLOWEST: "max_ns"}[order]
    for chunk, min_ns, max_ns, columns in connection.execute(
        f"SELECT id, min_ns, max_ns, columns FROM span_chunks WHERE max_ns >= ? AND min_ns < ?{condition} "
        f"ORDER BY {by}",
        (query.window.start_ns, query.window.end_ns, *values),
    ):
        if top.is_beyond(min_ns, max_ns):
            break
        rows = np.frombuffer(columns, SPAN_ROW)
        ends = rows["start"] + rows["duration"]
        kept = (ends >= query.window.start_ns) & (ends < query.window.end_ns)
        if query.errors_only:
            kept &= rows["status"] == 2
        if query.kinds:
            kept &= np.isin(rows["kind"], query.kinds)
        positions = np.flatnonzero(kept)
        keys = rows["duration"] if order is Order.SLOWEST else ends
        top.add(keys[positions], chunk, positions)
    return read_spans(connection, top.rows(), names)


def find_trace(connection: sqlite3.Connection, trace_id: str, names: Mapping[int, str]) -> list[SpanRow]:
    """All spans of a trace by start; none when the id is not hex."""
    try:
        trace = bytes.fromhex(trace_id)
    except ValueError:
        return []
    if len(trace) != 16:
        return []
    # The key starts with the minute: hop from minute to minute (360 in six hours, 2 us each).
    places = connection.execute(
        "WITH RECURSIVE minutes (minute) AS (SELECT min(minute) FROM span_keys UNION ALL SELECT "
        "(SELECT min(k.minute) FROM span_keys AS k WHERE k.minute > minutes.minute) FROM minutes "
        "WHERE minutes.minute IS NOT NULL) SELECT chunk, position FROM minutes JOIN span_keys USING (minute) "
        "WHERE key BETWEEN ? AND ?",
        (trace + bytes(8), trace + b"\xff" * 8),
    ).fetchall()
    spans = read_spans(connection, places, names)
    return sorted(spans, key=lambda span: (span.start_ns, -span.duration_ns, span.span_id))[:MOST_TRACE_SPANS]


def read_spans(
    connection: sqlite3.Connection, places: Sequence[tuple[int, int]], names: Mapping[int, str]
) -> list[SpanRow]:
    """Spans by chunk and position, in the order given."""
    by_chunk: dict[int, list[int]] = defaultdict(list)
    for chunk, position in places:
        by_chunk[chunk].append(position)
    found: dict[tuple[int, int], SpanRow] = {}
    for chunk, positions in by_chunk.items():
        row = connection.execute(
            "SELECT service, instance, version, columns, ids, words, details FROM span_chunks WHERE id = ?", (chunk,)
        ).fetchone()
        if row is not None:
            found.update(zip([(chunk, at) for at in positions], _span_rows(row, positions, names), strict=True))
    return [found[place] for place in places if place in found]


def _span_rows(
    chunk: tuple[int, str, str, bytes, bytes, str, bytes], positions: Sequence[int], names: Mapping[int, str]
) -> Iterable[SpanRow]:
    service, instance, version, columns, ids, words, details = chunk
    span_names, peers, users = _WORDS.decode(words)
    attribute_sets, exceptions = _DETAILS.decode(zlib.decompress(details))
    thrown: dict[int, list[Mapping[str, str]]] = defaultdict(list)
    for position, attributes in exceptions:
        thrown[position].append(attributes)
    rows = np.frombuffer(columns, SPAN_ROW)[list(positions)].tolist()
    identifiers = np.frombuffer(ids, SPAN_IDS)[list(positions)].tolist()
    for position, row, (trace, span, parent) in zip(positions, rows, identifiers, strict=True):
        start, duration, name, peer, user, attributes_at, _, kind, status = row
        yield SpanRow(
            trace_id=trace.hex(),
            span_id=span.hex(),
            parent_span_id="" if parent == _NO_ID else parent.hex(),
            service=names.get(service, ""),
            instance=instance,
            version=version,
            name=span_names[name],
            kind=kind,
            status=status,
            start_ns=start,
            duration_ns=duration,
            peer=peers[peer] if peer >= 0 else "",
            user=users[user] if user >= 0 else "",
            attributes=attribute_sets[attributes_at] if attributes_at >= 0 else {},
            exceptions=tuple(thrown.get(position, ())),
        )


def count_users(
    connection: sqlite3.Connection,
    window: Window,
    services: Sequence[int] | None,
    *,
    failed_only: bool,
    slower_than_s: float,
) -> UserCount:
    """Distinct users of server spans."""
    condition, values = service_condition(services)
    users: set[str] = set()
    without = 0
    for columns, words in connection.execute(
        f"SELECT columns, words FROM span_chunks WHERE max_ns >= ? AND min_ns < ?{condition}",
        (window.start_ns, window.end_ns, *values),
    ):
        rows = np.frombuffer(columns, SPAN_ROW)
        indices = rows["user"][_felt(rows["start"] + rows["duration"], rows, window, failed_only, slower_than_s)]
        without += int((indices < 0).sum())
        distinct = np.unique(indices[indices >= 0]).tolist()
        if distinct:
            known = _WORDS.decode(words)[2]
            users.update(known[index] for index in distinct)
    return UserCount(count=len(users), sample=tuple(sorted(users)[:_SAMPLE_USERS]), spans_without_user=without)


def _felt(
    ends: Int64Array, rows: npt.NDArray[np.void], window: Window, failed_only: bool, slower_than_s: float
) -> npt.NDArray[np.bool_]:
    failed = rows["status"] == 2
    bad = failed if failed_only else failed | (rows["duration"] >= slower_than_s * 1e9)
    kept: npt.NDArray[np.bool_] = (rows["kind"] == _SERVER) & (ends >= window.start_ns) & (ends < window.end_ns) & bad
    return kept
