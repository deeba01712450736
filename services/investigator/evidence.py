"""What an investigation knows, as the ranking consumes it: frozen facts, before the incident against now.

Durations in float seconds, times in unix nanoseconds, rates per second, ratios in [0, 1].
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import SimilarIncident
from libs.contracts.telemetry import ChangeEvent
from services.investigator.levels import Level, Rates
from services.investigator.trace_facts import TraceFacts


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
        kind: Kind of that cause as a person named it; "" when only a fix was verified, which proves no kind.
    """

    fingerprint: tuple[str, ...]
    services: tuple[str, ...]
    cause: str
    kind: str = ""


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
