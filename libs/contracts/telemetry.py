"""Telemetry as it travels on Kafka: columnar batches of one resource (a service instance), and change events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSeries:
    """One time series of a batch.

    Attributes:
        name: Metric name as the application gave it (OpenTelemetry or Prometheus).
        statistic: What the values are: value, rate, p50, p95, p99 or mean.
        unit: UCUM unit, "" when unknown; rates end in "/s".
        attributes: Attributes of the data point (labels).
    """

    name: str
    statistic: str = "value"
    unit: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricBatch:
    """Metric points of one service instance; the three columns have the same length.

    Attributes:
        service: service.name.
        resource: Resource attributes (service.version, service.instance.id, ...).
        observed_at: When intake received it (wall clock).
        series: The series that the points belong to.
        series_index: int32 column, position in `series`.
        timestamps: int64 column, unix nanoseconds.
        values: float64 column.
    """

    service: str
    resource: Mapping[str, str] = field(default_factory=dict)
    observed_at: datetime
    series: tuple[MetricSeries, ...] = ()
    series_index: bytes = b""
    timestamps: bytes = b""
    values: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEvent:
    """An event inside a span, most often an exception.

    Attributes:
        span_index: Position of the span in its batch.
        name: Event name; "exception" carries exception.type, exception.message, exception.stacktrace.
        timestamp: Unix nanoseconds.
        attributes: Event attributes.
    """

    span_index: int
    name: str
    timestamp: int
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanBatch:
    """Finished spans of one service instance; every column has one entry per span.

    Attributes:
        service: service.name.
        resource: Resource attributes (service.version, service.instance.id, ...).
        observed_at: When intake received it (wall clock).
        trace_ids: 16 bytes per span.
        span_ids: 8 bytes per span.
        parent_span_ids: 8 bytes per span, zeros for a root.
        starts: int64 column, unix nanoseconds.
        durations: int64 column, nanoseconds, never negative.
        kinds: int8 column, OTLP SpanKind (1 internal, 2 server, 3 client, 4 producer, 5 consumer).
        statuses: int8 column, OTLP StatusCode (0 unset, 1 ok, 2 error).
        names: Distinct span names.
        name_index: int32 column, position in `names`.
        peers: Distinct callees of client and producer spans as the caller names them.
        peer_index: int32 column, position in `peers`, -1 for none.
        users: Distinct user ids (enduser.id or user.id).
        user_index: int32 column, position in `users`, -1 for none.
        attribute_sets: Distinct sets of the remaining attributes.
        attribute_index: int32 column, position in `attribute_sets`.
        events: Span events, sparse.
    """

    service: str
    resource: Mapping[str, str] = field(default_factory=dict)
    observed_at: datetime
    trace_ids: bytes = b""
    span_ids: bytes = b""
    parent_span_ids: bytes = b""
    starts: bytes = b""
    durations: bytes = b""
    kinds: bytes = b""
    statuses: bytes = b""
    names: tuple[str, ...] = ()
    name_index: bytes = b""
    peers: tuple[str, ...] = ()
    peer_index: bytes = b""
    users: tuple[str, ...] = ()
    user_index: bytes = b""
    attribute_sets: tuple[Mapping[str, str], ...] = ()
    attribute_index: bytes = b""
    events: tuple[SpanEvent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogBatch:
    """Log records of one service instance; every column and `bodies` have one entry per record.

    Attributes:
        service: service.name.
        resource: Resource attributes (service.version, service.instance.id, ...).
        observed_at: When intake received it (wall clock).
        timestamps: int64 column, unix nanoseconds.
        severities: int8 column, OTLP SeverityNumber (0 unspecified, 9 info, 13 warn, 17 error, 21 fatal).
        bodies: Messages.
        trace_ids: 16 bytes per record, zeros for none.
        span_ids: 8 bytes per record, zeros for none.
        loggers: Distinct logger names (instrumentation scopes).
        logger_index: int32 column, position in `loggers`, -1 for none.
        users: Distinct user ids (enduser.id or user.id).
        user_index: int32 column, position in `users`, -1 for none.
        attribute_sets: Distinct sets of the remaining attributes.
        attribute_index: int32 column, position in `attribute_sets`.
    """

    service: str
    resource: Mapping[str, str] = field(default_factory=dict)
    observed_at: datetime
    timestamps: bytes = b""
    severities: bytes = b""
    bodies: tuple[str, ...] = ()
    trace_ids: bytes = b""
    span_ids: bytes = b""
    loggers: tuple[str, ...] = ()
    logger_index: bytes = b""
    users: tuple[str, ...] = ()
    user_index: bytes = b""
    attribute_sets: tuple[Mapping[str, str], ...] = ()
    attribute_index: bytes = b""


class ChangeKind(StrEnum):
    """What kind of change a deployment system posted."""

    DEPLOY = "deploy"
    FLAG = "flag"
    CONFIG = "config"
    SCALE = "scale"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeEvent:
    """Something that people or systems changed in production.

    Attributes:
        id: Derived from what defines the change, or the sender's own id.
        kind: deploy, flag, config or scale.
        service: service.name of what was changed.
        timestamp: When the change took effect.
        version: Version or value after the change, when it has one.
        previous_version: Version or value before the change.
        summary: One line for people.
        actor: Who or what made the change.
        attributes: Anything else (flag name, commit, replicas, pull request, ...).
    """

    id: str
    kind: ChangeKind
    service: str
    timestamp: datetime
    version: str | None = None
    previous_version: str | None = None
    summary: str = ""
    actor: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
