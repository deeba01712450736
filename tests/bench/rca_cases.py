"""Labelled failures as telemetry: the batches that intake would have made of them, and where each label points.

Labels and injection files only fill `RcaCase.label`; nothing of them reaches a batch.
"""

import csv
import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np

from libs.contracts.anomaly import Signal
from libs.contracts.batch_rows import LogIn, SpanIn
from libs.contracts.batches import LogBatchBuilder, SpanBatchBuilder
from libs.contracts.columns import pack_float64, pack_int32, pack_int64
from libs.contracts.telemetry import LogBatch, MetricBatch, MetricSeries, SpanBatch

PETSHOP_STEP_S: Final = 300
_BASE: Final = datetime(2026, 1, 5, tzinfo=UTC)
_MOST_LOG_DISTANCE_MS: Final = 3_600_000
_STATISTICS: Final = {"Average": "mean", "Sum": "value"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RcaCase:
    """One labelled failure.

    Attributes:
        name: Its id.
        label: The faulty component.
        affected: Components that alerted; they may be seen.
        started_at: When the deviation began.
        as_of: When the investigation looks.
        signals: Golden signals of the alert, where it names one.
    """

    name: str
    label: str
    affected: tuple[str, ...]
    started_at: datetime
    as_of: datetime
    signals: tuple[Signal, ...] = ()
    metrics: list[MetricBatch] = field(default_factory=list)
    spans: list[SpanBatch] = field(default_factory=list)
    logs: list[LogBatch] = field(default_factory=list)


def ns(moment: datetime) -> int:
    """Unix nanoseconds."""
    return int(moment.timestamp() * 1e9)


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a gzipped CSV file."""
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.DictReader(file))


def metric_batches(
    columns: Mapping[tuple[str, str, str], tuple[Sequence[int], Sequence[float]]], observed_at: datetime
) -> list[MetricBatch]:
    """One batch per service of series (service, name, statistic) with times and values."""
    by_service: dict[str, list[tuple[str, str, Sequence[int], Sequence[float]]]] = defaultdict(list)
    for (service, name, statistic), (times, values) in columns.items():
        by_service[service].append((name, statistic, times, values))
    batches = []
    for service, entries in by_service.items():
        index = np.concatenate([np.full(len(entry[2]), place) for place, entry in enumerate(entries)])
        batches.append(
            MetricBatch(
                service=service,
                observed_at=observed_at,
                series=tuple(MetricSeries(name=entry[0], statistic=entry[1]) for entry in entries),
                series_index=pack_int32(index),
                timestamps=pack_int64(np.concatenate([np.asarray(entry[2], np.int64) for entry in entries])),
                values=pack_float64(np.concatenate([np.asarray(entry[3], np.float64) for entry in entries])),
            )
        )
    return batches


def petshop(root: Path) -> Iterator[RcaCase]:
    """PetShop: 5-minute metrics; normal operation is moved to end where the incident's rows begin."""
    folder = root / "petshop"
    for line in (folder / "labels.jsonl").read_text().splitlines():
        label = json.loads(line)
        scenario = folder / label["scenario"]
        normal = rows_of(scenario / "normal_metrics.csv.gz")
        incident = rows_of(scenario / "cases" / f"{label['id']}.csv.gz")
        start = _BASE + timedelta(seconds=PETSHOP_STEP_S * len(normal))
        columns: dict[tuple[str, str, str], tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
        for place, row in enumerate((*normal, *incident)):
            at = ns(_BASE) + place * PETSHOP_STEP_S * 1_000_000_000
            for name, text in row.items():
                if text and name.count("|") == 2:
                    component, metric, statistic = name.split("|")
                    times, values = columns[component, metric, _STATISTICS.get(statistic, statistic)]
                    times.append(at)
                    values.append(float(text))
        as_of = start + timedelta(seconds=PETSHOP_STEP_S * (len(incident) - 1))
        edges = json.loads((scenario / "call_graph.json").read_text())["edges"]
        yield RcaCase(
            name=label["id"],
            label=label["root_cause"],
            affected=(label["target"]["node"],),
            started_at=start + timedelta(seconds=PETSHOP_STEP_S * 2 - 60),
            as_of=as_of,
            signals=(Signal.LATENCY if label["target"]["metric"] == "latency" else Signal.ERRORS,),
            metrics=metric_batches(columns, as_of),
            spans=_taught_edges(edges, _BASE + timedelta(hours=1)),
        )


def _taught_edges(edges: Sequence[Sequence[str]], at: datetime) -> list[SpanBatch]:
    """One client span per call edge: what a topology source knows, and nothing of durations or failures."""
    batches = []
    for number, (caller, callee) in enumerate(edges):
        builder = SpanBatchBuilder(caller, {}, at)
        builder.add(
            SpanIn(
                trace_id=(number + 1).to_bytes(16),
                span_id=(number + 1).to_bytes(8),
                start=ns(at),
                duration=1_000_000,
                kind=3,
                name="call",
                peer=callee,
            )
        )
        batches.extend(builder.build())
    return batches


def nezha(root: Path, system: str, *, look_s: float = 300.0) -> Iterator[RcaCase]:
    """Train Ticket and Online Boutique: 1-minute metrics, sampled traces, logs; as the day went, faults left out."""
    folder = root / "nezha" / system
    for line in (folder / "labels.jsonl").read_text().splitlines():
        label = json.loads(line)
        injected = datetime.fromisoformat(label["inject_time_utc"]).replace(tzinfo=UTC)
        prefix, day = folder / "cases" / label["id"], folder / "normal" / label["date"]
        as_of = injected + timedelta(seconds=look_s)
        normal_at = injected - timedelta(seconds=240)
        spans = _nezha_spans(_path(day, "traces"), normal_at, 0) + _nezha_spans(_path(prefix, "traces"), injected, 1)
        logs = _nezha_logs(_path(day, "logs"), normal_at, 0) + _nezha_logs(_path(prefix, "logs"), injected, 1)
        yield RcaCase(
            name=label["id"],
            label=label["root_service"],
            affected=(),
            started_at=injected,
            as_of=as_of,
            metrics=metric_batches(_nezha_metrics(day, prefix, injected), as_of),
            spans=spans,
            logs=logs,
        )


def _path(prefix: Path, kind: str) -> Path:
    return prefix.with_name(f"{prefix.name}.{kind}.csv.gz")


def _nezha_metrics(
    day: Path, prefix: Path, injected: datetime
) -> dict[tuple[str, str, str], tuple[list[int], list[float]]]:
    """Metrics of the day's fault-free minutes, moved to end before the case, and of the case itself."""
    columns: dict[tuple[str, str, str], tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
    normal, case = rows_of(_path(day, "metrics")), rows_of(_path(prefix, "metrics"))
    by_service: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in normal:
        by_service[row["service"]].append(row)
    first = min(_utc(row["time_utc"]) for row in case)
    timed: list[tuple[datetime, dict[str, str]]] = [(_utc(row["time_utc"]), row) for row in case]
    for rows in by_service.values():
        for place, row in enumerate(reversed(rows[-2000:])):
            timed.append((first - timedelta(seconds=60 * (place + 1)), row))
    for moment, row in sorted(timed, key=lambda entry: entry[0]):
        for name, text in row.items():
            if name in ("time_utc", "service") or not text:
                continue
            times, values = columns[row["service"], name, "value"]
            times.append(ns(moment))
            values.append(float(text))
    return columns


def _utc(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _nezha_spans(path: Path, origin: datetime, part: int) -> list[SpanBatch]:
    if not path.exists():
        return []
    rows = rows_of(path)
    by_id = {(row["trace"], row["span"]): row for row in rows}
    callee_of: dict[tuple[str, str], str] = {}
    for row in rows:
        parent = by_id.get((row["trace"], row["parent"]))
        if parent is not None and parent["service"] != row["service"]:
            callee_of[row["trace"], row["parent"]] = row["service"]
    builders: dict[str, SpanBatchBuilder] = {}
    for row in rows:
        parent = by_id.get((row["trace"], row["parent"]))
        serves = parent is None or parent["service"] != row["service"]
        peer = callee_of.get((row["trace"], row["span"]), "")
        builder = builders.setdefault(row["service"], SpanBatchBuilder(row["service"], {}, origin))
        builder.add(
            SpanIn(
                trace_id=_id(row["trace"], part, 16),
                span_id=_id(row["trace"], part, 4) + _id(row["span"], part, 4),
                parent_span_id=bytes(8) if parent is None else _id(row["trace"], part, 4) + _id(row["parent"], part, 4),
                start=ns(origin) + int(row["start_us"]) * 1000,
                duration=int(row["duration_us"]) * 1000,
                kind=2 if serves else 3 if peer else 1,
                name=row["operation"],
                peer="" if serves else peer,
            )
        )
    return [batch for builder in builders.values() for batch in builder.build()]


def _id(text: str, part: int, width: int) -> bytes:
    return (int(text) + 1 + part * 1_000_000).to_bytes(width)


def _nezha_logs(path: Path, origin: datetime, part: int) -> list[LogBatch]:
    if not path.exists():
        return []
    severities = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "ERROR": 17, "FATAL": 21}
    builders: dict[str, LogBatchBuilder] = {}
    for row in rows_of(path):
        if abs(int(row["t_ms"])) > _MOST_LOG_DISTANCE_MS:  # a few records carry broken clocks; intake refuses them too
            continue
        builder = builders.setdefault(row["service"], LogBatchBuilder(row["service"], {}, origin))
        builder.add(
            LogIn(
                timestamp=ns(origin) + int(row["t_ms"]) * 1_000_000,
                severity=severities.get(row["level"], 9),
                body=row["message"],
                trace_id=_id(row["trace"], part, 16) if row["trace"].isdigit() else bytes(16),
                logger=row["logger"],
            )
        )
    return [batch for builder in builders.values() for batch in builder.build()]


def fields_of(path: Path) -> Any:
    """Content of a gzipped JSON file."""
    with gzip.open(path, "rt") as file:
        return json.load(file)
