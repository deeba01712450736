"""Forgetting old telemetry in the SQLite store in steps so short that nobody waits for them."""

import sqlite3
import time
from collections.abc import Callable
from typing import Final

from libs.stores.sqlite_file import SqliteFile
from libs.stores.sqlite_span_write import MINUTE_NS

# The write lock is held for at most this long (plus one statement); readers never wait. Goal: below 50 ms.
_SLICE_S: Final = 0.02
_CHUNKS_A_STATEMENT: Final = 8
_KEYS_A_STATEMENT: Final = 1_000
_LONG_FACTOR: Final = 10  # changes and edges are kept ten times as long (the port's promise)
_WAITING_NS: Final = 600 * 1_000_000_000  # an answer whose call has not arrived after ten minutes stays alone
_FREE_SHARE: Final = 0.25  # free pages are used again; only beyond this share is the file made smaller
_RECLAIM_PAGES: Final = 256
_RECLAIM_STEPS: Final = 16
_CHUNK_TABLES: Final = ("metric_chunks", "log_chunks", "span_chunks")


def prune(file: SqliteFile, before_ns: int) -> int:
    """Remove telemetry older than a moment; points, records, spans, changes and calls removed."""
    with file.write() as connection:
        connection.execute("UPDATE progress SET horizon_ns = max(horizon_ns, ?)", (before_ns,))
        watermark_ns = int(connection.execute("SELECT watermark_ns FROM progress").fetchone()[0])
    removed = sum(_prune_chunks(file, table, before_ns) for table in _CHUNK_TABLES)
    _prune_keys(file, before_ns // MINUTE_NS)
    removed += _prune_rest(file, before_ns, watermark_ns)
    _reclaim(file)
    return removed


def _prune_chunks(file: SqliteFile, table: str, before_ns: int) -> int:
    removed = 0

    def remove(connection: sqlite3.Connection) -> bool:
        nonlocal removed
        sizes = connection.execute(
            f"DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE max_ns < ? ORDER BY max_ns "
            f"LIMIT {_CHUNKS_A_STATEMENT}) RETURNING size",
            (before_ns,),
        ).fetchall()
        removed += sum(size for (size,) in sizes)
        return len(sizes) == _CHUNKS_A_STATEMENT

    _in_slices(file, remove)
    return removed


def _prune_keys(file: SqliteFile, before_minute: int) -> None:
    def remove(connection: sqlite3.Connection) -> bool:
        row = connection.execute(
            "SELECT minute, key FROM span_keys WHERE minute < ? ORDER BY minute, key LIMIT 1 OFFSET ?",
            (before_minute, _KEYS_A_STATEMENT),
        ).fetchone()
        end = (before_minute, b"") if row is None else row
        connection.execute("DELETE FROM span_keys WHERE (minute, key) < (?, ?)", end)
        return row is not None

    _in_slices(file, remove)


def _in_slices(file: SqliteFile, remove: Callable[[sqlite3.Connection], bool]) -> None:
    """Call `remove` until it says that nothing is left, in transactions of _SLICE_S."""
    more = True
    while more:
        deadline = time.perf_counter() + _SLICE_S
        with file.write() as connection:
            more = remove(connection)
            while more and time.perf_counter() < deadline:
                more = remove(connection)


def _prune_rest(file: SqliteFile, before_ns: int, watermark_ns: int) -> int:
    """Changes, edges, and the ids that nothing refers to any longer."""
    with file.write() as connection:
        given_up = connection.execute("DELETE FROM series WHERE used_until_ns < ?", (before_ns,)).rowcount
        given_up += connection.execute("DELETE FROM services WHERE last_ns < ?", (before_ns,)).rowcount
        connection.execute("DELETE FROM waiting WHERE end_ns < ?", (watermark_ns - _WAITING_NS,))
        removed = 0
        if watermark_ns:
            long_ns = watermark_ns - _LONG_FACTOR * max(0, watermark_ns - before_ns)
            connection.execute("DELETE FROM callees WHERE last_ns < ?", (long_ns,))
            calls = connection.execute("DELETE FROM calls WHERE last_ns < ?", (long_ns,)).rowcount
            given_up += calls
            removed = calls + connection.execute("DELETE FROM changes WHERE at_ns < ?", (long_ns,)).rowcount
        if given_up:
            connection.execute("UPDATE progress SET generation = generation + 1")
    return removed


def _reclaim(file: SqliteFile) -> None:
    for _ in range(_RECLAIM_STEPS):
        with file.read() as connection:
            free = connection.execute("PRAGMA freelist_count").fetchone()[0]
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
        if free < _RECLAIM_PAGES or free < _FREE_SHARE * pages:
            return
        file.reclaim(_RECLAIM_PAGES)
