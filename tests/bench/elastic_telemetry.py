"""Telemetry in Elasticsearch: rows per second, and the latency of every question, next to one document a point.

Run: PARAMEDIC_STACK_ELASTICSEARCH=http://127.0.0.1:19200 python -m tests.bench.elastic_telemetry [seconds of telemetry]
The comparison decided how metric points are kept: a batch of a service instance is one document of columns.
"""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from libs.contracts.batch_rows import metric_points
from libs.contracts.telemetry import MetricBatch
from libs.stores.elastic_bulk import BulkItem, write_bulk
from libs.stores.elastic_connection import ElasticConnection
from libs.stores.elastic_pages import hits, refresh
from libs.stores.elastic_telemetry import ElasticTelemetryStore
from libs.stores.elastic_templates import prepare_telemetry
from libs.stores.telemetry import LogQuery, SpanQuery, Window
from tests.bench.store_throughput import (
    NS,
    SERVICES,
    START_NS,
    log_batches,
    median_ms,
    metric_batches,
    report,
    span_batches,
)
from tests.integration.elastic_servers import VARIABLE, Space, empty_space, own_prefix

SECONDS: Final = 120
SPANS_PER_S: Final = 200
SERIES: Final = 50


def main() -> None:
    """Write, ask, print."""
    if not os.environ.get(VARIABLE):
        raise SystemExit(f"set {VARIABLE}=http://host:port of a running Elasticsearch")
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    print(f"{seconds} s of telemetry; load average before the run {os.getloadavg()[0]:.1f}")
    with own_prefix() as prefix, empty_space(prefix) as space:
        store = space.telemetry()
        write(store, seconds)
        ask(store, Window(start_ns=START_NS, end_ns=START_NS + seconds * NS))
        points_as_documents(space, seconds)
        begun = time.perf_counter()
        removed = store.prune(START_NS + seconds * NS)
        report("prune", (time.perf_counter() - begun) * 1e3, "ms", f"{removed:,} rows")


def write(store: ElasticTelemetryStore, seconds: int) -> None:
    """Write each signal, one call an export interval."""
    spans = list(span_batches(seconds, SPANS_PER_S, 5, 1))
    timed("spans written", [{"spans": part} for part in spans], store, sum(len(b.kinds) for p in spans for b in p))
    points = list(metric_batches(seconds, SERIES))
    rows = sum(len(b.values) // 8 for p in points for b in p)
    timed(f"points written, {SERIES} series a batch", [{"metrics": part} for part in points], store, rows)
    wide = list(metric_batches(15, 5_000))
    rows = sum(len(b.values) // 8 for p in wide for b in p)
    timed("points written, 5,000 series a batch", [{"metrics": part} for part in wide], store, rows)
    logs = list(log_batches(seconds, 100))
    timed("log records written", [{"logs": part} for part in logs], store, sum(len(b.bodies) for p in logs for b in p))


def timed(label: str, parts: Sequence[dict[str, Any]], store: ElasticTelemetryStore, rows: int) -> None:
    """Print rows per second."""
    begun = time.perf_counter()
    for part in parts:
        store.write(**part)
    took_s = time.perf_counter() - begun
    report(label, rows / took_s, "/s", f"{rows:,} in {len(parts)} writes, {took_s / len(parts) * 1e3:.0f} ms each")


def ask(store: ElasticTelemetryStore, window: Window) -> None:
    """Ask everything of the window."""
    cart = (SERVICES[2],)
    questions = {
        "red(5 s)": lambda: store.red(window, 5.0),
        "red(5 s, one service)": lambda: store.red(window, 5.0, services=cart),
        "edges(window)": lambda: store.edges(window),
        "edges()": store.edges,
        "series(one service)": lambda: store.series(window, services=cart),
        "series(all services)": lambda: store.series(window),
        "spans(newest 200)": lambda: store.spans(SpanQuery(window=window)),
        "spans(slowest 200 failed)": lambda: store.spans(SpanQuery(window=window, errors_only=True, order="slowest")),
        "trace": lambda: store.trace(store.spans(SpanQuery(window=window, limit=1))[0].trace_id),
        "logs(newest 1000)": lambda: store.logs(LogQuery(window=window)),
        "logs(rare text)": lambda: store.logs(LogQuery(window=window, text="order 10-3 ")),
        "users(failed)": lambda: store.users(window, services=cart, failed_only=True),
        "watermark": store.watermark_ns,
    }
    for label, question in questions.items():
        report(label, median_ms(question), "ms")


def points_as_documents(space: Space, seconds: int) -> None:
    """The same points as one document each: written, and read back for one service."""
    connection = ElasticConnection(space.options(), prepare_telemetry)
    index, parts, written = f"{space.prefix}-points-000001", list(metric_batches(seconds, SERIES)), 0
    begun = time.perf_counter()
    for part in parts:
        written += write_bulk(connection, _point_items(index, part))
    report("one document a point: written", written / (time.perf_counter() - begun), "/s", f"{written:,}")
    refresh(connection, index)
    query = {"query": {"term": {"service.name.keyword": SERVICES[2]}}}
    label = "one document a point: series(one service)"
    report(label, median_ms(lambda: list(hits(connection, index, query, sort=[{"time_ns": "asc"}]))), "ms")
    connection.close()


def _point_items(index: str, batches: Sequence[MetricBatch]) -> Iterator[BulkItem]:
    for batch in batches:
        for series, time_ns, value in metric_points(batch):
            source = {
                "service": {"name": batch.service},
                "metric": {"name": series.name, "unit": series.unit, "statistic": series.statistic},
                "labels": series.attributes,
                "time_ns": time_ns,
                "value": value,
            }
            labels = ",".join(series.attributes.values())
            yield BulkItem(index, f"{batch.service}|{series.name}|{labels}|{time_ns}", source, create=True)


if __name__ == "__main__":
    main()
