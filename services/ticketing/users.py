"""How many users felt an incident, and how that was counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.contracts.anomaly import AnomalyDetected, Signal
from libs.contracts.codec import utc_from_ns
from libs.contracts.incident import AffectedUsers
from libs.stores.telemetry import SpanQuery, TelemetryReader, Window
from services.ticketing.graph import CallGraph

_ATTRIBUTES: Final = "enduser.id or user.id"
_TO_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_SERVER_KINDS: Final = (2, 5)
_SAMPLE: Final = 20
# Reading a trace takes about 1 ms; fifty keep the whole context below the 200 ms that a tick may take.
_TRACES: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class UserImpact:
    """Users of the entry-most affected services.

    Attributes:
        affected: Who felt it.
        active: Distinct users of the same services in the same window, whether they felt it or not.
    """

    affected: AffectedUsers
    active: int


def users_of(
    reader: TelemetryReader,
    window: Window,
    services: Sequence[str],
    anomalies: Sequence[AnomalyDetected],
    graph: CallGraph,
) -> UserImpact:
    """Distinct users whose requests failed or were slower than the expected band at the entry-most services."""
    entry = graph.entry_most(services)
    slow_s = slower_than_s(anomalies, entry)
    counted = reader.users(window, services=entry, failed_only=slow_s is None, slower_than_s=slow_s or 0.0)
    active = reader.users(window, services=entry, failed_only=False)
    if not counted.count and counted.spans_without_user:
        return UserImpact(affected=_from_traces(reader, window, entry, slow_s), active=active.count)
    basis = f"distinct {_ATTRIBUTES} of server spans of {_names(entry)} that {_felt(slow_s)} {_during(window)}"
    if counted.spans_without_user:
        basis += f"; a lower bound: {counted.spans_without_user} such spans name no user"
    return UserImpact(
        affected=AffectedUsers(count=counted.count, basis=basis, sample=counted.sample), active=active.count
    )


def slower_than_s(anomalies: Sequence[AnomalyDetected], services: Sequence[str]) -> float | None:
    """Upper edge of the expected band of the services' own latency, in seconds; None when latency is as expected."""
    edges = [
        anomaly.expected_upper * _TO_SECONDS[anomaly.unit]
        for anomaly in anomalies
        if anomaly.signal is Signal.LATENCY
        and anomaly.peer is None
        and anomaly.service in services
        and anomaly.unit in _TO_SECONDS
        and anomaly.expected_upper > 0
    ]
    return min(edges) if edges else None


def _from_traces(reader: TelemetryReader, window: Window, entry: Sequence[str], slow_s: float | None) -> AffectedUsers:
    """Users named by other spans of the traces that failed or were slow, where the service's own spans name none."""
    query = SpanQuery(
        window=window,
        services=tuple(entry),
        errors_only=slow_s is None,
        kinds=_SERVER_KINDS,
        order="newest" if slow_s is None else "slowest",
        limit=_TRACES,
    )
    found = reader.spans(query)
    felt = [span for span in found if slow_s is None or span.duration_ns / 1e9 > slow_s]
    traces = tuple(dict.fromkeys(span.trace_id for span in felt))
    users = sorted({span.user for trace in traces for span in reader.trace(trace) if span.user})
    basis = (
        f"distinct {_ATTRIBUTES} in {len(traces)} traces through {_names(entry)} that {_felt(slow_s)} "
        f"{_during(window)}; a lower bound: the spans of {_names(entry)} themselves name no user"
    )
    return AffectedUsers(count=len(users), basis=basis, sample=tuple(users[:_SAMPLE]))


def _felt(slow_s: float | None) -> str:
    return "failed" if slow_s is None else f"failed or took longer than the expected {slow_s * 1e3:.0f} ms"


def _during(window: Window) -> str:
    start, end = utc_from_ns(window.start_ns), utc_from_ns(window.end_ns)
    return f"between {start:%H:%M:%S} and {end:%H:%M:%S} UTC"


def _names(services: Sequence[str]) -> str:
    return ", ".join(services)
