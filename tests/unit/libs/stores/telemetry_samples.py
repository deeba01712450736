"""Telemetry batches for tests, from rows; times in seconds after NOON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from libs.contracts.codec import utc_from_ns
from libs.contracts.columns import pack_float64, pack_int8, pack_int32, pack_int64
from libs.contracts.telemetry import (
    ChangeEvent,
    ChangeKind,
    LogBatch,
    MetricBatch,
    MetricSeries,
    SpanBatch,
    SpanEvent,
)
from libs.stores.telemetry import Window

NOON_NS = 1_767_268_800 * 1_000_000_000  # 2026-01-01T12:00:00Z
SERVER, CLIENT, PRODUCER, CONSUMER, INTERNAL = 2, 3, 4, 5, 1


def at(seconds: float) -> int:
    """Unix nanoseconds of a moment after noon."""
    return NOON_NS + round(seconds * 1e9)


def window(start_s: float, end_s: float) -> Window:
    """Window in seconds after noon."""
    return Window(start_ns=at(start_s), end_ns=at(end_s))


EVER = window(-40_000, 400_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span in short: numbers for ids, seconds for times."""

    trace: int
    span: int
    parent: int = 0
    name: str = "GET"
    kind: int = SERVER
    status: int = 0
    start_s: float = 0.0
    duration_s: float = 0.1
    peer: str = ""
    user: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    exceptions: tuple[Mapping[str, str], ...] = ()

    @property
    def end_ns(self) -> int:
        """Unix nanoseconds."""
        return at(self.start_s) + round(self.duration_s * 1e9)


def resource(instance: str, version: str = "") -> dict[str, str]:
    """Resource attributes, without the empty ones."""
    fields = {"service.instance.id": instance, "service.version": version}
    return {key: value for key, value in fields.items() if value}


def span_batch(
    service: str, spans: Sequence[Span], *, instance: str = "", version: str = "", received_s: float | None = None
) -> SpanBatch:
    """A batch of spans; received a second after the last one ended unless said otherwise."""
    names, peers, users = (_distinct(column) for column in zip(*((s.name, s.peer, s.user) for s in spans), strict=True))
    sets = [dict(pairs) for pairs in dict.fromkeys(tuple(sorted(s.attributes.items())) for s in spans)]
    return SpanBatch(
        service=service,
        resource=resource(instance, version),
        observed_at=utc_from_ns(max(s.end_ns for s in spans) + 10**9 if received_s is None else at(received_s)),
        trace_ids=b"".join(s.trace.to_bytes(16, "big") for s in spans),
        span_ids=b"".join(s.span.to_bytes(8, "big") for s in spans),
        parent_span_ids=b"".join(s.parent.to_bytes(8, "big") for s in spans),
        starts=pack_int64([at(s.start_s) for s in spans]),
        durations=pack_int64([round(s.duration_s * 1e9) for s in spans]),
        kinds=pack_int8([s.kind for s in spans]),
        statuses=pack_int8([s.status for s in spans]),
        names=names,
        name_index=pack_int32([names.index(s.name) for s in spans]),
        peers=peers,
        peer_index=pack_int32([peers.index(s.peer) if s.peer else -1 for s in spans]),
        users=users,
        user_index=pack_int32([users.index(s.user) if s.user else -1 for s in spans]),
        attribute_sets=tuple(sets),
        attribute_index=pack_int32([sets.index(dict(s.attributes)) for s in spans]),
        events=tuple(
            SpanEvent(span_index=place, name="exception", timestamp=s.end_ns, attributes=attributes)
            for place, s in enumerate(spans)
            for attributes in s.exceptions
        ),
    )


def metric_batch(
    service: str,
    points: Iterable[tuple[MetricSeries | str, float, float]],
    *,
    instance: str = "",
    received_s: float | None = None,
) -> MetricBatch:
    """A batch of (series or its name, seconds, value)."""
    rows = [(MetricSeries(name=s) if isinstance(s, str) else s, seconds, value) for s, seconds, value in points]
    series: dict[str, int] = {}
    distinct: list[MetricSeries] = []
    for entry, _, _ in rows:
        if repr(entry) not in series:
            series[repr(entry)] = len(distinct)
            distinct.append(entry)
    latest_s = max(seconds for _, seconds, _ in rows)
    return MetricBatch(
        service=service,
        resource=resource(instance),
        observed_at=utc_from_ns(at(latest_s + 1 if received_s is None else received_s)),
        series=tuple(distinct),
        series_index=pack_int32([series[repr(entry)] for entry, _, _ in rows]),
        timestamps=pack_int64([at(seconds) for _, seconds, _ in rows]),
        values=pack_float64([value for _, _, value in rows]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """A log record in short."""

    at_s: float = 0.0
    body: str = "hello"
    severity: int = 9
    logger: str = ""
    trace: int = 0
    user: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def log_batch(service: str, logs: Sequence[Log], *, instance: str = "", received_s: float | None = None) -> LogBatch:
    """A batch of log records."""
    loggers, users = (_distinct(column) for column in zip(*((entry.logger, entry.user) for entry in logs), strict=True))
    latest_s = max(entry.at_s for entry in logs)
    return LogBatch(
        service=service,
        resource=resource(instance),
        observed_at=utc_from_ns(at(latest_s + 1 if received_s is None else received_s)),
        timestamps=pack_int64([at(entry.at_s) for entry in logs]),
        severities=pack_int8([entry.severity for entry in logs]),
        bodies=tuple(entry.body for entry in logs),
        trace_ids=b"".join(entry.trace.to_bytes(16, "big") for entry in logs),
        span_ids=bytes(8 * len(logs)),
        loggers=loggers,
        logger_index=pack_int32([loggers.index(entry.logger) if entry.logger else -1 for entry in logs]),
        users=users,
        user_index=pack_int32([users.index(entry.user) if entry.user else -1 for entry in logs]),
        attribute_sets=tuple(entry.attributes for entry in logs),
        attribute_index=pack_int32(list(range(len(logs)))),
    )


def change(identity: str, service: str, at_s: float, *, kind: ChangeKind = ChangeKind.DEPLOY) -> ChangeEvent:
    """A change that took effect at a moment."""
    return ChangeEvent(id=identity, kind=kind, service=service, timestamp=utc_from_ns(at(at_s)), version="2")


def _distinct(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for value in values if value))
