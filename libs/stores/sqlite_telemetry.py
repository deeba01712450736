"""The telemetry store in one SQLite file: the embedded default, for one machine."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from libs.contracts.codec import from_json, ns_from_utc, to_json
from libs.contracts.telemetry import ChangeEvent, LogBatch, MetricBatch, SpanBatch
from libs.stores.call_table import CallTable
from libs.stores.sqlite_calls import load_spans
from libs.stores.sqlite_file import SqliteFile, SqliteKind, read_migrations
from libs.stores.sqlite_graph import load_graph
from libs.stores.sqlite_logs import find_logs, write_logs
from libs.stores.sqlite_metrics import find_series, write_metrics
from libs.stores.sqlite_registry import Extent, Registry
from libs.stores.sqlite_retention import prune
from libs.stores.sqlite_span_read import count_users, find_spans, find_trace
from libs.stores.sqlite_span_write import SpanWriter
from libs.stores.telemetry import (
    Edge,
    LogQuery,
    LogRow,
    RedWindow,
    SeriesWindow,
    ServiceSeen,
    SpanQuery,
    SpanRow,
    UserCount,
    Window,
)
from libs.stores.telemetry_columns import (
    LogColumns,
    MetricColumns,
    SpanColumns,
    log_columns,
    metric_columns,
    span_columns,
)

KIND: Final = SqliteKind(
    name="telemetry store",
    application_id=0x5054454C,
    migrations=read_migrations("sqlite_telemetry"),
    # Telemetry of the last second before a power cut may be lost; it is on Kafka still.
    synchronous="NORMAL",
    cache_kib=32768,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Snapshot:
    """What every question needs: service names by id, and the window without what was pruned."""

    connection: sqlite3.Connection
    names: dict[int, str]
    horizon_ns: int

    def clip(self, window: Window) -> Window:
        return Window(start_ns=max(window.start_ns, self.horizon_ns), end_ns=window.end_ns)

    def ids(self, services: Sequence[str]) -> list[int] | None:
        """Ids of the services that are known; None when none was named, which means all."""
        if not services:
            return None
        wanted = set(services)
        return [number for number, name in self.names.items() if name in wanted]


class SqliteTelemetryStore:
    """The recent window of telemetry in one file; safe for threads and for several processes at once.

    Args:
        path: The file; created when missing.
    Raises:
        ConfigurationError: the file is something else, or was written by a newer release.
        Unavailable: the file cannot be opened; from every method: locked for too long, disk full, closed.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = SqliteFile(Path(path), KIND)
        self._registry = Registry()

    def write(
        self,
        *,
        metrics: Sequence[MetricBatch] = (),
        logs: Sequence[LogBatch] = (),
        spans: Sequence[SpanBatch] = (),
        changes: Sequence[ChangeEvent] = (),
    ) -> None:
        """Store batches in one transaction; what is there already is not stored again.

        Raises:
            InvalidMessage: a column does not fit, or an event time is absurd; nothing was stored.
        """
        points = [metric_columns(batch) for batch in metrics]
        records = [log_columns(batch) for batch in logs]
        finished = [span_columns(batch) for batch in spans]
        seen = _seen(points, records, finished)
        change_rows = [
            (change.id, change.service, ns_from_utc(change.timestamp), to_json(change).decode()) for change in changes
        ]
        with self._file.write() as connection:
            try:
                self._registry.begin(connection)
                self._registry.see_services(connection, seen)
                write_metrics(connection, self._registry, points)
                write_logs(connection, self._registry, records)
                if finished:
                    SpanWriter(connection, self._registry).write(finished)
                connection.executemany(
                    "INSERT OR REPLACE INTO changes (id, service, at_ns, value) VALUES (?, ?, ?, ?)", change_rows
                )
                if seen:
                    latest_ns = max(extent.last_ns for extent in seen.values())
                    connection.execute("UPDATE progress SET watermark_ns = max(watermark_ns, ?)", (latest_ns,))
            except BaseException:
                self._registry.forget()
                raise

    def prune(self, before_ns: int) -> int:
        """Forget telemetry older than a moment (changes and edges are kept ten times as long); rows removed."""
        return prune(self._file, before_ns)

    def watermark_ns(self) -> int:
        """Greatest event time of metrics, logs and spans, unix nanoseconds; 0 when nothing was recorded."""
        with self._file.read() as connection:
            return int(connection.execute("SELECT watermark_ns FROM progress").fetchone()[0])

    def services(self) -> list[ServiceSeen]:
        """Services that have sent metrics, logs or spans, by name."""
        with self._file.read() as connection:
            rows = connection.execute("SELECT name, first_ns, last_ns FROM services ORDER BY name").fetchall()
        return [ServiceSeen(service=name, first_seen_ns=first, last_seen_ns=last) for name, first, last in rows]

    def series(
        self, window: Window, *, services: Sequence[str] = (), names: Sequence[str] = (), limit: int = 2000
    ) -> list[SeriesWindow]:
        """Metric series with at least one point in the window, by service, name, statistic, attributes."""
        with self._snapshot() as snapshot:
            ids = snapshot.ids(services)
            return find_series(snapshot.connection, snapshot.clip(window), ids, names, limit, snapshot.names)

    def spans(self, query: SpanQuery) -> list[SpanRow]:
        """Spans that ended in the window."""
        with self._snapshot() as snapshot:
            query = replace(query, window=snapshot.clip(query.window))
            if query.trace_id:
                return _of_trace(find_trace(snapshot.connection, query.trace_id, snapshot.names), query)
            return find_spans(snapshot.connection, query, snapshot.ids(query.services), snapshot.names)

    def trace(self, trace_id: str) -> list[SpanRow]:
        """All spans of one trace by start, at most 5,000."""
        with self._snapshot() as snapshot:
            spans = find_trace(snapshot.connection, trace_id, snapshot.names)
            return [span for span in spans if span.start_ns + span.duration_ns >= snapshot.horizon_ns]

    def logs(self, query: LogQuery) -> list[LogRow]:
        """Log records."""
        with self._snapshot() as snapshot:
            query = replace(query, window=snapshot.clip(query.window))
            return find_logs(snapshot.connection, query, snapshot.ids(query.services), snapshot.names)

    def changes(self, window: Window, *, services: Sequence[str] = (), limit: int = 200) -> list[ChangeEvent]:
        """Changes that took effect in the window, newest first."""
        condition = f" AND service IN ({', '.join('?' * len(services))})" if services else ""
        with self._file.read() as connection:
            rows = connection.execute(
                f"SELECT value FROM changes WHERE at_ns >= ? AND at_ns < ?{condition} ORDER BY at_ns DESC, id LIMIT ?",
                (window.start_ns, window.end_ns, *services, max(limit, 0)),
            ).fetchall()
        return [from_json(value, ChangeEvent) for (value,) in rows]

    def red(self, window: Window, step_s: float, *, services: Sequence[str] = ()) -> list[RedWindow]:
        """Rate, errors, duration per service and per call edge and step, in that order.

        Steps are aligned to multiples of step_s; a step without a span is left out.
        """
        step_ns = round(step_s * 1e9)
        if step_ns <= 0:
            raise ValueError(f"step_s is {step_s}, not a positive number of seconds")
        with self._snapshot() as snapshot:
            graph = load_graph(snapshot.connection)
            table = CallTable(partial(load_spans, snapshot.connection), graph, snapshot.names, snapshot.clip(window))
            return table.red(step_ns, snapshot.ids(services))

    def edges(self, window: Window | None = None) -> list[Edge]:
        """The learned service graph by caller and callee; with a window, calls and errors inside it only."""
        with self._snapshot() as snapshot:
            graph = load_graph(snapshot.connection)
            if window is None:
                return graph.edges()
            return CallTable(
                partial(load_spans, snapshot.connection), graph, snapshot.names, snapshot.clip(window)
            ).edges()

    def users(
        self, window: Window, *, services: Sequence[str], failed_only: bool, slower_than_s: float = 0.0
    ) -> UserCount:
        """Distinct users of the services' server spans: failed ones only, or failed or slower than a duration."""
        with self._snapshot() as snapshot:
            return count_users(
                snapshot.connection,
                snapshot.clip(window),
                snapshot.ids(services),
                failed_only=failed_only,
                slower_than_s=slower_than_s,
            )

    def close(self) -> None:
        """Let go of the connections."""
        self._file.close()

    @contextmanager
    def _snapshot(self) -> Iterator[_Snapshot]:
        with self._file.read() as connection:
            names = dict(connection.execute("SELECT id, name FROM services").fetchall())
            horizon_ns = connection.execute("SELECT horizon_ns FROM progress").fetchone()[0]
            yield _Snapshot(connection=connection, names=names, horizon_ns=horizon_ns)


def _seen(
    points: Sequence[MetricColumns], records: Sequence[LogColumns], finished: Sequence[SpanColumns]
) -> dict[str, Extent]:
    """First and last event time of each service in the batches."""
    extents: dict[str, Extent] = {}
    for service, times in (
        *((columns.batch.service, columns.timestamps) for columns in points),
        *((columns.batch.service, columns.rows["time"]) for columns in records),
        *((columns.batch.service, columns.ends) for columns in finished),
    ):
        if len(times):
            first_ns, last_ns = int(times.min()), int(times.max())
            known = extents.get(service)
            if known is not None:
                first_ns, last_ns = min(first_ns, known.first_ns), max(last_ns, known.last_ns)
            extents[service] = Extent(first_ns, last_ns)
    return extents


def _of_trace(spans: Sequence[SpanRow], query: SpanQuery) -> list[SpanRow]:
    """The spans of a trace that a query asks for, in its order."""
    kept = [
        span
        for span in spans
        if query.window.start_ns <= span.start_ns + span.duration_ns < query.window.end_ns
        and (not query.services or span.service in query.services)
        and (not query.errors_only or span.status == 2)
        and (not query.kinds or span.kind in query.kinds)
    ]
    if query.order == "slowest":
        kept.sort(key=lambda span: -span.duration_ns)
    else:
        kept.sort(key=lambda span: span.start_ns + span.duration_ns, reverse=query.order == "newest")
    return kept[: max(query.limit, 0)]
