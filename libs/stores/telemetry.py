"""The telemetry store port: the recent window of metrics, logs, spans and changes, and the service graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from libs.contracts.columns import FloatArray, Int64Array
from libs.contracts.telemetry import ChangeEvent, LogBatch, MetricBatch, SpanBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A half-open range of event time, unix nanoseconds: start <= t < end."""

    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesWindow:
    """One metric series over a window.

    Attributes:
        service: service.name.
        instance: service.instance.id, "" when unknown.
        name: Metric name.
        statistic: value, rate, p50, p95, p99 or mean.
        unit: UCUM unit.
        attributes: Attributes of the data points.
        timestamps_ns: shape (n,), ascending.
        values: shape (n,).
    """

    service: str
    instance: str
    name: str
    statistic: str
    unit: str
    attributes: Mapping[str, str]
    timestamps_ns: Int64Array
    values: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanRow:
    """One span.

    Attributes:
        trace_id: Hex, 32 characters.
        span_id: Hex, 16 characters.
        parent_span_id: Hex, "" for a root.
        service: service.name.
        instance: service.instance.id, "" when unknown.
        version: service.version, "" when unknown.
        name: Span name.
        kind: OTLP SpanKind (2 server, 3 client).
        status: OTLP StatusCode (2 error).
        start_ns: Unix nanoseconds.
        duration_ns: Nanoseconds.
        peer: Callee as the caller names it, "" for none.
        user: User id, "" for none.
        attributes: Remaining attributes.
        exceptions: Attributes of its exception events.
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    instance: str = ""
    version: str = ""
    name: str
    kind: int
    status: int
    start_ns: int
    duration_ns: int
    peer: str = ""
    user: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    exceptions: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRow:
    """One log record.

    Attributes:
        timestamp_ns: Unix nanoseconds.
        service: service.name.
        instance: service.instance.id, "" when unknown.
        severity: OTLP SeverityNumber.
        logger: Logger name, "" when unknown.
        body: Message.
        trace_id: Hex, "" for none.
        user: User id, "" for none.
        attributes: Remaining attributes.
    """

    timestamp_ns: int
    service: str
    instance: str = ""
    severity: int
    logger: str = ""
    body: str
    trace_id: str = ""
    user: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedWindow:
    """Rate, errors and duration of one service or one call edge in one step of time.

    Attributes:
        service: service.name (the caller on an edge).
        peer: Callee as service.name where it is known, else as the caller names it; "" for the service's own
            server and consumer spans.
        start_ns: Start of the step.
        requests: Spans that ended in it.
        errors: Failed ones among them.
        duration_sum_s: Sum of durations in seconds.
        p50_s: Median duration in seconds.
        p95_s: 95th percentile in seconds.
        p99_s: 99th percentile in seconds.
    """

    service: str
    peer: str
    start_ns: int
    requests: int
    errors: int
    duration_sum_s: float
    p50_s: float
    p95_s: float
    p99_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A call edge of the learned service graph.

    Attributes:
        caller: service.name.
        callee: service.name where the callee reports spans, else the peer as the caller names it.
        calls: Calls seen.
        errors: Failed ones among them.
        first_seen_ns: Event time of the first call.
        last_seen_ns: Event time of the last call.
    """

    caller: str
    callee: str
    calls: int
    errors: int
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSeen:
    """A service that has sent telemetry.

    Attributes:
        service: service.name.
        first_seen_ns: Event time of its first telemetry.
        last_seen_ns: Event time of its newest telemetry.
    """

    service: str
    first_seen_ns: int
    last_seen_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanQuery:
    """Which spans; empty fields do not filter.

    Attributes:
        window: Spans that ended in it.
        services: service.name in this list.
        trace_id: Only this trace (hex).
        errors_only: Only status error.
        kinds: OTLP SpanKinds.
        order: "newest", "oldest" or "slowest".
        limit: Most rows.
    """

    window: Window
    services: tuple[str, ...] = ()
    trace_id: str = ""
    errors_only: bool = False
    kinds: tuple[int, ...] = ()
    order: str = "newest"
    limit: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """Which log records; empty fields do not filter.

    Attributes:
        window: Event time.
        services: service.name in this list.
        least_severity: OTLP SeverityNumber at least this.
        trace_id: Only this trace (hex).
        text: Case-insensitive substring of the body.
        order: "newest" or "oldest".
        limit: Most rows.
    """

    window: Window
    services: tuple[str, ...] = ()
    least_severity: int = 0
    trace_id: str = ""
    text: str = ""
    order: str = "newest"
    limit: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCount:
    """Distinct users of spans.

    Attributes:
        count: Distinct user ids.
        sample: At most 20 of them, sorted.
        spans_without_user: Matching spans that carried no user id: the count is a lower bound when it is not 0.
    """

    count: int
    sample: tuple[str, ...]
    spans_without_user: int


class TelemetryWriter(Protocol):
    """What the recorder needs. Writing the same batch twice stores it once."""

    def write(
        self,
        *,
        metrics: Sequence[MetricBatch] = (),
        logs: Sequence[LogBatch] = (),
        spans: Sequence[SpanBatch] = (),
        changes: Sequence[ChangeEvent] = (),
    ) -> None:
        """Store batches in one transaction; `InvalidMessage` names a bad column, `Unavailable` a store that is down."""
        ...

    def prune(self, before_ns: int) -> int:
        """Forget telemetry older than a moment (changes and edges are kept ten times as long); rows removed."""
        ...


class TelemetryReader(Protocol):
    """What ticketing, investigator, remediation and people ask. `Unavailable` when the store cannot be reached."""

    def watermark_ns(self) -> int:
        """Greatest event time recorded over all signals, unix nanoseconds; 0 when nothing was recorded."""
        ...

    def services(self) -> list[ServiceSeen]:
        """Services that have sent telemetry, by name."""
        ...

    def series(
        self,
        window: Window,
        *,
        services: Sequence[str] = (),
        names: Sequence[str] = (),
        limit: int = 2000,
    ) -> list[SeriesWindow]:
        """Metric series with at least one point in the window, by service, name, statistic, attributes."""
        ...

    def spans(self, query: SpanQuery) -> list[SpanRow]:
        """Spans."""
        ...

    def trace(self, trace_id: str) -> list[SpanRow]:
        """All spans of one trace by start, at most 5,000."""
        ...

    def logs(self, query: LogQuery) -> list[LogRow]:
        """Log records."""
        ...

    def changes(self, window: Window, *, services: Sequence[str] = (), limit: int = 200) -> list[ChangeEvent]:
        """Changes that took effect in the window, newest first."""
        ...

    def red(self, window: Window, step_s: float, *, services: Sequence[str] = ()) -> list[RedWindow]:
        """Rate, errors, duration per service and per call edge and step; steps are aligned to multiples of step_s.

        `services` filters the caller or owner of the spans.
        """
        ...

    def edges(self, window: Window | None = None) -> list[Edge]:
        """The learned service graph; with a window, calls and errors are counted inside it only."""
        ...

    def users(
        self, window: Window, *, services: Sequence[str], failed_only: bool, slower_than_s: float = 0.0
    ) -> UserCount:
        """Distinct users of the services' server spans: failed ones only, or failed or slower than a duration."""
        ...


class TelemetryStore(TelemetryWriter, TelemetryReader, Protocol):
    """Both sides."""

    def close(self) -> None:
        """Let go of the connection."""
        ...
