"""A small shop in event time: spans, logs and metrics of seven services as intake would write them, seeded.

gateway calls catalog, cart and checkout; checkout calls cart, inventory and payments; payments calls bank, which sends
nothing itself. Requests arrive as a Poisson process of sessions, start-up included: caches are cold and memory grows
for twenty seconds. Faults begin and end at given seconds. What a real platform does on a quiet day can be asked for as
well: a machine that stands still for a moment, a restart with cold caches, a drained queue, another mix of requests, a
burst of users.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from libs.contracts.anomaly import AnomalyDetected, Severity
from libs.contracts.batch_rows import LogIn, SpanIn
from libs.contracts.batches import LogBatchBuilder, MetricBatchBuilder, SpanBatchBuilder
from libs.contracts.codec import ns_from_utc
from libs.contracts.records import Record
from libs.contracts.topics import TELEMETRY_LOGS, TELEMETRY_METRICS, TELEMETRY_SPANS, topics
from libs.streaming.handler import Event, Handler

BEGIN: Final = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BEGIN_NS: Final = ns_from_utc(BEGIN)
NS: Final = 1_000_000_000
SERVICES: Final = ("gateway", "catalog", "cart", "checkout", "inventory", "payments", "recommendations")
CALLS: Final = {
    "gateway": (("catalog", 0.6), ("cart", 0.25), ("checkout", 0.15)),
    "checkout": (("cart", 1.0), ("inventory", 1.0), ("payments", 1.0)),
    "payments": (("bank", 1.0),),
    "catalog": (("recommendations", 0.3),),
}
OWN_MS: Final = {
    "gateway": 4.0,
    "catalog": 18.0,
    "cart": 9.0,
    "checkout": 12.0,
    "inventory": 7.0,
    "payments": 10.0,
    "bank": 60.0,
    "recommendations": 14.0,
}
MEMORY_LIMIT: Final = 256e6
EXPORT_S: Final = 5
BATCH_S: Final = 1


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong between two moments (seconds since BEGIN).

    Attributes:
        kind: slow, errors, leak, hang, surge, silence, throw; stall (nobody computes anything until it ends), restart
            (a new instance whose caches are cold), drain (waiting work adds to every request, less and less), mix.
        service: Where; "*" for the whole machine.
        since_s: When it begins.
        until_s: When it ends.
        size: Factor, ratio, or bytes per second; of a drain seconds, of a mix the share of checkouts.
    """

    kind: str
    service: str
    since_s: float
    until_s: float
    size: float

    def at(self, second: float) -> bool:
        return self.since_s <= second < self.until_s


@dataclass(slots=True)
class Shop:
    """One run of the shop.

    Attributes:
        seed: Of everything random.
        seconds: Length of the run.
        rate_per_s: User requests.
        faults: What goes wrong.
        metric_series: Metric series per service, about.
        base_error_ratio: Failures of a healthy service.
    """

    seed: int
    seconds: int
    rate_per_s: float = 12.0
    faults: Sequence[Fault] = ()
    metric_series: int = 60
    base_error_ratio: float = 0.001
    chance: np.random.Generator = field(init=False)
    by_kind: dict[str, list[Fault]] = field(init=False)

    def __post_init__(self) -> None:
        self.chance = np.random.default_rng(self.seed)
        self.by_kind = {}
        for fault in self.faults:
            self.by_kind.setdefault(fault.kind, []).append(fault)

    def arrivals(self) -> Iterator[tuple[str, Record]]:
        """Topic and record in the order in which intake would write them."""
        spans, logs = self._requests()
        offsets = {service: int(self.chance.integers(0, EXPORT_S * 1000)) / 1000 for service in SERVICES}
        for second in range(self.seconds + 3):
            observed = BEGIN + timedelta(seconds=second + 1.2)
            for service in SERVICES:
                if self._is_silent(service, second):
                    continue
                if due := spans.get((service, second)):
                    yield TELEMETRY_SPANS, self._span_batch(service, due, observed)
                if found := logs.get((service, second)):
                    yield TELEMETRY_LOGS, self._log_batch(service, found, observed)
                if second % EXPORT_S == int(offsets[service]) and second < self.seconds:
                    yield TELEMETRY_METRICS, self._metric_batch(service, second + offsets[service] % 1, observed)

    def _is_silent(self, service: str, second: float) -> bool:
        return any(f.kind == "silence" and f.service == service and f.at(second) for f in self.faults)

    def _fault(self, kind: str, service: str, second: float) -> Fault | None:
        for fault in self.by_kind.get(kind, ()):
            if fault.service == service and fault.at(second):
                return fault
        return None

    def _requests(self) -> tuple[dict[tuple[str, int], list[SpanIn]], dict[tuple[str, int], list[LogIn]]]:
        spans: dict[tuple[str, int], list[SpanIn]] = {}
        logs: dict[tuple[str, int], list[LogIn]] = {}
        second = 0.0
        while second < self.seconds:
            surge = self._fault("surge", "gateway", second)
            rate = self.rate_per_s * (surge.size if surge else 1.0)
            session = 1 + int(self.chance.poisson(1.0))  # users click in bursts: more variance than Poisson
            second += float(self.chance.exponential(session / rate))
            for _ in range(session):
                at = second + float(self.chance.random()) * 2.0
                self._serve("gateway", at, self.chance.bytes(16), b"\0" * 8, spans, logs)
        return spans, logs

    def _serve(
        self,
        service: str,
        at_s: float,
        trace: bytes,
        parent: bytes,
        spans: dict[tuple[str, int], list[SpanIn]],
        logs: dict[tuple[str, int], list[LogIn]],
    ) -> tuple[float, bool]:
        """Serve one request; returns its duration in seconds and whether it failed."""
        own_s = OWN_MS[service] / 1e3 * float(self.chance.lognormal(0.0, 0.35))
        if at_s < 8.0:
            own_s *= 3.0  # cold caches
        if slow := self._fault("slow", service, at_s):
            own_s *= slow.size
        if cold := self._fault("restart", service, at_s):
            own_s *= cold.size
        if drain := self._fault("drain", service, at_s):
            own_s += drain.size * (drain.until_s - at_s) / (drain.until_s - drain.since_s)
        if hang := self._fault("hang", service, at_s):
            own_s = hang.size
        own_s = self._with_stalls(at_s, own_s)
        errors = self._fault("errors", service, at_s) or self._fault("throw", service, at_s)
        failed = bool(self.chance.random() < (errors.size if errors else self.base_error_ratio))
        span_id, total_s = self.chance.bytes(8), own_s
        if service == "bank":
            return own_s, failed or hang is not None
        calls = CALLS.get(service, ())
        if service == "gateway":
            mix = self._fault("mix", service, at_s)
            checkouts = mix.size if mix else 0.15
            rest = (1.0 - checkouts) / 0.85
            calls = (calls[int(self.chance.choice(3, p=[0.6 * rest, 0.25 * rest, checkouts]))],)
        for peer, share in calls:
            if service != "gateway" and self.chance.random() > share:
                continue
            client = self.chance.bytes(8)
            began = at_s + total_s * 0.5
            took_s, peer_failed = self._serve(peer, began + 0.0005, trace, client, spans, logs)
            took_s += 0.001
            failed = failed or peer_failed
            total_s += took_s
            spans.setdefault((service, int(began + took_s)), []).append(
                self._span(trace, client, span_id, began, took_s, 3, peer_failed, "GET", peer)
            )
        spans.setdefault((service, int(at_s + total_s)), []).append(
            self._span(trace, span_id, parent, at_s, total_s, 2, failed, f"GET /{service}", "")
        )
        end = int(at_s + total_s)
        body = f"served request {self.chance.integers(1_000_000)} in {total_s * 1e3:.1f} ms"
        lines = [LogIn(timestamp=self._ns(at_s + total_s), severity=9, body=body, trace_id=trace, logger=service)]
        if failed:
            text = (
                "KeyError: 'price' in place_order" if errors and errors.kind == "throw" else "request failed: timeout"
            )
            lines.append(
                LogIn(timestamp=self._ns(at_s + total_s), severity=17, body=text, trace_id=trace, logger=service)
            )
        elif self.chance.random() < 0.02:
            text = f"slow answer for user u-{self.chance.integers(1000)}"
            lines.append(LogIn(timestamp=self._ns(at_s + total_s), severity=13, body=text, logger=service))
        logs.setdefault((service, end), []).extend(lines)
        return total_s, failed

    def _with_stalls(self, at_s: float, own_s: float) -> float:
        """Work that a standing machine interrupts goes on when the machine does."""
        for stall in self.by_kind.get("stall", ()):
            if stall.since_s < at_s + own_s and at_s < stall.until_s:
                own_s += stall.until_s - max(at_s, stall.since_s)
        return own_s

    def _ns(self, second: float) -> int:
        return BEGIN_NS + int(second * 1e9)

    def _span(
        self,
        trace: bytes,
        span: bytes,
        parent: bytes,
        at: float,
        took: float,
        kind: int,
        bad: bool,
        name: str,
        peer: str,
    ) -> SpanIn:
        return SpanIn(
            trace_id=trace,
            span_id=span,
            parent_span_id=parent,
            start=self._ns(at),
            duration=int(took * 1e9),
            kind=kind,
            status=2 if bad else 0,
            name=name,
            peer=peer,
        )

    def _instance(self, service: str, observed: datetime) -> str:
        restarts = [f for f in self.faults if f.kind == "restart" and f.service == service]
        number = 1 + sum(BEGIN + timedelta(seconds=f.since_s) <= observed for f in restarts)
        return f"{service}-{number}"

    def _span_batch(self, service: str, rows: Sequence[SpanIn], observed: datetime) -> Record:
        builder = SpanBatchBuilder(service, {"service.instance.id": self._instance(service, observed)}, observed)
        for row in rows:
            builder.add(row)
        return builder.build()[0]

    def _log_batch(self, service: str, rows: Sequence[LogIn], observed: datetime) -> Record:
        builder = LogBatchBuilder(service, {"service.instance.id": self._instance(service, observed)}, observed)
        for row in rows:
            builder.add(row)
        return builder.build()[0]

    def _metric_batch(self, service: str, second: float, observed: datetime) -> Record:
        builder = MetricBatchBuilder(service, {"service.instance.id": self._instance(service, observed)}, observed)
        at_ns, normal = self._ns(second), self.chance.normal
        memory = 70e6 + 40e6 * min(1.0, second / 20.0) + 5e4 * second * 0.2 + 2e5 * abs(normal())
        for fault in self.faults:
            if fault.kind == "leak" and fault.service == service and fault.at(second):
                memory += fault.size * (second - fault.since_s)
        load = 2.0 if any(f.kind == "surge" and f.at(second) for f in self.faults) else 1.0
        values = {
            ("process.memory.usage", "value", "By"): memory,
            ("container.memory.limit", "value", "By"): MEMORY_LIMIT,
            ("process.cpu.utilization", "value", "1"): abs(0.12 * load + 0.03 * normal()),
            ("process.thread.count", "value", "{thread}"): 12 + float(self.chance.integers(0, 3)),
            ("worker_pool.size", "value", "{worker}"): 8.0,
            ("worker_pool.in_use", "value", "{worker}"): min(8.0, abs(1.2 * load + 0.5 * normal())),
            ("worker_pool.queue_depth", "value", "{request}"): float(self.chance.poisson(0.05)),
            ("db.client.connection.max", "value", "{connection}"): 10.0,
            ("db.client.connection.count", "value", "{connection}"): float(self.chance.binomial(10, 0.15)),
            ("jvm.memory.used", "value", "By"): 40e6 + 2e6 * ((second / 5) % 9) + 3e5 * normal(),
            ("http.server.active_requests", "value", "{request}"): float(self.chance.poisson(1.0)),
        }
        for (name, statistic, unit), value in values.items():
            builder.add((name, statistic, unit, ()), at_ns, float(value))
        for route in range((self.metric_series - len(values)) // 5):
            attributes = (("http.route", f"/r{route}"),)
            base = 0.01 * (1 + route)
            for statistic, factor in (("p50", 1.0), ("p95", 2.5), ("p99", 4.0), ("mean", 1.2)):
                value = base * factor * float(self.chance.lognormal(0.0, 0.25))
                builder.add(("http.server.request.duration", statistic, "s", attributes), at_ns, value)
            builder.add(
                ("http.server.request.duration", "rate", "{request}/s", attributes),
                at_ns,
                float(self.chance.poisson(5)),
            )
        return builder.build()[0]


@dataclass(slots=True)
class Played:
    """What a handler said about a run.

    Attributes:
        anomalies: Every event in order.
    """

    anomalies: list[AnomalyDetected] = field(default_factory=list)

    def opened(self, least: Severity = Severity.MEDIUM) -> list[AnomalyDetected]:
        """Episodes that reached a severity, as they were when they did."""
        rank = {Severity.LOW: 0, Severity.MEDIUM: 1, Severity.HIGH: 2, Severity.CRITICAL: 3}
        first: dict[str, AnomalyDetected] = {}
        for anomaly in self.anomalies:
            if rank[anomaly.severity] >= rank[least]:
                first.setdefault(anomaly.id, anomaly)
        return list(first.values())


def second_of(moment: datetime) -> float:
    """Seconds since the run began."""
    return (moment - BEGIN).total_seconds()


def play(
    handler: Handler,
    arrivals: Iterator[tuple[str, Record]],
    clock: Callable[[datetime], None] = lambda _: None,
) -> Played:
    """Feed a handler one record at a time with partitions and offsets as a broker would give them."""
    played, last = Played(), None
    offsets: dict[tuple[str, int], int] = {}
    for topic, record in arrivals:
        service, observed = record.service, record.observed_at  # type: ignore[union-attr]  # telemetry has both
        partition = zlib.crc32(service.encode()) % topics()[topic].partitions
        offset = offsets.get((topic, partition), 0)
        offsets[topic, partition] = offset + 1
        if last is not None and observed > last:
            clock(observed)
            played.anomalies.extend(_records(handler.tick(observed)))
        last = observed
        event = Event(topic=topic, partition=partition, offset=offset, key=service, record=record)
        played.anomalies.extend(_records(handler.handle([event])))
    if last is not None:
        played.anomalies.extend(_records(handler.tick(last)))
    return played


def _records(emits: Sequence[object]) -> list[AnomalyDetected]:
    return [emit.record for emit in emits if isinstance(emit.record, AnomalyDetected)]  # type: ignore[attr-defined]
