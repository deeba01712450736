"""Labelled incidents with changes, and labelled event sets as the memory of past incidents."""

import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from libs.contracts.batch_rows import LogIn, SpanIn
from libs.contracts.batches import LogBatchBuilder, SpanBatchBuilder
from libs.contracts.document import RootCause
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState, Level, Priority
from libs.contracts.telemetry import ChangeEvent, ChangeKind, LogBatch, SpanBatch
from libs.observability.signals import classify
from tests.bench.rca_cases import RcaCase, fields_of, metric_batches, ns, rows_of

_BASE: Final = datetime(2026, 1, 5, tzinfo=UTC)
_SEVERITY: Final = {"DEBUG": 5, "INFO": 9, "WARN": 13, "WARNING": 13, "ERROR": 17, "FATAL": 21}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeCase:
    """An incident whose culprit is a commit that a deploy shipped, or none.

    Attributes:
        case: Its telemetry; `label` is the first failing service.
        changes: Deploys and flags.
        commit_of: Commit shipped by a change, by change id.
        culprit: The commit to blame, "none" for an operational cause.
        decoys: Commits that must not be blamed.
    """

    case: RcaCase
    changes: tuple[ChangeEvent, ...]
    commit_of: dict[str, str]
    culprit: str
    decoys: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventCase:
    """An incident known by its events only.

    Attributes:
        ticket: The incident with its fingerprint.
        label: The faulty instance.
        kind: The fault type.
    """

    ticket: IncidentChanged
    label: str
    kind: str


def ticket_of(case: RcaCase) -> IncidentChanged:
    """The incident that ticketing would have opened: what alerted, and nothing of the label."""
    anomalies = tuple(
        AnomalyDetected(
            id=f"{case.name}-{service}-{signal}",
            state=EpisodeState.OPENED,
            service=service,
            signal=signal,
            metric="alert",
            detector="bench",
            severity=Severity.HIGH,
            score=1.0,
            observed=1.0,
            expected=0.0,
            expected_lower=0.0,
            expected_upper=1.0,
            deviation=9.0,
            started_at=case.started_at,
            detected_at=case.as_of,
            updated_at=case.as_of,
            window_s=5.0,
        )
        for service in case.affected
        for signal in case.signals
    )
    return _ticket(case.name, case.affected, case.started_at, case.as_of, (), anomalies)


def _ticket(
    name: str,
    services: tuple[str, ...],
    started_at: datetime,
    as_of: datetime,
    fingerprint: tuple[str, ...],
    anomalies: tuple[AnomalyDetected, ...] = (),
) -> IncidentChanged:
    return IncidentChanged(
        id=name,
        number=f"INC-{name}",
        version=1,
        change=IncidentChange.OPENED,
        title="incident",
        state=IncidentState.NEW,
        priority=Priority.P2,
        impact=Level.HIGH,
        urgency=Level.HIGH,
        services=services,
        fingerprint=fingerprint,
        anomalies=anomalies,
        started_at=started_at,
        opened_at=as_of,
        updated_at=as_of,
        observed_at=as_of,
    )


def rootcausebench(root: Path) -> Iterator[ChangeCase]:
    """Frozen incidents of a fictional platform; the alert gives the service and the moment."""
    folder = root / "rootcausebench"
    for line in (folder / "labels.jsonl").read_text().splitlines():
        label = json.loads(line)
        path = folder / "cases" / label["name"]
        alert = fields_of(path / "alert.json.gz")
        fired = _utc(alert["fired_at"])
        kind = classify(alert["metric"])
        columns: dict[tuple[str, str, str], tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
        for row in rows_of(path / "metrics.csv.gz"):
            times, values = columns[row["service"], row["metric"], "value"]
            times.append(ns(_utc(row["timestamp"])))
            values.append(float(row["value"]))
        changes, commit_of = _changes(path)
        yield ChangeCase(
            case=RcaCase(
                name=label["id"],
                label=label["first_failing_service"],
                affected=(alert["service"],),
                # An alert fires after its threshold has held for some minutes; the deviation began before.
                started_at=fired - timedelta(minutes=5),
                as_of=fired + timedelta(minutes=10),
                signals=(kind.signal,) if kind.signal in (Signal.LATENCY, Signal.ERRORS) else (),
                metrics=metric_batches(columns, fired + timedelta(hours=1)),
                spans=_spans(path, fired + timedelta(hours=1)),
                logs=_logs(path, fired + timedelta(hours=1)),
            ),
            changes=changes,
            commit_of=commit_of,
            culprit=label["root_cause_commit"],
            decoys=frozenset(label["decoy_deploy_commits"]),
        )


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _changes(path: Path) -> tuple[tuple[ChangeEvent, ...], dict[str, str]]:
    changes, commit_of = [], {}
    for number, entry in enumerate(fields_of(path / "context" / "deploys.json.gz")):
        name = f"deploy-{number}"
        commit_of[name] = entry["commit_sha"]
        changes.append(
            ChangeEvent(
                id=name,
                kind=ChangeKind.DEPLOY,
                service=entry["service"],
                timestamp=_utc(entry["timestamp"]),
                version=entry.get("version"),
                actor="deploy-bot",
                attributes={"commit": entry["commit_sha"]},
            )
        )
    for number, entry in enumerate(fields_of(path / "context" / "flags.json.gz")):
        changes.append(
            ChangeEvent(
                id=f"flag-{number}",
                kind=ChangeKind.FLAG,
                service=entry["service"],
                timestamp=_utc(entry["timestamp"]),
                summary=entry.get("change", ""),
                actor=entry.get("actor", ""),
                attributes={"flag": entry["flag"]},
            )
        )
    return tuple(changes), commit_of


def _spans(path: Path, received: datetime) -> list[SpanBatch]:
    """The few traces; a span whose parent is another service's serves it, and its parent calls."""
    rows = fields_of(path / "traces.json.gz")
    trace = b""
    placed: list[tuple[dict[str, Any], bytes]] = []
    for row in rows:  # "same" continues the trace of the span before
        if row["trace_id"] != "same":
            trace = hashlib.blake2b(row["trace_id"].encode(), digest_size=16).digest()
        placed.append((row, trace))
    service_of = {(at, row["span_id"]): row["service"] for row, at in placed}
    callee_of = {
        (at, row["parent_id"]): row["service"]
        for row, at in placed
        if row["parent_id"] and service_of.get((at, row["parent_id"])) not in (None, row["service"])
    }
    builders: dict[str, SpanBatchBuilder] = {}
    for row, at in placed:
        parent = row["parent_id"] or ""
        serves = not parent or service_of.get((at, parent)) != row["service"]
        peer = "" if serves else callee_of.get((at, row["span_id"]), "")
        builders.setdefault(row["service"], SpanBatchBuilder(row["service"], {}, received)).add(
            SpanIn(
                trace_id=at,
                span_id=row["span_id"].encode()[:8].ljust(8),
                parent_span_id=parent.encode()[:8].ljust(8) if parent else bytes(8),
                start=ns(_utc(row["start"])),
                duration=int(float(row["duration_ms"]) * 1e6),
                kind=2 if serves else 3 if peer else 1,
                status=2 if row.get("status") == "ERROR" else 0,
                name=row["name"],
                peer=peer,
            )
        )
    return [batch for builder in builders.values() for batch in builder.build()]


def _logs(path: Path, received: datetime) -> list[LogBatch]:
    builders: dict[str, LogBatchBuilder] = {}
    with gzip.open(path / "logs.ndjson.gz", "rt") as file:
        for line in file:
            row = json.loads(line)
            trace = row.get("trace_id", "")
            builders.setdefault(row["service"], LogBatchBuilder(row["service"], {}, received)).add(
                LogIn(
                    timestamp=ns(_utc(row["timestamp"])),
                    severity=_SEVERITY.get(row.get("severity_text", "INFO"), 9),
                    body=str(row.get("msg", "")),
                    trace_id=hashlib.blake2b(trace.encode(), digest_size=16).digest() if trace else bytes(16),
                )
            )
    return [batch for builder in builders.values() for batch in builder.build()]


def event_sets(root: Path, system: str, part: str) -> Iterator[EventCase]:
    """Incidents as sets of anomaly events; the history comes before everything that is judged."""
    day = _BASE if part == "history" else _BASE + timedelta(days=400)
    with gzip.open(root / "event-sets" / system / f"{part}.jsonl.gz", "rt") as file:
        for number, line in enumerate(file):
            case = json.loads(line)
            counts: Counter[str] = Counter(event[0] for event in (*case["metric_events"], *case["log_events"]))
            counts.update(name for event in case["trace_events"] for name in event[:2])
            at = day + timedelta(hours=number)
            services = tuple(name for name, _ in counts.most_common())
            yield EventCase(
                ticket=_ticket(case["id"], services, at, at, _tokens(case)),
                label=case["root_instance"],
                kind=case["fault_type"],
            )


def _tokens(case: dict[str, Any]) -> tuple[str, ...]:
    tokens = {
        "|".join(map(str, event)) for key in ("metric_events", "trace_events", "log_events") for event in case[key]
    }
    return tuple(sorted(tokens))


def root_cause_of(case: EventCase) -> RootCause:
    """What people wrote into a past incident once it was understood."""
    return RootCause(
        service=case.label, kind=case.kind, text=case.kind, confirmed_by="label", confirmed_at=case.ticket.opened_at
    )
