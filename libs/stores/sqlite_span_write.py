"""Writing spans to the SQLite telemetry store, and learning from them who calls whom."""

import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from libs.stores.sqlite_registry import Registry
from libs.stores.telemetry_columns import CALLER_KINDS, SERVER_KINDS, SPAN_IDS, SpanColumns, failed_flags

MINUTE_NS: Final = 60 * 1_000_000_000
_KEY_BYTES: Final = 24  # trace id, span id
_NO_PARENT: Final = bytes(8)
# Level 1 deflates attribute sets at some 100 MB/s to a sixth; level 6 gains a tenth in size for three times the time.
_DEFLATE_LEVEL: Final = 1

Tally = tuple[int, int, int, int]  # calls, errors, first and last event time


@dataclass(slots=True)
class _Arrivals:
    """Spans of one transaction that were new: what joins need of them, one entry per span."""

    keys: list[bytes] = field(default_factory=list)
    services: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    answers: list[tuple[bytes, int, int, int, int]] = field(
        default_factory=list
    )  # parent key, minute, service, end, failed


class SpanWriter:
    """Writes the span batches of one transaction.

    Args:
        connection: In a write transaction.
        registry: Ids of services and calls.
    """

    def __init__(self, connection: sqlite3.Connection, registry: Registry) -> None:
        self._connection = connection
        self._registry = registry
        self._arrivals = _Arrivals()
        self._called: dict[int, Tally] = {}
        self._answered: dict[tuple[int, int], Tally] = {}

    def write(self, batches: Iterable[SpanColumns]) -> None:
        """Store what is new in the batches and bring the call graph up to date."""
        found = self._connection.execute("SELECT coalesce(max(id), 0) FROM span_chunks").fetchone()
        chunk = int(found[0]) + 1
        for columns in batches:
            if len(columns.rows) and not self._known(columns.digest):
                chunk += self._write_batch(columns, chunk)
        self._join()
        self._store_tallies()

    def _known(self, digest: bytes) -> bool:
        query = "SELECT 1 FROM span_chunks WHERE digest = ?"
        return self._connection.execute(query, (digest,)).fetchone() is not None

    def _write_batch(self, columns: SpanColumns, chunk: int) -> bool:
        service = self._registry.service(columns.batch.service)
        self._assign_calls(columns)
        octets = columns.ids.view(np.uint8).reshape(-1, SPAN_IDS.itemsize)
        key_list = np.ascontiguousarray(octets[:, :_KEY_BYTES]).view(f"V{_KEY_BYTES}").ravel().tolist()
        minutes = (columns.ends // MINUTE_NS).tolist()
        failed = failed_flags(columns.rows).tolist()
        inserted = self._connection.executemany(
            "INSERT OR IGNORE INTO span_keys (minute, key, chunk, position, service, call, failed) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            zip(
                minutes,
                key_list,
                repeat(chunk),
                range(len(key_list)),
                repeat(service),
                columns.rows["call"].tolist(),
                failed,
            ),
        ).rowcount
        if inserted < len(key_list):
            own = self._own_positions(minutes, key_list, chunk)
            if not len(own):
                return False
            columns = _only(columns, own)
            key_list = [key_list[position] for position in own]
        self._insert_chunk(columns, chunk, service)
        self._count_calls(columns)
        self._note_arrivals(columns, key_list, service)
        return True

    def _assign_calls(self, columns: SpanColumns) -> None:
        """Fill the `call` column of client and producer spans."""
        rows, batch = columns.rows, columns.batch
        calling = np.flatnonzero(np.isin(rows["kind"], CALLER_KINDS))
        if not len(calling):
            return
        pairs = rows["peer"][calling].astype(np.int64) * (len(batch.names) + 1) + rows["name"][calling]
        distinct, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
        ids = np.empty(len(distinct), np.int32)
        for place, row in enumerate(calling[first].tolist()):
            peer = int(rows["peer"][row])
            ids[place] = self._registry.call(
                self._connection,
                batch.service,
                batch.peers[peer] if peer >= 0 else "",
                batch.names[int(rows["name"][row])],
                int(columns.ends[row]),
            )
        rows["call"][calling] = ids[inverse]

    def _own_positions(self, minutes: Sequence[int], keys: Sequence[bytes], chunk: int) -> npt.NDArray[np.intp]:
        """Positions of the spans that were not there before, renumbered in span_keys without gaps."""
        own = []
        for position, (minute, key) in enumerate(zip(minutes, keys, strict=True)):
            stored = self._connection.execute(
                "SELECT chunk, position FROM span_keys WHERE minute = ? AND key = ?", (minute, key)
            ).fetchone()
            if stored == (chunk, position):
                own.append(position)
        self._connection.executemany(
            "UPDATE span_keys SET position = ? WHERE minute = ? AND key = ?",
            [(place, minutes[position], keys[position]) for place, position in enumerate(own)],
        )
        return np.array(own, np.intp)

    def _insert_chunk(self, columns: SpanColumns, chunk: int, service: int) -> None:
        batch = columns.batch
        self._connection.execute(
            "INSERT INTO span_chunks (id, digest, service, min_ns, max_ns, size, instance, version, columns, ids, "
            "words, details) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                chunk,
                columns.digest,
                service,
                int(columns.ends.min()),
                int(columns.ends.max()),
                len(columns.rows),
                batch.resource.get("service.instance.id", ""),
                batch.resource.get("service.version", ""),
                columns.rows.tobytes(),
                columns.ids.tobytes(),
                msgspec.json.encode((batch.names, batch.peers, batch.users)).decode(),
                deflated((batch.attribute_sets, columns.exceptions)),
            ),
        )

    def _count_calls(self, columns: SpanColumns) -> None:
        calls = columns.rows["call"]
        failed = columns.rows["status"] == 2
        for call in np.unique(calls[calls > 0]).tolist():
            mine = calls == call
            ends = columns.ends[mine]
            tally = (int(mine.sum()), int(failed[mine].sum()), int(ends.min()), int(ends.max()))
            _add(self._called, call, tally)

    def _note_arrivals(self, columns: SpanColumns, keys: list[bytes], service: int) -> None:
        arrivals = self._arrivals
        failed = failed_flags(columns.rows)
        arrivals.keys.extend(keys)
        arrivals.services.extend(repeat(service, len(keys)))
        arrivals.calls.extend(columns.rows["call"].tolist())
        arrivals.failed.extend(failed.tolist())
        answering = np.flatnonzero(np.isin(columns.rows["kind"], SERVER_KINDS))
        parents = columns.ids["parent"][answering].tolist()
        ends = columns.ends[answering].tolist()
        for row, parent, end_ns in zip(answering.tolist(), parents, ends, strict=True):
            if parent != _NO_PARENT:
                entry = (keys[row][:16] + parent, end_ns // MINUTE_NS, service, end_ns, int(failed[row]))
                arrivals.answers.append(entry)

    def _join(self) -> None:
        """Join callers and callees in both orders of arrival: each answer meets its parent exactly once.

        A parent is sought in the minute of the answer's end and its neighbours: within that, calls end together.
        """
        execute = self._connection.execute
        orphans = []
        for key, minute, service, end_ns, failed in self._arrivals.answers:
            parent = execute(
                "SELECT service, call, failed FROM span_keys WHERE minute IN (?, ?, ?) AND key = ?",
                (minute, minute - 1, minute + 1, key),
            ).fetchone()
            if parent is None:
                orphans.append((key, service, end_ns, failed))
            else:
                self._answer(parent[0], parent[1], parent[2], service, end_ns, failed)
        if execute("SELECT 1 FROM waiting LIMIT 1").fetchone() is not None:
            self._meet_waiting()
        self._connection.executemany("INSERT INTO waiting (key, service, end_ns, failed) VALUES (?, ?, ?, ?)", orphans)

    def _meet_waiting(self) -> None:
        arrivals, met = self._arrivals, []
        execute = self._connection.execute
        for key, caller, call, call_failed in zip(
            arrivals.keys, arrivals.services, arrivals.calls, arrivals.failed, strict=True
        ):
            for service, end_ns, failed in execute(
                "SELECT service, end_ns, failed FROM waiting WHERE key = ?", (key,)
            ).fetchall():
                self._answer(caller, call, call_failed, service, end_ns, failed)
                met.append((key,))
        self._connection.executemany("DELETE FROM waiting WHERE key = ?", met)

    def _answer(self, caller: int, call: int, call_failed: int, callee: int, end_ns: int, failed: int) -> None:
        """Note that a service answered a call; a parent that is no call counts as one when it is another service's."""
        if call:
            _add(self._answered, (call, callee), (1, call_failed, end_ns, end_ns))
        elif caller != callee:
            name = self._service_name(caller)
            if name is not None:
                direct = self._registry.call(self._connection, name, "", "", end_ns)
                _add(self._answered, (direct, callee), (1, failed, end_ns, end_ns))

    def _service_name(self, service: int) -> str | None:
        row = self._connection.execute("SELECT name FROM services WHERE id = ?", (service,)).fetchone()
        return None if row is None else str(row[0])

    def _store_tallies(self) -> None:
        self._connection.executemany(
            "UPDATE calls SET calls = calls + ?, errors = errors + ?, first_ns = min(first_ns, ?), "
            "last_ns = max(last_ns, ?) WHERE id = ?",
            [(*tally, call) for call, tally in self._called.items()],
        )
        for (call, callee), tally in self._answered.items():
            self._connection.execute(
                "INSERT INTO callees (call, callee, calls, errors, first_ns, last_ns) "
                "SELECT ?, name, ?, ?, ?, ? FROM services WHERE id = ? ON CONFLICT DO UPDATE SET "
                "calls = calls + excluded.calls, errors = errors + excluded.errors, "
                "first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns)",
                (call, *tally, callee),
            )
        self._connection.executemany(
            "UPDATE calls SET last_ns = max(last_ns, ?) WHERE id = ?",
            [(tally[3], call) for (call, _), tally in self._answered.items()],
        )


def deflated(value: Any) -> bytes:
    """JSON, deflated."""
    return zlib.compress(msgspec.json.encode(value), _DEFLATE_LEVEL)


def _only(columns: SpanColumns, own: npt.NDArray[np.intp]) -> SpanColumns:
    places = {position: place for place, position in enumerate(own.tolist())}
    exceptions = tuple((places[at], attributes) for at, attributes in columns.exceptions if at in places)
    return replace(columns, rows=columns.rows[own], ids=columns.ids[own], ends=columns.ends[own], exceptions=exceptions)


def _add(tallies: dict[Any, Tally], key: Any, more: Tally) -> None:
    known = tallies.get(key)
    if known is not None:
        more = (known[0] + more[0], known[1] + more[1], min(known[2], more[2]), max(known[3], more[3]))
    tallies[key] = more
