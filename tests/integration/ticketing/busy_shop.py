"""The telemetry of a busy shop, and its ticket."""

import uuid
from datetime import timedelta

from libs.contracts.codec import ns_from_utc
from libs.contracts.columns import pack_int8, pack_int32, pack_int64
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState, Level, Priority
from libs.contracts.telemetry import SpanBatch
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from tests.integration.ticketing.running import NOW, anomaly

OF_A_BUSY_SHOP = IncidentChanged(
    id="i1",
    number="INC-000001",
    version=1,
    change=IncidentChange.OPENED,
    title="catalog: slow",
    state=IncidentState.NEW,
    priority=Priority.P2,
    impact=Level.HIGH,
    urgency=Level.MEDIUM,
    services=("catalog", "gateway"),
    neighbours=("cart",),
    anomalies=(anomaly("catalog", "a1"), anomaly("gateway", "a2")),
    started_at=NOW,
    opened_at=NOW,
    updated_at=NOW,
    observed_at=NOW,
)


def write_busy_shop(telemetry: SqliteTelemetryStore, seconds: int) -> None:
    """Minutes of 70 spans a second; in the last one a tenth of them fails."""
    services = ["gateway", "catalog", "cart", "checkout", "inventory", "payments", "mailer"]
    for second in range(60 - seconds, 60):
        telemetry.write(spans=[busy(service, second, failing=second >= 0) for service in services])


def busy(service: str, second: int, *, failing: bool) -> SpanBatch:
    """Ten server spans of one second; one of them fails once the fault is there."""
    ends = [ns_from_utc(NOW + timedelta(seconds=second)) + i * 100_000_000 for i in range(10)]
    ids = [uuid.uuid5(uuid.NAMESPACE_OID, f"{second}{i}").bytes for i in range(10)]
    return SpanBatch(
        service=service,
        observed_at=NOW,
        trace_ids=b"".join(ids),
        span_ids=b"".join(uuid.uuid5(uuid.NAMESPACE_URL, service + one.hex()).bytes[:8] for one in ids),
        parent_span_ids=bytes(80),
        starts=pack_int64([end - 20_000_000 for end in ends]),
        durations=pack_int64([20_000_000] * 10),
        kinds=pack_int8([2] * 10),
        statuses=pack_int8([2 if failing and i == second % 10 else 0 for i in range(10)]),
        names=("GET /",),
        name_index=pack_int32([0] * 10),
        peer_index=pack_int32([-1] * 10),
        users=tuple(f"u{(second * 10 + i) % 40}" for i in range(10)),
        user_index=pack_int32(list(range(10))),
        attribute_sets=({"http.route": "/"},),
        attribute_index=pack_int32([0] * 10),
    )
