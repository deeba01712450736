"""Rows per second and query latencies of the SQLite telemetry store, next to a bare executemany of the same rows.

Run: python -m tests.bench.store_throughput [--minutes 20] [--spans-per-s 200]
"""

import argparse
import os
import platform
import random
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from libs.contracts.codec import utc_from_ns
from libs.contracts.columns import pack_float64, pack_int8, pack_int32, pack_int64
from libs.contracts.document import Section
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState, Level, Priority
from libs.contracts.telemetry import LogBatch, MetricBatch, MetricSeries, SpanBatch
from libs.stores.incidents import IncidentQuery
from libs.stores.sqlite_file import SqliteFile
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from libs.stores.telemetry import LogQuery, SpanQuery, Window

START_NS: Final = 1_767_268_800 * 1_000_000_000
NS: Final = 1_000_000_000
SERVICES: Final = ("gateway", "catalog", "cart", "checkout", "inventory", "payments")
SERIES: Final = 50  # per service, exported every 5 s
REPEATS: Final = 9


@dataclass(slots=True)
class SpanColumnsUnderway:
    """Columns of one service's spans in one export interval."""

    trace_ids: list[bytes] = field(default_factory=list)
    span_ids: list[bytes] = field(default_factory=list)
    parents: list[bytes] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    peers: list[int] = field(default_factory=list)
    users: list[int] = field(default_factory=list)


def span_batches(seconds: int, spans_per_s: int, interval_s: int, seed: int) -> Iterator[list[SpanBatch]]:
    """Requests that walk through all services: a server and a client span per hop; one list per export interval."""
    chance = random.Random(seed)
    per_trace = 2 * len(SERVICES)
    for begin in range(0, seconds, interval_s):
        underway = {service: SpanColumnsUnderway() for service in SERVICES}
        for _ in range(spans_per_s * interval_s // per_trace):
            trace, parent, user = chance.randbytes(16), bytes(8), chance.randrange(200)
            start = START_NS + begin * NS + chance.randrange(interval_s * NS)
            duration = round(chance.lognormvariate(-3, 0.6) * NS)
            failed = 2 if chance.random() < 0.01 else 0
            for service in SERVICES:
                columns = underway[service]
                for kind in (2, 3):
                    span = chance.randbytes(8)
                    columns.trace_ids.append(trace)
                    columns.span_ids.append(span)
                    columns.parents.append(parent)
                    columns.starts.append(start)
                    columns.durations.append(duration)
                    columns.kinds.append(kind)
                    columns.statuses.append(failed)
                    columns.peers.append(0 if kind == 3 else -1)
                    columns.users.append(user)
                    parent, start, duration = span, start + duration // 20, duration - duration // 10
        yield [_span_batch(service, place, underway[service]) for place, service in enumerate(SERVICES)]


def _span_batch(service: str, place: int, columns: SpanColumnsUnderway) -> SpanBatch:
    size = len(columns.starts)
    sets = tuple({"http.route": f"/r/{n}", "http.request.method": "GET", "url.path": f"/r/{n}?q=x"} for n in range(20))
    return SpanBatch(
        service=service,
        resource={"service.instance.id": f"{service}-1", "service.version": "1.0"},
        observed_at=utc_from_ns(max(columns.starts, default=START_NS) + 60 * NS),
        trace_ids=b"".join(columns.trace_ids),
        span_ids=b"".join(columns.span_ids),
        parent_span_ids=b"".join(columns.parents),
        starts=pack_int64(columns.starts),
        durations=pack_int64(columns.durations),
        kinds=pack_int8(columns.kinds),
        statuses=pack_int8(columns.statuses),
        names=("GET /x", "GET"),
        name_index=pack_int32([kind - 2 for kind in columns.kinds]),
        peers=(f"10.0.0.{place + 1}:8080",),
        peer_index=pack_int32(columns.peers),
        users=tuple(f"u-{n:04}" for n in range(200)),
        user_index=pack_int32(columns.users),
        attribute_sets=sets,
        attribute_index=pack_int32([n % len(sets) for n in range(size)]),
    )


def metric_batches(seconds: int, series: int, interval_s: int = 5) -> Iterator[list[MetricBatch]]:
    """One point per series, service and interval."""
    described = tuple(
        MetricSeries(name=f"metric.{n % 25}", unit="1", attributes={"route": f"/r/{n}", "code": "200"})
        for n in range(series)
    )
    index, values = pack_int32(range(series)), np.arange(series, dtype=np.float64)
    for begin in range(0, seconds, interval_s):
        at_ns = START_NS + begin * NS
        yield [
            MetricBatch(
                service=service,
                resource={"service.instance.id": f"{service}-1"},
                observed_at=utc_from_ns(at_ns + NS),
                series=described,
                series_index=index,
                timestamps=pack_int64([at_ns] * series),
                values=pack_float64(values + begin),
            )
            for service in SERVICES
        ]


def log_batches(seconds: int, logs_per_s: int, interval_s: int = 2) -> Iterator[list[LogBatch]]:
    """Log records of every service, some of them warnings."""
    size = max(1, logs_per_s * interval_s // len(SERVICES))
    for begin in range(0, seconds, interval_s):
        times = [START_NS + begin * NS + n * interval_s * NS // size for n in range(size)]
        yield [
            LogBatch(
                service=service,
                resource={"service.instance.id": f"{service}-1"},
                observed_at=utc_from_ns(times[-1] + NS),
                timestamps=pack_int64(times),
                severities=pack_int8([13 if n % 10 == 0 else 9 for n in range(size)]),
                bodies=tuple(f"order {begin}-{n} of user u-{n:04} took {n * 7} ms in {service}" for n in range(size)),
                trace_ids=bytes(16 * size),
                span_ids=bytes(8 * size),
                loggers=("app",),
                logger_index=pack_int32([0] * size),
                users=(),
                user_index=pack_int32([-1] * size),
                attribute_sets=(),
                attribute_index=pack_int32([-1] * size),
            )
            for service in SERVICES
        ]


@contextmanager
def bare(path: Path, table: str) -> Iterator[sqlite3.Connection]:
    """A plain SQLite file in WAL mode with one table."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"CREATE TABLE {table}")
    with closing(connection):
        yield connection


def bare_rate(path: Path, table: str, rows: Sequence[Sequence[tuple[Any, ...]]]) -> float:
    """Rows per second of one executemany per list of rows, each in its own transaction."""
    marks = ", ".join("?" * len(rows[0][0]))
    with bare(path, table) as connection:
        begin = time.perf_counter()
        for part in rows:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(f"INSERT OR IGNORE INTO {table.split()[0]} VALUES ({marks})", part)
            connection.execute("COMMIT")
        return sum(map(len, rows)) / (time.perf_counter() - begin)


def span_rows(batches: Sequence[SpanBatch]) -> list[tuple[Any, ...]]:
    """The same spans as plain rows."""
    rows: list[tuple[Any, ...]] = []
    for batch in batches:
        size = len(batch.starts) // 8
        starts, durations = np.frombuffer(batch.starts, "<i8"), np.frombuffer(batch.durations, "<i8")
        users, sets = np.frombuffer(batch.user_index, "<i4"), np.frombuffer(batch.attribute_index, "<i4")
        rows.extend(
            (
                batch.trace_ids[16 * n : 16 * n + 16],
                batch.span_ids[8 * n : 8 * n + 8],
                batch.parent_span_ids[8 * n : 8 * n + 8],
                batch.service,
                batch.kinds[n],
                batch.statuses[n],
                int(starts[n]),
                int(durations[n]),
                batch.users[users[n]],
                str(batch.attribute_sets[sets[n]]),
            )
            for n in range(size)
        )
    return rows


def point_rows(batches: Sequence[MetricBatch]) -> list[tuple[Any, ...]]:
    """The same points as plain rows, the series as a number."""
    return [
        (place * 1_000_000 + int(series), int(at_ns), float(value))
        for place, batch in enumerate(batches)
        for series, at_ns, value in zip(
            np.frombuffer(batch.series_index, "<i4"),
            np.frombuffer(batch.timestamps, "<i8"),
            np.frombuffer(batch.values, "<f8"),
            strict=True,
        )
    ]


def write_rate(write: Callable[[Any], None], batches: Sequence[Any], size: int) -> float:
    """Rows per second of one transaction per entry."""
    begin = time.perf_counter()
    for batch in batches:
        write(batch)
    return size / (time.perf_counter() - begin)


def median_ms(ask: Callable[[], object]) -> float:
    """Median latency of a question in milliseconds."""
    took = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        ask()
        took.append(time.perf_counter() - begin)
    return sorted(took)[REPEATS // 2] * 1e3


def report(label: str, measured: float, unit: str, note: str = "") -> None:
    """One line of the result."""
    print(f"{label:<46}{measured:>12,.1f} {unit:<9}{note}", flush=True)


def bench_writes(folder: Path) -> None:
    """Writing at full speed, one transaction per poll of the loop."""
    spans = list(span_batches(120, 600, 10, seed=1))
    size = sum(len(batch.starts) // 8 for part in spans for batch in part)
    plain = [span_rows(part) for part in spans]
    table = (
        "spans (trace, span, parent, service, kind, status, start, duration, user, attributes, UNIQUE (trace, span))"
    )
    with closing(SqliteTelemetryStore(folder / "spans.sqlite")) as store:
        rate = write_rate(lambda part: store.write(spans=part), spans, size)
    raw = bare_rate(folder / "bare-spans.sqlite", table, plain)
    transactions = f"{size:,} in {len(spans)} transactions"
    report("spans written", rate, "/s", f"{transactions}; bare executemany {raw:,.0f}/s, ratio {rate / raw:.2f}")
    # As it comes off Kafka: each service on its own, callees before their callers, so that every answer waits.
    single = [[batch] for part in spans for batch in reversed(part)]
    with closing(SqliteTelemetryStore(folder / "waiting.sqlite")) as store:
        rate = write_rate(lambda part: store.write(spans=part), single, size)
        report("spans written, callees first", rate, "/s", f"{size:,} in {len(single)} transactions")
    for series, seconds in ((SERIES, 3000), (5000, 50)):
        points = list(metric_batches(seconds, series))
        size = sum(len(batch.timestamps) // 8 for part in points for batch in part)
        with closing(SqliteTelemetryStore(folder / f"points-{series}.sqlite")) as store:
            rate = write_rate(lambda part: store.write(metrics=part), points, size)
        table = "points (series, at, value, PRIMARY KEY (series, at)) WITHOUT ROWID"
        raw = bare_rate(folder / f"bare-points-{series}.sqlite", table, [point_rows(part) for part in points])
        label = f"points written, {series} series a batch"
        report(label, rate, "/s", f"{size:,} points; bare executemany {raw:,.0f}/s, ratio {rate / raw:.2f}")
    logs = list(log_batches(200, 600, 10))
    size = sum(len(batch.bodies) for part in logs for batch in part)
    with closing(SqliteTelemetryStore(folder / "logs.sqlite")) as store:
        report("log records written", write_rate(lambda part: store.write(logs=part), logs, size), "/s", f"{size:,}")


def fill(store: SqliteTelemetryStore, seconds: int, spans_per_s: int) -> None:
    """Telemetry as services export it: spans and logs every 2 s, metrics every 5 s."""
    for part in span_batches(seconds, spans_per_s, 2, seed=2):
        store.write(spans=part)
    for points in metric_batches(seconds, SERIES):
        store.write(metrics=points)
    for logs in log_batches(seconds, 100):
        store.write(logs=logs)


def bench_queries(store: SqliteTelemetryStore, seconds: int) -> None:
    """Questions over the newest ten minutes."""
    end_ns = START_NS + seconds * NS
    window = Window(start_ns=end_ns - 600 * NS, end_ns=end_ns)
    trace_id = store.spans(SpanQuery(window=window, limit=1, order="oldest"))[0].trace_id
    spans = sum(red.requests for red in store.red(window, 5.0))
    report("red(10 min, 5 s)", median_ms(lambda: store.red(window, 5.0)), "ms", f"{spans:,} spans")
    report("red(10 min, 5 s, one service)", median_ms(lambda: store.red(window, 5.0, services=["cart"])), "ms")
    report("edges(10 min)", median_ms(lambda: store.edges(window)), "ms")
    report("edges()", median_ms(store.edges), "ms")
    series = store.series(window, services=["cart"])
    note = f"{len(series)} series, {sum(len(entry.values) for entry in series):,} points"
    report("series(10 min, one service)", median_ms(lambda: store.series(window, services=["cart"])), "ms", note)
    report("series(10 min, all services)", median_ms(lambda: store.series(window)), "ms")
    report("spans(10 min, newest 200)", median_ms(lambda: store.spans(SpanQuery(window=window))), "ms")
    failed = SpanQuery(window=window, errors_only=True, order="slowest")
    report("spans(10 min, slowest 200 failed)", median_ms(lambda: store.spans(failed)), "ms")
    report("trace", median_ms(lambda: store.trace(trace_id)), "ms", f"{len(store.trace(trace_id))} spans")
    report("logs(10 min, newest 1000)", median_ms(lambda: store.logs(LogQuery(window=window))), "ms")
    rare = LogQuery(window=window, text="order 2-1 ")
    report("logs(10 min, rare text)", median_ms(lambda: store.logs(rare)), "ms")
    users = median_ms(lambda: store.users(window, services=["gateway"], failed_only=True))
    report("users(10 min, failed)", users, "ms")


def bench_prune(store: SqliteTelemetryStore, path: Path, seconds: int) -> None:
    """Forgetting half, and how long the write lock is held meanwhile."""
    held: list[float] = []
    original = SqliteFile.write

    @contextmanager
    def timed(file: SqliteFile) -> Iterator[sqlite3.Connection]:
        with original(file) as connection:
            begin = time.perf_counter()
            yield connection
        held.append(time.perf_counter() - begin)

    end_ns = START_NS + seconds * NS
    window = Window(start_ns=end_ns - 60 * NS, end_ns=end_ns)
    reads: list[float] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            begin = time.perf_counter()
            store.spans(SpanQuery(window=window, limit=10))
            reads.append(time.perf_counter() - begin)

    reader = threading.Thread(target=read)
    reader.start()
    SqliteFile.write = timed  # type: ignore[method-assign, assignment]  # measured from outside
    begin = time.perf_counter()
    removed = store.prune(START_NS + seconds * NS // 2)
    took = time.perf_counter() - begin
    SqliteFile.write = original  # type: ignore[method-assign]
    done.set()
    reader.join()
    report("prune, rows", removed / took, "/s", f"{removed:,} rows in {took:.2f} s, {len(held)} transactions")
    report("prune, longest transaction", max(held) * 1e3, "ms")
    report("prune, slowest read meanwhile", max(reads) * 1e3, "ms", f"{len(reads)} reads")
    report("file", path.stat().st_size / 2**20, "MiB")


def bench_incidents(path: Path, size: int = 2_000) -> None:
    """Writing, searching and comparing incidents."""
    chance = random.Random(3)
    with closing(SqliteIncidentStore(path)) as store:
        begin = time.perf_counter()
        for n in range(size):
            opened = utc_from_ns(START_NS + n * NS)
            tokens = tuple(
                f"{chance.choice(SERVICES)}:{chance.choice(('latency', 'errors', 'cpu'))}:{k}" for k in range(4)
            )
            core = IncidentChanged(
                id=f"i{n}", number=store.number(f"i{n}"), version=1, change=IncidentChange.OPENED,
                title=f"Latency of {chance.choice(SERVICES)} rose", state=IncidentState.NEW, priority=Priority.P2,
                impact=Level.HIGH, urgency=Level.LOW, services=(chance.choice(SERVICES),), fingerprint=tokens,
                started_at=opened, opened_at=opened, updated_at=opened, observed_at=opened,
            )  # fmt: skip
            store.put(core.id, Section.INCIDENT, core)
        rate = size / (time.perf_counter() - begin)
        report("incidents written (number, put; synced)", rate, "/s", f"{size:,}")
        query = IncidentQuery(text="latency check", limit=50)
        note = f"{store.search(query).total:,} match"
        report("search, 50 of a text", median_ms(lambda: store.search(query)), "ms", note)
        before = utc_from_ns(START_NS + size * NS)
        similar = median_ms(lambda: store.similar(tokens, "latency rose", before=before, exclude=""))
        report("similar, 5", similar, "ms")
        report("get", median_ms(lambda: store.get("INC-000100")), "ms")


def main() -> None:
    """Print every figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=int, default=20)
    parser.add_argument("--spans-per-s", type=int, default=200)
    options = parser.parse_args()
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"{versions}, {os.cpu_count()} cores, load average before the run {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        bench_writes(Path(folder))
        path, seconds = Path(folder) / "window.sqlite", options.minutes * 60
        with closing(SqliteTelemetryStore(path)) as store:
            fill(store, seconds, options.spans_per_s)
            bench_queries(store, seconds)
            report("file", path.stat().st_size / 2**20, "MiB", f"{options.minutes} min, {options.spans_per_s} spans/s")
            bench_prune(store, path, seconds)
        bench_incidents(Path(folder) / "incidents.sqlite")


if __name__ == "__main__":
    main()
