"""The telemetry store in Elasticsearch: the recent window in indices cut by event time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from libs.contracts.telemetry import ChangeEvent, LogBatch, MetricBatch, SpanBatch
from libs.stores.call_table import CallTable
from libs.stores.elastic_bulk import BulkItem, write_bulk
from libs.stores.elastic_changes import change_item, find_changes, forget_changes
from libs.stores.elastic_connection import ElasticConnection, segment
from libs.stores.elastic_graph import GraphMemory
from libs.stores.elastic_guarded import GuardedIndex
from libs.stores.elastic_logs import LOGS, find_logs, log_items
from libs.stores.elastic_metrics import METRICS, MetricDocuments
from libs.stores.elastic_options import ElasticOptions
from libs.stores.elastic_pages import refresh, search
from libs.stores.elastic_progress import ProgressDocument
from libs.stores.elastic_slices import Slicing, slice_end_ns, slice_width_s
from libs.stores.elastic_span_columns import SpanColumnReader
from libs.stores.elastic_span_read import count_users, find_spans, find_trace
from libs.stores.elastic_span_write import COLUMNS, SPANS, column_items, span_items
from libs.stores.elastic_templates import CHANGES, GRAPH, SLICED, STATE, alias, patterns, prepare_telemetry
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

# Where the event time of each kind of document is, and what a document counts for.
_FORGOTTEN: Final = (
    (SPANS, "paramedic.end_ns", None),
    (LOGS, "paramedic.time_ns", None),
    (METRICS, "paramedic.max_ns", "paramedic.size"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checked:
    """Batches whose columns were checked."""

    metrics: Sequence[MetricColumns]
    logs: Sequence[LogColumns]
    spans: Sequence[SpanColumns]

    def extents(self) -> dict[str, tuple[int, int]]:
        """First and last event time of each service."""
        found: dict[str, tuple[int, int]] = {}
        for service, times in (
            *((columns.batch.service, columns.timestamps) for columns in self.metrics),
            *((columns.batch.service, columns.rows["time"]) for columns in self.logs),
            *((columns.batch.service, columns.ends) for columns in self.spans),
        ):
            if len(times):
                first, last = int(times.min()), int(times.max())
                known = found.get(service, (first, last))
                found[service] = (min(first, known[0]), max(last, known[1]))
        return found


class ElasticTelemetryStore:
    """The recent window of telemetry; safe for threads and for several processes at once.

    Ids are derived from what is stored, so writing again changes nothing. Reading refreshes what it reads and so sees
    everything that was acknowledged before.

    Args:
        options: How to reach the cluster.
    Raises:
        ConfigurationError: address, credentials or server version are wrong.
        Unavailable: from every method: the cluster cannot be reached, is overloaded, or the store is closed.
    """

    def __init__(self, options: ElasticOptions) -> None:
        self._connection = ElasticConnection(options, prepare_telemetry)
        self._prefix = options.prefix
        self._slicing = Slicing(prefix=options.prefix, width_s=slice_width_s(options.retention_s))
        self._metrics = MetricDocuments(self._slicing)
        self._changes = alias(options.prefix, CHANGES)
        self._progress = ProgressDocument(GuardedIndex(self._connection, alias(options.prefix, STATE)))
        self._graph = GraphMemory(self._connection, self._of(COLUMNS), alias(options.prefix, GRAPH))

    def write(
        self,
        *,
        metrics: Sequence[MetricBatch] = (),
        logs: Sequence[LogBatch] = (),
        spans: Sequence[SpanBatch] = (),
        changes: Sequence[ChangeEvent] = (),
    ) -> None:
        """Store batches; what is there already is not stored again.

        There are no transactions: when it raises `Unavailable` a part may be stored, and storing all of it again is
        harmless. The watermark moves last.

        Raises:
            InvalidMessage: a column does not fit, or an event time is absurd: nothing was stored; or the server
                refuses a document, which the text names.
        """
        checked = _Checked(
            metrics=[metric_columns(batch) for batch in metrics],
            logs=[log_columns(batch) for batch in logs],
            spans=[span_columns(batch) for batch in spans],
        )
        points = list(self._metrics.items(checked.metrics))
        write_bulk(self._connection, self._items(points, checked, changes))
        self._metrics.written(points)
        self._progress.see(checked.extents())

    def _items(
        self, points: Sequence[BulkItem], checked: _Checked, changes: Sequence[ChangeEvent]
    ) -> Iterator[BulkItem]:
        yield from points
        for records in checked.logs:
            yield from log_items(records, self._slicing)
        for finished in checked.spans:
            yield from span_items(finished, self._slicing)
            yield from column_items(finished, self._slicing)
        for change in changes:
            yield change_item(change, self._changes)

    def prune(self, before_ns: int) -> int:
        """Forget telemetry older than a moment (changes and edges are kept ten times as long); rows removed.

        What is older is invisible at once; an index is dropped when all of it is older.
        """
        earlier = self._progress.read()
        removed = self._count(Window(start_ns=earlier.horizon_ns, end_ns=before_ns))
        self._graph.write_down(earlier, earlier.pruned(before_ns))
        progress = self._progress.prune(before_ns)
        removed += forget_changes(self._connection, self._changes, progress.long_horizon_ns)
        self._drop(progress.horizon_ns)
        return removed

    def watermark_ns(self) -> int:
        """Greatest event time of metrics, logs and spans, unix nanoseconds; 0 when nothing was recorded."""
        return self._progress.read().watermark_ns

    def services(self) -> list[ServiceSeen]:
        """Services that have sent metrics, logs or spans, by name."""
        seen = self._progress.read().services
        return [
            ServiceSeen(service=name, first_seen_ns=first, last_seen_ns=last)
            for name, (first, last) in sorted(seen.items())
        ]

    def series(
        self, window: Window, *, services: Sequence[str] = (), names: Sequence[str] = (), limit: int = 2000
    ) -> list[SeriesWindow]:
        """Metric series with at least one point in the window, by service, name, statistic, attributes."""
        window = self._clip(window)
        index = self._refreshed(METRICS)
        return self._metrics.find(self._connection, index, window, services, names, limit)

    def spans(self, query: SpanQuery) -> list[SpanRow]:
        """Spans that ended in the window."""
        query = replace(query, window=self._clip(query.window))
        return find_spans(self._connection, self._refreshed(SPANS), query)

    def trace(self, trace_id: str) -> list[SpanRow]:
        """All spans of one trace by start, at most 5,000."""
        horizon_ns = self._progress.read().horizon_ns
        return find_trace(self._connection, self._refreshed(SPANS), trace_id, horizon_ns)

    def logs(self, query: LogQuery) -> list[LogRow]:
        """Log records."""
        query = replace(query, window=self._clip(query.window))
        return find_logs(self._connection, self._refreshed(LOGS), query)

    def changes(self, window: Window, *, services: Sequence[str] = (), limit: int = 200) -> list[ChangeEvent]:
        """Changes that took effect in the window, newest first."""
        earliest_ns = self._progress.read().long_horizon_ns
        window = Window(start_ns=max(window.start_ns, earliest_ns), end_ns=window.end_ns)
        return find_changes(self._connection, self._changes, window, services, limit)

    def red(self, window: Window, step_s: float, *, services: Sequence[str] = ()) -> list[RedWindow]:
        """Rate, errors, duration per service and per call edge and step, in that order.

        Steps are aligned to multiples of step_s; a step without a span is left out.
        """
        step_ns = round(step_s * 1e9)
        if step_ns <= 0:
            raise ValueError(f"step_s is {step_s}, not a positive number of seconds")
        table, reader = self._table(window)
        return table.red(step_ns, [reader.service(name) for name in services] if services else None)

    def edges(self, window: Window | None = None) -> list[Edge]:
        """The learned service graph by caller and callee; with a window, calls and errors inside it only."""
        if window is None:
            return self._graph.learned(self._progress.read()).graph.edges()
        return self._table(window)[0].edges()

    def users(
        self, window: Window, *, services: Sequence[str], failed_only: bool, slower_than_s: float = 0.0
    ) -> UserCount:
        """Distinct users of the services' server spans: failed ones only, or failed or slower than a duration."""
        return count_users(
            self._connection,
            self._refreshed(SPANS),
            self._clip(window),
            services,
            failed_only=failed_only,
            slower_than_s=slower_than_s,
        )

    def close(self) -> None:
        """Let go of the connections."""
        self._connection.close()

    def _of(self, kind: str) -> str:
        return patterns(self._prefix, (kind,))

    def _refreshed(self, kind: str) -> str:
        refresh(self._connection, self._of(kind))
        return self._of(kind)

    def _clip(self, window: Window) -> Window:
        return Window(start_ns=max(window.start_ns, self._progress.read().horizon_ns), end_ns=window.end_ns)

    def _table(self, window: Window) -> tuple[CallTable, SpanColumnReader]:
        progress = self._progress.read()
        learned = self._graph.learned(progress)
        reader = SpanColumnReader(self._connection, self._of(COLUMNS), learned.numbers)
        clipped = Window(start_ns=max(window.start_ns, progress.horizon_ns), end_ns=window.end_ns)
        return CallTable(reader.load, learned.graph, reader.names, clipped), reader

    def _count(self, window: Window) -> int:
        """Points, records and spans in a window."""
        removed = 0
        for kind, field, size in _FORGOTTEN:
            body = {
                "query": {"range": {field: {"gte": window.start_ns, "lt": window.end_ns}}},
                "size": 0,
                "track_total_hits": True,
                "aggs": {"rows": {"sum": {"field": size}}} if size else {},
            }
            answer = search(self._connection, self._refreshed(kind), body)
            rows = answer.get("aggregations", {}).get("rows", {}).get("value", 0) if size else None
            removed += answer["hits"]["total"]["value"] if rows is None else int(rows)
        return removed

    def _drop(self, horizon_ns: int) -> None:
        path = f"/{segment(patterns(self._prefix, SLICED))}/_settings/index.uuid"
        found = self._connection.request("GET", path, params={"allow_no_indices": "true"})
        for index in sorted(found):
            end_ns = slice_end_ns(index)
            if end_ns is not None and end_ns <= horizon_ns:
                self._connection.request("DELETE", f"/{segment(index)}", missing_ok=True)
