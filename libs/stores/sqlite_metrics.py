"""Metric points in the SQLite telemetry store."""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from libs.contracts.columns import type_float64, type_int32, type_int64
from libs.stores.series_columns import SeriesKey, series_windows
from libs.stores.sqlite_calls import service_condition
from libs.stores.sqlite_registry import Registry
from libs.stores.telemetry import SeriesWindow, Window
from libs.stores.telemetry_columns import MetricColumns


def write_metrics(connection: sqlite3.Connection, registry: Registry, batches: Iterable[MetricColumns]) -> None:
    """Store metric batches that are not there yet."""
    rows = []
    for columns in batches:
        if not len(columns.timestamps):
            continue
        batch, latest_ns = columns.batch, int(columns.timestamps.max())
        instance = batch.resource.get("service.instance.id", "")
        ids = registry.series_ids(connection, batch, instance, latest_ns)
        rows.append(
            (
                columns.digest,
                registry.service(batch.service),
                int(columns.timestamps.min()),
                latest_ns,
                len(columns.timestamps),
                ids[columns.index].tobytes(),
                batch.timestamps,
                batch.values,
            )
        )
    connection.executemany(
        "INSERT OR IGNORE INTO metric_chunks (digest, service, min_ns, max_ns, size, series, timestamps, points) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )


def find_series(
    connection: sqlite3.Connection,
    window: Window,
    services: Sequence[int] | None,
    names_wanted: Sequence[str],
    limit: int,
    names: Mapping[int, str],
) -> list[SeriesWindow]:
    """Series with a point in the window, by service, name, statistic, attributes, instance."""
    condition, values = service_condition(services)
    chunks = connection.execute(
        f"SELECT series, timestamps, points FROM metric_chunks WHERE max_ns >= ? AND min_ns < ?{condition} ORDER BY id",
        (window.start_ns, window.end_ns, *values),
    ).fetchall()
    ids = np.frombuffer(b"".join([chunk[0] for chunk in chunks]), type_int32)
    times = np.frombuffer(b"".join([chunk[1] for chunk in chunks]), type_int64)
    points = np.frombuffer(b"".join([chunk[2] for chunk in chunks]), type_float64)
    described = {
        number: SeriesKey(names.get(service, ""), *rest)
        for number, (service, *rest) in _describe(connection, services, names_wanted).items()
    }
    return series_windows(ids, times, points, described, window, limit)


def _describe(
    connection: sqlite3.Connection, services: Sequence[int] | None, names_wanted: Sequence[str]
) -> dict[int, tuple[int, str, str, str, str, str]]:
    """Service, name, statistic, attributes, instance and unit of each series that is asked for, by id."""
    condition, values = service_condition(services)
    wanted: list[object] = [*values]
    if names_wanted:
        condition += f" AND name IN ({', '.join('?' * len(names_wanted))})"
        wanted.extend(names_wanted)
    rows = connection.execute(
        f"SELECT id, service, name, statistic, attributes, instance, unit FROM series WHERE 1{condition}", wanted
    )
    return {row[0]: row[1:] for row in rows}
