"""Telemetry of a small simulated shop, ordinary and with one fault: spans, metrics, changes, written to a real store.

gateway -> catalog, cart, checkout; checkout -> cart, inventory, payments; payments -> bank, which reports nothing.
Deterministic: every draw comes from the seed.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from libs.contracts.batch_rows import EventIn, SpanIn
from libs.contracts.batches import MetricBatchBuilder, SpanBatchBuilder
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState, Level, Priority
from libs.contracts.telemetry import ChangeEvent, ChangeKind, MetricBatch, SpanBatch
from libs.stores.telemetry import TelemetryStore

BEGAN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BEFORE_S = 90.0
RATE_PER_S = 10.0
INSTANCES = dict.fromkeys(("gateway", "catalog", "cart", "checkout", "payments"), 1) | {"inventory": 2}
WORK_MS = {"gateway": 3.0, "catalog": 20.0, "cart": 6.0, "checkout": 12.0, "inventory": 8.0, "payments": 5.0}
BANK_MS = 280.0
MEMORY_LIMIT = 256e6
_ORDERS = 0.2  # share of the requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong from `began` on.

    Attributes:
        slow_ms: Extra work by service.
        failing: Share of requests that raise by service.
        exception: Type raised.
        leak_bytes_per_s: Growth of the memory by service.
        hung_peer: Whether the bank no longer answers; calls time out after 3 s.
        hung_instance: Instance of inventory that no longer answers.
        surge: Times the ordinary rate of requests.
        orders: Times the ordinary rate of orders alone.
        overdue: Share of the calls to a service that wait in its queue until their callers give up after 3 s.
        queue: Service whose pool fills up and waits.
        database_ms: Extra time of the embedded database of catalog.
        changes: What people changed.
    """

    slow_ms: dict[str, float] = field(default_factory=dict)
    failing: dict[str, float] = field(default_factory=dict)
    exception: str = "KeyError"
    leak_bytes_per_s: dict[str, float] = field(default_factory=dict)
    hung_peer: bool = False
    hung_instance: str = ""
    surge: float = 1.0
    orders: float = 1.0
    overdue: dict[str, float] = field(default_factory=dict)
    queue: str = ""
    database_ms: float = 0.0
    changes: tuple[ChangeEvent, ...] = ()


_MADE: dict[str, tuple[list[SpanBatch], list[MetricBatch]]] = {}  # the same run is made once per test session


def change(kind: ChangeKind, service: str, seconds_before: float, **fields: object) -> ChangeEvent:
    """A change some seconds before the fault shows."""
    return ChangeEvent(
        id=f"{kind}-{service}-{seconds_before}",
        kind=kind,
        service=service,
        timestamp=BEGAN - timedelta(seconds=seconds_before),
        **fields,  # type: ignore[arg-type]
    )


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


class Shop:
    """Builds the telemetry of one run.

    Args:
        fault: What goes wrong.
        now_s: Seconds of the incident that are recorded.
        seed: Of every draw.
    """

    def __init__(self, fault: Fault, *, now_s: float = 30.0, seed: int = 1) -> None:
        self._fault = fault
        self._seed = seed
        self._draw = random.Random(seed)
        self._now_s = now_s
        self._spans: dict[tuple[str, str], list[SpanIn]] = defaultdict(list)
        self._turn: dict[str, int] = defaultdict(int)

    def write(self, store: TelemetryStore) -> None:
        """Record everything."""
        key = repr((self._fault, self._now_s, self._seed))
        if key not in _MADE:
            _MADE[key] = self._batches()
        spans, metrics = _MADE[key]
        store.write(spans=spans, metrics=metrics, changes=self._fault.changes)

    def _batches(self) -> tuple[list[SpanBatch], list[MetricBatch]]:
        start = BEGAN - timedelta(seconds=BEFORE_S)
        self._requests(start, BEGAN, RATE_PER_S, faulty=False)
        end = BEGAN + timedelta(seconds=self._now_s)
        self._requests(BEGAN, end, RATE_PER_S * self._fault.surge, faulty=True)
        if self._fault.orders > 1.0:
            self._requests(BEGAN, end, RATE_PER_S * _ORDERS * (self._fault.orders - 1.0), faulty=True, orders=1.0)
        batches: list[SpanBatch] = []
        for (service, instance), spans in self._spans.items():
            builder = SpanBatchBuilder(service, self._resource(service, instance), BEGAN)
            for span in spans:
                builder.add(span)
            batches.extend(builder.build())
        return batches, self._metrics(start)

    def _resource(self, service: str, instance: str) -> dict[str, str]:
        return {"service.name": service, "service.instance.id": instance, "service.version": "1.0"}

    def _requests(self, start: datetime, end: datetime, rate: float, *, faulty: bool, orders: float = _ORDERS) -> None:
        at = ns(start)
        while at < ns(end):
            at += int(self._draw.expovariate(rate) * 1e9)
            kind = self._draw.random()
            callees = ("checkout",) if kind >= 1.0 - orders else ("catalog",) if kind < 0.5 else ("cart",)
            self._serve("gateway", at, self._id(16), bytes(8), callees, faulty=faulty)

    def _id(self, width: int) -> bytes:
        return self._draw.getrandbits(8 * width).to_bytes(width)

    def _instance(self, service: str) -> str:
        self._turn[service] += 1
        return f"{service}-{self._turn[service] % INSTANCES[service] + 1}"

    def _serve(
        self, service: str, at: int, trace: bytes, parent: bytes, callees: tuple[str, ...], *, faulty: bool
    ) -> tuple[int, bool]:
        """Serve a request; its end and whether it failed."""
        fault, span_id, instance = self._fault, self._id(8), self._instance(service)
        work = int(WORK_MS[service] * self._draw.lognormvariate(0.0, 0.25) * 1e6)
        if faulty:
            work += int(fault.slow_ms.get(service, 0.0) * self._draw.uniform(0.7, 1.3) * 1e6)
        clock, failed = at + work, False
        if service == "catalog":
            clock = self._call_database(instance, clock, trace, span_id, faulty=faulty)
        for callee in callees:
            clock, broken = self._call(service, instance, callee, clock, trace, span_id, faulty=faulty)
            failed = failed or broken
        if service == "payments":
            clock, failed = self._call_bank(instance, clock, trace, span_id, faulty=faulty)
        events: tuple[EventIn, ...] = ()
        if faulty and self._draw.random() < fault.failing.get(service, 0.0):
            failed = True
            attributes = {
                "exception.type": fault.exception,
                "exception.message": "phone",
                "exception.stacktrace": f'Traceback\n  File "{service}.py", line 31, in price\n{fault.exception}',
            }
            events = (EventIn(name="exception", timestamp=at, attributes=attributes),)
        self._spans[service, instance].append(
            SpanIn(
                trace_id=trace,
                span_id=span_id,
                parent_span_id=parent,
                start=at,
                duration=clock - at,
                kind=2,
                status=2 if failed else 0,
                name=f"POST /{service}",
                events=events,
            )
        )
        return clock, failed

    def _call(
        self, caller: str, instance: str, callee: str, at: int, trace: bytes, parent: bytes, *, faulty: bool
    ) -> tuple[int, bool]:
        below = {"checkout": ("cart", "inventory", "payments")}.get(callee, ())
        span_id, travel = self._id(8), int(1e6 * self._draw.uniform(0.3, 0.7))
        silent = faulty and callee == "inventory" and self._next(callee) == self._fault.hung_instance
        overdue = self._fault.overdue.get(callee, 0.0) if faulty else 0.0
        if silent or (overdue and self._draw.random() < overdue):
            self._turn[callee] += 1
            end, failed = at + 3_000_000_000, True
        else:
            end, failed = self._serve(callee, at + travel, trace, span_id, below, faulty=faulty)
            end += travel
        self._add_call(caller, instance, callee, at, end, trace, span_id, parent, failed=failed)
        return end, failed

    def _next(self, service: str) -> str:
        return f"{service}-{(self._turn[service] + 1) % INSTANCES[service] + 1}"

    def _call_bank(self, instance: str, at: int, trace: bytes, parent: bytes, *, faulty: bool) -> tuple[int, bool]:
        hung = faulty and self._fault.hung_peer
        end = at + (3_000_000_000 if hung else int(BANK_MS * self._draw.lognormvariate(0.0, 0.15) * 1e6))
        self._add_call("payments", instance, "bank", at, end, trace, self._id(8), parent, failed=hung)
        return end, hung

    def _call_database(self, instance: str, at: int, trace: bytes, parent: bytes, *, faulty: bool) -> int:
        end = at + int(4e6 * self._draw.uniform(0.8, 1.2)) + (int(self._fault.database_ms * 1e6) if faulty else 0)
        self._add_call("catalog", instance, "sqlite", at, end, trace, self._id(8), parent, failed=False)
        return end

    def _add_call(
        self,
        caller: str,
        instance: str,
        callee: str,
        at: int,
        end: int,
        trace: bytes,
        span_id: bytes,
        parent: bytes,
        *,
        failed: bool,
    ) -> None:
        self._spans[caller, instance].append(
            SpanIn(
                trace_id=trace,
                span_id=span_id,
                parent_span_id=parent,
                start=at,
                duration=end - at,
                kind=3,
                status=2 if failed else 0,
                name=f"POST /{callee}",
                peer=callee,
            )
        )

    def _metrics(self, start: datetime) -> list[MetricBatch]:
        batches: list[MetricBatch] = []
        for service, count in INSTANCES.items():
            for number in range(1, count + 1):
                instance = f"{service}-{number}"
                builder = MetricBatchBuilder(service, self._resource(service, instance), BEGAN)
                for step in range(int((BEFORE_S + self._now_s) // 5) + 1):
                    at = start + timedelta(seconds=5.0 * step)
                    late_s = max(0.0, (at - BEGAN).total_seconds())
                    self._points(builder, service, at, late_s)
                batches.extend(builder.build())
        return batches

    def _points(self, builder: MetricBatchBuilder, service: str, at: datetime, late_s: float) -> None:
        fault, noise = self._fault, self._draw.gauss
        memory = 60e6 + noise(0, 2e5) + fault.leak_bytes_per_s.get(service, 0.0) * late_s
        full = late_s > 0 and service == fault.queue
        busy = 0.08 * (fault.surge if late_s > 0 else 1.0)
        points = {
            ("process.memory.usage", "By"): memory,
            ("container.memory.limit", "By"): MEMORY_LIMIT,
            ("process.cpu.utilization", "1"): abs(busy + noise(0, 0.01)),
            ("worker.pool.usage", "1"): (8.0 if full else 1.0) + abs(noise(0, 0.1)),
            ("worker.queue.depth", "1"): (30.0 if full else 0.0) + abs(noise(0, 0.1)),
        }
        for (name, unit), value in points.items():
            builder.add((name, "value", unit, ()), ns(at), value)


def incident(*affected: str, signals: tuple[Signal, ...] = (Signal.LATENCY,), after_s: float = 20.0) -> IncidentChanged:
    """The ticket that ticketing would have opened."""
    opened = BEGAN + timedelta(seconds=after_s)
    anomalies = tuple(
        AnomalyDetected(
            id=f"{service}-{signal}",
            state=EpisodeState.OPENED,
            service=service,
            signal=signal,
            metric="span.server.duration",
            detector="latency",
            severity=Severity.HIGH,
            score=0.9,
            observed=1.0,
            expected=0.1,
            expected_lower=0.0,
            expected_upper=0.2,
            deviation=9.0,
            started_at=BEGAN,
            detected_at=opened,
            updated_at=opened,
            window_s=5.0,
        )
        for service in affected
        for signal in signals
    )
    return IncidentChanged(
        id="incident-1",
        number="INC-000001",
        version=1,
        change=IncidentChange.OPENED,
        title=f"{affected[0]} is slow",
        state=IncidentState.NEW,
        priority=Priority.P2,
        impact=Level.HIGH,
        urgency=Level.HIGH,
        services=affected,
        fingerprint=tuple(f"{service}|{signal}" for service in affected for signal in signals),
        anomalies=anomalies,
        started_at=BEGAN,
        opened_at=opened,
        updated_at=opened,
        observed_at=opened,
    )
