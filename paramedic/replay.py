"""Play a recording through the whole pipeline on event time and on stores of its own, and list its tickets."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from libs.contracts.codec import Codec, utc_from_ns
from libs.contracts.document import IncidentDocument
from libs.contracts.incident import IncidentChanged
from libs.contracts.records import Record
from libs.contracts.telemetry import LogBatch, MetricBatch, SpanBatch
from libs.errors import ConfigurationError
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.stores.incidents import IncidentQuery
from libs.streaming.handler import Emit, Handler
from paramedic.event_order import Piece, pieces
from paramedic.pipeline import Pipeline
from services.detector.service import handler as detector
from services.intake.recording import RecordedLine, decode_line
from services.intake.service import recording_normaliser
from services.investigator.service import handler as investigator
from services.recorder.service import handler as recorder
from services.ticketing.service import handler as ticketing

SLICE_S: Final = 1.0  # live services see about this much telemetry at once
_INT64_BYTES: Final = 8


@dataclass(slots=True)
class ReplayCounts:
    """What went through.

    Attributes:
        points: Metric points.
        spans: Spans.
        logs: Log records.
        changes: Change events.
        lines: Lines read.
        bad_lines: Lines refused, with the first reasons.
        reasons: At most 10 reasons of refused lines.
        wall_s: Seconds it took.
    """

    points: int = 0
    spans: int = 0
    logs: int = 0
    changes: int = 0
    lines: int = 0
    bad_lines: int = 0
    reasons: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    def count(self, record: Record) -> None:
        """Count one batch."""
        if isinstance(record, MetricBatch):
            self.points += len(record.values) // _INT64_BYTES
        elif isinstance(record, SpanBatch):
            self.spans += len(record.starts) // _INT64_BYTES
        elif isinstance(record, LogBatch):
            self.logs += len(record.bodies)
        else:
            self.changes += 1

    def refuse(self, reason: str) -> None:
        """Count one bad line."""
        self.bad_lines += 1
        if len(self.reasons) < 10:
            self.reasons.append(reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What a replay found.

    Attributes:
        counts: What went through.
        documents: Every incident whole, in order of opening.
    """

    counts: ReplayCounts
    documents: tuple[IncidentDocument, ...]


class EventClock:
    """The recording's own time: the greatest event time played so far."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> datetime:
        """Event time as a datetime."""
        return utc_from_ns(self.now_ns)


def replay(
    paths: Sequence[Path],
    settings: Settings,
    *,
    speed: float | None = None,
    on_progress: Callable[[int, datetime], None] = lambda _bytes, _now: None,
    on_emit: Callable[[Emit], None] = lambda _: None,
) -> ReplayResult:
    """Replay recordings in time order.

    Args:
        paths: .jsonl or .jsonl.gz files.
        settings: Thresholds and windows; its stores and broker are not touched.
        speed: Times real time; None is as fast as it goes.
        on_progress: Told bytes read so far and the event time.
        on_emit: Sees every record that a service emits.
    Raises:
        ConfigurationError: a file does not exist, or there is none.
    """
    missing = [str(path) for path in paths if not path.is_file()]
    if missing or not paths:
        raise ConfigurationError(f"no such recording: {', '.join(missing) or 'name at least one file'}")
    with tempfile.TemporaryDirectory(prefix="paramedic-replay-") as folder:
        own = settings.model_copy(
            update={
                "data_dir": Path(folder),
                "incident_store": "sqlite",
                "telemetry_store": "sqlite",
                "telemetry_retention_s": 10 * 365 * 86_400.0,  # a recording is small: keep all of it
                "executor_url": "",
                "model": None,
            }
        )
        return _replay(paths, own, speed, on_progress, on_emit)


def _replay(
    paths: Sequence[Path],
    settings: Settings,
    speed: float | None,
    on_progress: Callable[[int, datetime], None],
    on_emit: Callable[[Emit], None],
) -> ReplayResult:
    clock, counts, began_s = EventClock(), ReplayCounts(), time.monotonic()
    platform = Platform(
        service="replay",
        settings=settings,
        log=Logger("replay", level="error"),
        metrics=ServiceMetrics(),
        codec=Codec(),
        clock=clock,
    )
    pipeline = Pipeline(handlers(settings, platform), on_emit)
    accept = recording_normaliser(settings)
    first_ns = 0

    def decode(line: RecordedLine) -> list[Emit]:
        counts.lines += 1
        return decode_line(line, utc_from_ns(line.time_ns), accept, on_bad_line=counts.refuse)

    try:
        played = pieces(paths, decode, lateness_s=settings.lateness_s, slice_s=SLICE_S, on_bad_line=counts.refuse)
        for now in slices(played, SLICE_S):
            clock.now_ns = max(clock.now_ns, now[-1].time_ns)
            first_ns = first_ns or now[0].time_ns
            emits = [emit for piece in now for emit in piece.emits]
            for emit in emits:
                counts.count(emit.record)
            _wait(speed, began_s, clock.now_ns - first_ns)
            pipeline.push(emits)
            pipeline.tick(clock())
            on_progress(now[-1].bytes_read, clock())
        if counts.lines:
            pipeline.end(clock())
        counts.wall_s = time.monotonic() - began_s
        return ReplayResult(counts=counts, documents=tuple(_documents(platform)))
    finally:
        pipeline.close()
        platform.incidents.close()
        platform.telemetry.close()


def handlers(settings: Settings, platform: Platform) -> dict[str, Handler]:
    """The services that decide on telemetry, upstream first; remediation stays out: a replay changes nothing."""
    return {
        "recorder": recorder(settings, platform),
        "detector": detector(settings, platform),
        "ticketing": ticketing(settings, platform),
        "investigator": investigator(settings, platform),
    }


def slices(played: Iterator[Piece], width_s: float) -> Iterator[list[Piece]]:
    """Group pieces in time order into slices of event time, so that stores see batches as they do live."""
    current: list[Piece] = []
    for piece in played:
        if current and piece.time_ns - current[0].time_ns >= width_s * 1e9:
            yield current
            current = []
        current.append(piece)
    if current:
        yield current


def _wait(speed: float | None, began_s: float, played_ns: int) -> None:
    if speed is None:
        return
    ahead_s = played_ns / 1e9 / speed - (time.monotonic() - began_s)
    if ahead_s > 0:
        time.sleep(ahead_s)


def _documents(platform: Platform) -> Iterator[IncidentDocument]:
    found: list[IncidentChanged] = []
    total = 1
    while len(found) < total:
        page = platform.incidents.search(IncidentQuery(limit=1000, offset=len(found)))
        total = page.total
        if not page.incidents:
            break
        found.extend(page.incidents)
    for incident in sorted(found, key=lambda i: (i.opened_at, i.number)):
        document = platform.incidents.get(incident.id)
        if document is not None:
            yield document


def report(result: ReplayResult) -> dict[str, object]:
    """The JSON report of a replay."""
    return {
        "incidents": [_summary(document) for document in result.documents],
        "points": result.counts.points,
        "spans": result.counts.spans,
        "logs": result.counts.logs,
        "changes": result.counts.changes,
        "bad_lines": result.counts.bad_lines,
        "wall_s": round(result.counts.wall_s, 3),
    }


def _summary(document: IncidentDocument) -> dict[str, object]:
    incident, investigation = document.incident, document.investigation
    return {
        "id": incident.id,
        "number": incident.number,
        "opened_at": _rfc3339(incident.opened_at),
        "started_at": _rfc3339(incident.started_at),
        "state": incident.state,
        "services": list(incident.services),
        "priority": incident.priority,
        "title": incident.title,
        "affected_users": document.context.affected_users.count,
        "hypotheses": [
            {"service": h.service, "cause": h.cause, "kind": h.kind, "confidence": round(h.confidence, 4)}
            for h in (investigation.hypotheses if investigation else ())
        ],
        "anomalies": [
            {
                "id": a.id,
                "service": a.service,
                "peer": a.peer,
                "signal": a.signal,
                "metric": a.metric,
                "statistic": a.statistic,
                "detector": a.detector,
                "severity": a.severity,
                "score": round(a.score, 4),
                "started_at": _rfc3339(a.started_at),
                "detected_at": _rfc3339(a.detected_at),
            }
            for a in incident.anomalies
        ],
    }


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
