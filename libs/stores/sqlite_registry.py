"""Small ids for services, series and calls of the SQLite telemetry store, looked up once and then kept in memory."""

import hashlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from libs.contracts.columns import Int32Array
from libs.contracts.telemetry import MetricBatch

# A series is touched in the file at most every ten minutes of event time: 5,000 series then cost 8 updates a second.
_USED_STEP_NS: Final = 600 * 1_000_000_000
_NEVER_NS: Final = 2**63 - 1
_MOST_LISTS: Final = 2_000  # of series that instances export together; one of 5,000 series takes 20 kB
_MOST_SERIES: Final = 500_000  # in memory, some 150 MB; beyond it starts afresh from the file
# Span names with raw addresses in them, and peers with ephemeral ports, must not grow the graph without bound.
_MOST_NAMES: Final = 64
_MOST_CALLS: Final = 2_000
OTHER_NAME: Final = "*"
OTHER_PEER: Final = "(other)"
_KEY: Final = msgspec.msgpack.Encoder(order="deterministic")
_ATTRIBUTES: Final = msgspec.json.Encoder(order="deterministic")


@dataclass(frozen=True, slots=True)
class Extent:
    """First and last event time, unix nanoseconds."""

    first_ns: int
    last_ns: int


class Registry:
    """Ids by name; used inside write transactions only, by one thread at a time."""

    def __init__(self) -> None:
        self._services: dict[str, int] = {}
        self._series: dict[tuple[int, str], dict[bytes, tuple[int, int]]] = {}
        self._listed: dict[tuple[int, str, bytes], tuple[Int32Array, int]] = {}
        self._series_count = 0
        self._calls: dict[tuple[str, str, str], int] = {}
        self._generation = -1

    def begin(self, connection: sqlite3.Connection) -> None:
        """Start a transaction: ids that any process has given up since the last one are forgotten."""
        generation = connection.execute("SELECT generation FROM progress").fetchone()[0]
        if generation != self._generation:
            self.forget()
            self._generation = generation

    def forget(self) -> None:
        """Forget everything; needed after a transaction that was rolled back."""
        self._services.clear()
        self._series.clear()
        self._listed.clear()
        self._series_count = 0
        self._calls.clear()

    def see_services(self, connection: sqlite3.Connection, seen: Mapping[str, Extent]) -> None:
        """Note that services have sent telemetry."""
        for name, extent in seen.items():
            row = connection.execute(
                "INSERT INTO services (name, first_ns, last_ns) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET "
                "first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns) RETURNING id",
                (name, extent.first_ns, extent.last_ns),
            ).fetchone()
            self._services[name] = row[0]

    def service(self, name: str) -> int:
        """Id of a service that was seen in this transaction."""
        return self._services[name]

    def series_ids(
        self, connection: sqlite3.Connection, batch: MetricBatch, instance: str, latest_ns: int
    ) -> Int32Array:
        """Id of each series of a batch whose newest point is at `latest_ns`."""
        service = self.service(batch.service)
        # An instance exports the same series again and again: 5,000 look-ups become one.
        listed = (service, instance, hashlib.blake2b(_KEY.encode(batch.series), digest_size=16).digest())
        found = self._listed.get(listed)
        if found is not None and latest_ns <= found[1]:
            return found[0]
        if self._series_count > _MOST_SERIES or len(self._listed) > _MOST_LISTS:
            self._series.clear()
            self._listed.clear()
            self._series_count = 0
        known = self._series.setdefault((service, instance), {})
        ids = np.empty(len(batch.series), np.int32)
        used_until_ns = _NEVER_NS
        for position, series in enumerate(batch.series):
            key = _KEY.encode(series)
            entry = known.get(key)
            if entry is None or latest_ns > entry[1]:
                row = connection.execute(
                    "INSERT INTO series (service, instance, name, statistic, unit, attributes, used_until_ns) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
                    "used_until_ns = max(used_until_ns, excluded.used_until_ns) RETURNING id, used_until_ns",
                    (
                        service,
                        instance,
                        series.name,
                        series.statistic,
                        series.unit,
                        _ATTRIBUTES.encode(series.attributes).decode(),
                        latest_ns + _USED_STEP_NS,
                    ),
                ).fetchone()
                self._series_count += entry is None
                entry = known[key] = (row[0], row[1])
            ids[position] = entry[0]
            used_until_ns = min(used_until_ns, entry[1])
        self._listed[listed] = (ids, used_until_ns)
        return ids

    def call(self, connection: sqlite3.Connection, caller: str, peer: str, name: str, at_ns: int) -> int:
        """Id of calls of a service to a peer under a span name; beyond a bound they share the id of the others."""
        key = (caller, peer, name)
        found = self._calls.get(key)
        if found is None:
            found = self._stored_call(connection, key, at_ns)
            if len(self._calls) > 50 * _MOST_CALLS:
                self._calls.clear()
            self._calls[key] = found
        return found

    def _stored_call(self, connection: sqlite3.Connection, key: tuple[str, str, str], at_ns: int) -> int:
        caller, peer, name = key
        row = connection.execute(
            "SELECT id FROM calls WHERE caller = ? AND peer = ? AND name = ?", (caller, peer, name)
        ).fetchone()
        if row is not None:
            return int(row[0])
        if name != OTHER_NAME:
            names = connection.execute(
                "SELECT count(*) FROM calls WHERE caller = ? AND peer = ?", (caller, peer)
            ).fetchone()[0]
            if names >= _MOST_NAMES:
                return self.call(connection, caller, peer, OTHER_NAME, at_ns)
        if peer != OTHER_PEER:
            calls = connection.execute("SELECT count(*) FROM calls WHERE caller = ?", (caller,)).fetchone()[0]
            if calls >= _MOST_CALLS:
                return self.call(connection, caller, OTHER_PEER, OTHER_NAME, at_ns)
        inserted = connection.execute(
            "INSERT INTO calls (caller, peer, name, first_ns, last_ns) VALUES (?, ?, ?, ?, ?)",
            (caller, peer, name, at_ns, at_ns),
        )
        assert inserted.lastrowid is not None
        return inserted.lastrowid
