"""Anomalies, graphs and a handler on real stores for the tests of ticketing."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from libs.contracts.codec import Codec, ns_from_utc
from libs.contracts.columns import pack_int8, pack_int32, pack_int64
from libs.contracts.document import IncidentDocument
from libs.contracts.incident import IncidentChanged
from libs.contracts.records import RECORDS, Record
from libs.contracts.telemetry import SpanBatch
from libs.contracts.topics import topics
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.stores.telemetry import Edge
from libs.streaming.handler import Emit, Event
from services.ticketing.graph import CallGraph, call_graph
from services.ticketing.handler import TicketingHandler
from services.ticketing.service import handler
from services.ticketing.ticket import Surroundings

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
SHOP = (
    ("gateway", "catalog"),
    ("gateway", "cart"),
    ("gateway", "checkout"),
    ("checkout", "cart"),
    ("checkout", "inventory"),
    ("checkout", "payments"),
    ("payments", "bank"),
)

MakeAnomaly = Callable[..., AnomalyDetected]


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def build_anomaly(
    service: str,
    start_s: float = 0.0,
    *,
    closed_s: float | None = None,
    peer: str | None = None,
    signal: Signal = Signal.LATENCY,
    severity: Severity = Severity.HIGH,
    sequence: int | None = None,
    state: EpisodeState | None = None,
    **more: Any,
) -> AnomalyDetected:
    """An anomaly whose window crossed ten seconds after the deviation began."""
    metric = more.pop("metric", f"span.server.{signal.value}")
    closed = closed_s is not None
    shown = state or (EpisodeState.CLOSED if closed else EpisodeState.OPENED)
    return AnomalyDetected(
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"{service}|{peer}|{signal}|{metric}|{start_s}")),
        state=shown,
        service=service,
        peer=peer,
        signal=signal,
        metric=metric,
        statistic="p95",
        unit="s",
        detector=more.pop("detector", "latency"),
        severity=severity,
        score=0.97,
        observed=more.pop("observed", 0.4),
        expected=0.05,
        expected_lower=0.03,
        expected_upper=0.06,
        deviation=more.pop("deviation", 12.0),
        started_at=at(start_s),
        detected_at=at(start_s + 10),
        updated_at=at(closed_s if closed_s is not None else start_s + 10),
        closed_at=at(closed_s) if closed_s is not None else None,
        window_s=5.0,
        sequence=sequence if sequence is not None else (5 if closed else 0),
        **more,
    )


def build_graph(pairs: Sequence[tuple[str, str]] = SHOP) -> CallGraph:
    return call_graph(
        Edge(caller=caller, callee=callee, calls=100, errors=0, first_seen_ns=0, last_seen_ns=1)
        for caller, callee in pairs
    )


@pytest.fixture(scope="session")
def anomaly() -> MakeAnomaly:
    """Makes anomalies."""
    return build_anomaly


@pytest.fixture(scope="session")
def shop_graph() -> CallGraph:
    """gateway -> catalog, cart, checkout; checkout -> cart, inventory, payments; payments -> bank."""
    return build_graph()


@pytest.fixture(scope="session")
def around(shop_graph: CallGraph) -> Surroundings:
    """What a decision in the shop may know."""
    return Surroundings(graph=shop_graph, observed_at=START, correlation_s=120.0)


@pytest.fixture(scope="session")
def moment() -> Callable[[float], datetime]:
    """Event time, seconds after the start of the test's world."""
    return at


class World:
    """A ticketing handler on real stores in a folder, with a clock that the test turns."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(data_dir=folder, _env_file=None)  # type: ignore[call-arg]  # pydantic-settings
        self.now = START
        self.log = StringIO()
        self.platform = Platform(
            service="ticketing",
            settings=self.settings,
            log=Logger("ticketing", stream=self.log),
            metrics=ServiceMetrics(),
            codec=Codec(),
            clock=lambda: self.now,
        )
        self.handler: TicketingHandler = handler(self.settings, self.platform)

    def restart(self) -> None:
        """As after a kill: nothing but the stores is left."""
        self.handler = handler(self.settings, self.platform)

    def feed(self, *records: Record) -> list[IncidentChanged]:
        """Hand in a batch; what was emitted."""
        return cores(self.handler.handle([event(record) for record in records]))

    def tick(self, seconds: float) -> list[IncidentChanged]:
        """Telemetry and wall clock reach a moment."""
        self.now = at(seconds)
        self.spans("heartbeat", [(seconds, 0.001, "", 0)])
        return cores(self.handler.tick(self.now))

    def spans(
        self,
        service: str,
        rows: Sequence[tuple[float, float, str, int]],
        *,
        name: str = "GET /",
        traces: Sequence[bytes] | None = None,
    ) -> None:
        """Record server spans: end in seconds, duration in seconds, user, status."""
        count = len(rows)
        users = sorted({user for _, _, user, _ in rows if user})
        ids = traces or [uuid.uuid5(uuid.NAMESPACE_OID, f"{service}{name}{row}{i}").bytes for i, row in enumerate(rows)]
        batch = SpanBatch(
            service=service,
            observed_at=self.now,
            trace_ids=b"".join(ids),
            span_ids=b"".join(uuid.uuid5(uuid.NAMESPACE_URL, service + one.hex()).bytes[:8] for one in ids),
            parent_span_ids=bytes(8 * count),
            starts=pack_int64([ns_from_utc(at(end_s - duration_s)) for end_s, duration_s, _, _ in rows]),
            durations=pack_int64([int(duration_s * 1e9) for _, duration_s, _, _ in rows]),
            kinds=pack_int8([2] * count),
            statuses=pack_int8([status for _, _, _, status in rows]),
            names=(name,),
            name_index=pack_int32([0] * count),
            peer_index=pack_int32([-1] * count),
            users=tuple(users),
            user_index=pack_int32([users.index(user) if user else -1 for _, _, user, _ in rows]),
            attribute_sets=({},),
            attribute_index=pack_int32([0] * count),
        )
        self.platform.telemetry.write(spans=[batch])

    def call(self, caller: str, callee: str, end_s: float) -> None:
        """One call with both of its spans, so that the store learns the edge."""
        trace = f"{caller}>{callee}".encode().ljust(16, b".")[:16]
        for service, kind, span, parent, peers in (
            (caller, 3, b"caller..", bytes(8), (callee,)),
            (callee, 2, b"callee..", b"caller..", ()),
        ):
            batch = SpanBatch(
                service=service,
                observed_at=self.now,
                trace_ids=trace,
                span_ids=span,
                parent_span_ids=parent,
                starts=pack_int64([ns_from_utc(self.now) + int(end_s * 1e9)]),
                durations=pack_int64([10**7]),
                kinds=pack_int8([kind]),
                statuses=pack_int8([0]),
                names=("call",),
                name_index=pack_int32([0]),
                peers=peers,
                peer_index=pack_int32([0 if peers else -1]),
                user_index=pack_int32([-1]),
                attribute_sets=({},),
                attribute_index=pack_int32([0]),
            )
            self.platform.telemetry.write(spans=[batch])

    def document(self, reference: str) -> IncidentDocument:
        found = self.platform.incidents.get(reference)
        assert found is not None
        return found

    def close(self) -> None:
        self.platform.incidents.close()
        self.platform.telemetry.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A fresh world."""
    built = World(tmp_path)
    yield built
    built.close()


def event(record: Record) -> Event:
    name = next(name for name, kind in RECORDS.items() if kind is type(record))
    topic = next(topic.name for topic in topics().values() if topic.record == name)
    return Event(topic=topic, partition=0, offset=0, key="", record=record)


def cores(emits: Sequence[Emit]) -> list[IncidentChanged]:
    found = []
    for emit in emits:
        assert isinstance(emit.record, IncidentChanged)
        assert (emit.topic, emit.key) == ("incidents", emit.record.id)
        found.append(emit.record)
    return found
