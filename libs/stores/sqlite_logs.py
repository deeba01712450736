"""Log records in the SQLite telemetry store."""

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from libs.stores.sqlite_calls import service_condition
from libs.stores.sqlite_registry import Registry
from libs.stores.sqlite_span_write import deflated
from libs.stores.sqlite_top import Order, TopRows
from libs.stores.telemetry import LogQuery, LogRow
from libs.stores.telemetry_columns import LOG_ROW, LogColumns

_TEXTS: Final = msgspec.json.Decoder(tuple[list[str], list[str], list[str], list[dict[str, str]]])
_NO_TRACE: Final = bytes(16)


def write_logs(connection: sqlite3.Connection, registry: Registry, batches: Iterable[LogColumns]) -> None:
    """Store log batches that are not there yet."""
    connection.executemany(
        "INSERT OR IGNORE INTO log_chunks (digest, service, min_ns, max_ns, size, instance, columns, texts) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [_chunk(columns, registry) for columns in batches if len(columns.rows)],
    )


def _chunk(columns: LogColumns, registry: Registry) -> tuple[bytes, int, int, int, int, str, bytes, bytes]:
    batch, times = columns.batch, columns.rows["time"]
    return (
        columns.digest,
        registry.service(batch.service),
        int(times.min()),
        int(times.max()),
        len(times),
        batch.resource.get("service.instance.id", ""),
        columns.rows.tobytes(),
        deflated((batch.bodies, batch.loggers, batch.users, batch.attribute_sets)),
    )


def find_logs(
    connection: sqlite3.Connection, query: LogQuery, services: Sequence[int] | None, names: Mapping[int, str]
) -> list[LogRow]:
    """Log records that match, in the order asked for."""
    trace = _trace(query.trace_id)
    if query.trace_id and trace is None:
        return []
    order = Order(query.order)
    condition, values = service_condition(services)
    top = TopRows(order, query.limit)
    for chunk, min_ns, max_ns, columns, texts in connection.execute(
        f"SELECT id, min_ns, max_ns, columns, texts FROM log_chunks WHERE max_ns >= ? AND min_ns < ?{condition} "
        f"ORDER BY {'min_ns' if order is Order.OLDEST else 'max_ns DESC'}",
        (query.window.start_ns, query.window.end_ns, *values),
    ):
        if top.is_beyond(min_ns, max_ns):
            break
        rows = np.frombuffer(columns, LOG_ROW)
        kept = (rows["time"] >= query.window.start_ns) & (rows["time"] < query.window.end_ns)
        kept &= rows["severity"] >= query.least_severity
        if trace is not None:
            kept &= rows["trace"] == trace
        positions = np.flatnonzero(kept)
        if query.text and len(positions):
            bodies, wanted = _TEXTS.decode(zlib.decompress(texts))[0], query.text.casefold()
            hits = [position for position in positions.tolist() if wanted in bodies[position].casefold()]
            positions = np.array(hits, np.intp)
        top.add(rows["time"][positions], chunk, positions)
    return list(_read_logs(connection, top.rows(), names))


def _read_logs(
    connection: sqlite3.Connection, places: Sequence[tuple[int, int]], names: Mapping[int, str]
) -> Iterator[LogRow]:
    chunks = {}
    for chunk in dict.fromkeys(chunk for chunk, _ in places):
        service, instance, columns, texts = connection.execute(
            "SELECT service, instance, columns, texts FROM log_chunks WHERE id = ?", (chunk,)
        ).fetchone()
        rows = np.frombuffer(columns, LOG_ROW)
        chunks[chunk] = (names.get(service, ""), instance, rows, _TEXTS.decode(zlib.decompress(texts)))
    for chunk, position in places:
        service, instance, rows, (bodies, loggers, users, attribute_sets) = chunks[chunk]
        time_ns, logger, user, attributes, severity, trace = rows[position].tolist()
        yield LogRow(
            timestamp_ns=time_ns,
            service=service,
            instance=instance,
            severity=severity,
            logger=loggers[logger] if logger >= 0 else "",
            body=bodies[position],
            trace_id="" if trace == _NO_TRACE else trace.hex(),
            user=users[user] if user >= 0 else "",
            attributes=attribute_sets[attributes] if attributes >= 0 else {},
        )


def _trace(trace_id: str) -> np.void | None:
    try:
        trace = bytes.fromhex(trace_id)
    except ValueError:
        return None
    return np.void(trace) if len(trace) == 16 else None
