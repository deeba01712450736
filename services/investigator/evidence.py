"""What an investigation knows, as the ranking consumes it: frozen facts, before the incident against now.

Durations in float seconds, times in unix nanoseconds, rates per second, ratios in [0, 1].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import SimilarIncident
from libs.contracts.telemetry import ChangeEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What is ordinary for a number.

    Attributes:
        median: Its median.
        spread: Robust standard deviation (1.4826 MAD) with a floor, never 0.
        points: How many values it rests on.
    """

    median: float
    spread: float
    points: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Rate, errors and duration over a stretch of time.

    Attributes:
        requests: How many.
        requests_per_s: How many a second.
        error_ratio: Failed ones among them.
        mean_s: Mean duration in seconds.
        p95_s: 95th percentile of the worst step in seconds.
    """

    requests: float = 0.0
    requests_per_s: float = 0.0
    error_ratio: float = 0.0
    mean_s: float = 0.0
    p95_s: float = 0.0


class Source(StrEnum):
    """Where rates were read from; spans and metrics never mix within one subtraction."""

    SPANS = "spans"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallShift:
    """Rates of a service (peer "") or of its calls to a peer, before and now.

    Attributes:
        service: service.name, the caller on an edge.
        peer: Callee, "" for the service's own requests.
        source: spans or metrics.
        before: Before the incident.
        now: In the incident; for sparse metrics its worst moment.
        mean_noise_s: Robust deviation of the mean duration between steps before the incident.
        sustained_s: Median of the mean durations of the steps now, seconds: what one burst cannot move.
        growth: Requests in a step now over requests in a step before, of steps with any; 1 when unknown.
        first_ns: First step of the incident that left the ordinary band; 0 when none did.
        last_ns: Newest step with a request.
    """

    service: str
    peer: str
    source: Source
    before: Rates
    now: Rates
    mean_noise_s: float
    sustained_s: float = 0.0
    growth: float = 1.0
    first_ns: int = 0
    last_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricShift:
    """One metric series, before and now.

    Attributes:
        service: service.name.
        instance: service.instance.id, "" when unknown.
        name: Metric name.
        statistic: What the values are.
        unit: UCUM unit.
        attributes: Attributes of the points.
        signal: Golden signal that it belongs to.
        resource: cpu, memory, disk, network, pool, queue, threads, gc or "".
        bad: high, low or both: the direction that hurts.
        level: Before the incident.
        worst: Its worst value in the incident.
        last: Its newest value.
        deviation: Distance of `worst` from the nearer of the long-run and the just-before level, in spreads, positive
            in the direction that hurts.
        rarity: The sustained value (mean of the worse half of the points) against the worst that used to happen: 1 is
            the 98th percentile of ordinary operation, 0 its median.
        slope_per_s: Robust slope over the last minutes.
        first_ns: First point outside the ordinary band, 0 when none is.
        onset_ns: When it left its ordinary level for good, maybe before the incident was noticed; 0 when it has not.
        is_limit: Whether it is a configured limit (memory limit, size of a pool) and not a measurement.
    """

    service: str
    instance: str = ""
    name: str
    statistic: str = "value"
    unit: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    signal: Signal = Signal.OTHER
    resource: str = ""
    bad: str = "high"
    level: Level
    worst: float
    last: float
    deviation: float
    rarity: float = 0.0
    slope_per_s: float = 0.0
    first_ns: int = 0
    onset_ns: int = 0
    is_limit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGap:
    """What a call costs beyond the callee's own time: client span minus server span, paired call by call.

    Attributes:
        caller: service.name.
        callee: service.name.
        before: Before the incident, seconds.
        low_before: The same by its lower quartile, which stays right when much of the baseline was disturbed already.
        now_s: Median in the incident, seconds.
        now_low_s: Lower quartile in the incident, seconds.
        now_mean_s: Mean in the incident, seconds.
        calls: Paired calls in the incident.
    """

    caller: str
    callee: str
    before: Level
    low_before: Level
    now_s: float
    now_low_s: float
    now_mean_s: float
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationShift:
    """How often a service does something per request it serves, whatever the mix of requests.

    Attributes:
        service: service.name.
        operation: Span name.
        before: Requests that did it before.
        now: Requests that do it now.
        expected: Requests that would do it now at the shares before.
        distance: How far the share of requests that do it moved, in standard deviations, signed.
    """

    service: str
    operation: str
    before: int
    now: int
    expected: float
    distance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogShift:
    """How often a service writes one pattern of log records per request it serves, whatever the mix of requests.

    Attributes:
        service: service.name.
        logger: Logger name.
        pattern: Template of the message.
        severity: Greatest OTLP SeverityNumber seen.
        before: Records before.
        now: Records now.
        expected: Records that the rates before predict for the requests of now.
        distance: How far the share of requests that write it moved, in standard deviations, signed; None where the
            records belong to no traced request.
        sample: One record of it.
    """

    service: str
    logger: str
    pattern: str
    severity: int
    before: int
    now: int
    expected: float
    distance: float | None = None
    sample: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionShift:
    """An exception recorded on spans of a service.

    Attributes:
        service: service.name.
        type: exception.type.
        message: exception.message of one of them, cut.
        place: The frame that raised it, "" without a stack trace.
        before: How many before the incident.
        now: How many in it.
        trace_id: One trace that shows it.
    """

    service: str
    type: str
    message: str = ""
    place: str = ""
    before: int = 0
    now: int = 0
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceShift:
    """Requests served by one instance, before and now.

    Attributes:
        service: service.name.
        instance: service.instance.id.
        version: service.version, "" when unknown.
        before: Before the incident.
        now: In it.
        last_ns: End of its newest served request.
    """

    service: str
    instance: str
    version: str
    before: Rates
    now: Rates
    last_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """Calls that have no server span on the other side.

    Attributes:
        caller: service.name.
        callee: Callee as resolved, or as the caller names it.
        instance: The instance that used to answer at that address, "" when unknown.
        before: Calls before the incident.
        before_answered: Of these, with a server span.
        now: Calls in the incident.
        now_answered: Of these, with a server span.
        now_failed: Failed ones in the incident.
        failed_mean_s: Mean duration of the failed ones in seconds.
    """

    caller: str
    callee: str
    instance: str = ""
    before: int = 0
    before_answered: int = 0
    now: int = 0
    now_answered: int = 0
    now_failed: int = 0
    failed_mean_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Who calls whom, and who has been seen.

    Attributes:
        calls: Caller and callee pairs.
        new_calls: Pairs never seen before the incident.
        first_seen_ns: First telemetry of each service that reports.
        last_seen_ns: Newest telemetry of each.
    """

    calls: frozenset[tuple[str, str]] = frozenset()
    new_calls: frozenset[tuple[str, str]] = frozenset()
    first_seen_ns: Mapping[str, int] = field(default_factory=dict)
    last_seen_ns: Mapping[str, int] = field(default_factory=dict)

    def callees(self, service: str) -> tuple[str, ...]:
        """Direct callees by name."""
        return tuple(sorted(callee for caller, callee in self.calls if caller == service))

    def callers(self, service: str) -> tuple[str, ...]:
        """Direct callers by name."""
        return tuple(sorted(caller for caller, callee in self.calls if callee == service))

    def below(self, service: str) -> frozenset[str]:
        """Everything that the service reaches by calls, without itself."""
        reached: set[str] = set()
        waiting = [service]
        while waiting:
            for callee in self.callees(waiting.pop()):
                if callee not in reached and callee != service:
                    reached.add(callee)
                    waiting.append(callee)
        return frozenset(reached)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """A past incident whose cause is known.

    Attributes:
        fingerprint: Its tokens, `service|signal|metric|direction` among them.
        services: Services that it affected.
        cause: The service that was its cause, as a person or a verified fix confirmed.
    """

    fingerprint: tuple[str, ...]
    services: tuple[str, ...]
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFacts:
    """What the traces of both windows show."""

    gaps: tuple[CallGap, ...] = ()
    operations: tuple[OperationShift, ...] = ()
    exceptions: tuple[ExceptionShift, ...] = ()
    instances: tuple[InstanceShift, ...] = ()
    unanswered: tuple[Unanswered, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the ranking may look at.

    Attributes:
        affected: Services with an anomaly, the first affected first.
        symptoms: Golden signals that deviate on the affected services, with the greatest score of each.
        started_ns: When the incident began.
        as_of_ns: Up to when telemetry was considered.
        window_s: Width of a step of the rates, seconds.
        calls: Rates of services and of call edges.
        metrics: Metric series.
        traces: What only single traces show.
        logs: Log patterns.
        changes: Changes before and during the incident, newest first.
        graph: Who calls whom.
        similar: Past incidents that look alike, most similar first.
        fingerprint: Tokens of what deviates in this incident.
        lessons: Past incidents with a confirmed cause, newest first.
    """

    affected: tuple[str, ...]
    symptoms: Mapping[Signal, float] = field(default_factory=dict)
    started_ns: int
    as_of_ns: int
    window_s: float = 5.0
    calls: tuple[CallShift, ...] = ()
    metrics: tuple[MetricShift, ...] = ()
    traces: TraceFacts = field(default_factory=TraceFacts)
    logs: tuple[LogShift, ...] = ()
    changes: tuple[ChangeEvent, ...] = ()
    graph: Graph = field(default_factory=Graph)
    similar: tuple[SimilarIncident, ...] = ()
    fingerprint: tuple[str, ...] = ()
    lessons: tuple[Lesson, ...] = ()

    def services(self) -> tuple[str, ...]:
        """Every service or external peer that could be blamed, by name."""
        named = set(self.affected) | {shift.service for shift in self.calls} | {m.service for m in self.metrics}
        named |= {shift.peer for shift in self.calls if shift.peer}
        named |= {service for pair in self.graph.calls for service in pair}
        named |= {log.service for log in self.logs}
        return tuple(sorted(named - {""}))

    def own(self, service: str, source: Source) -> CallShift | None:
        """Requests that a service serves, as one source tells."""
        return next((c for c in self.calls if c.service == service and not c.peer and c.source is source), None)


def total(values: Sequence[Rates], seconds: float) -> Rates:
    """Rates of several stretches together."""
    requests = sum(value.requests for value in values)
    if not requests or seconds <= 0:
        return Rates()
    return Rates(
        requests=requests,
        requests_per_s=requests / seconds,
        error_ratio=sum(value.error_ratio * value.requests for value in values) / requests,
        mean_s=sum(value.mean_s * value.requests for value in values) / requests,
        p95_s=max(value.p95_s for value in values),
    )
