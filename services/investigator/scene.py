"""What is investigated: which services, which stretch of time before and which now; decided on event time alone."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from libs.contracts.codec import ns_from_utc
from libs.contracts.incident import IncidentChanged
from libs.runbooks.runbook import Runbook
from libs.stores.incidents import IncidentStore
from libs.stores.telemetry import Edge, SpanQuery, SpanRow, TelemetryReader, Window

# Metrics are cheap and slow (5 min on managed clouds): six hours hold 72 points of such a series.
METRICS_BEFORE_S: Final = 6 * 3600.0
# Thirty minutes of spans hold 360 windows of 5 s; reading them costs about 1 us a span.
SPANS_BEFORE_S: Final = 1800.0
# A cause shows within an hour of its change, or nobody remembers the change anyway.
CHANGES_BEFORE_S: Final = 3600.0
# An incident that lasts longer is judged by its first half hour: later the system is being worked on.
LONGEST_NOW_S: Final = 1800.0
_MOST_SERVICES: Final = 150
# 6,000 rows cost about 0.1 s and 12 MB: a minute of a shop with 100 spans/s. 20,000 took 2 s on a busy machine: that
# much is read by a later look only, when nobody waits for the first ranking any more.
FIRST_LOOK_SPANS: Final = 6_000
LATER_LOOK_SPANS: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One investigation's view of the world; everything after `as_of_ns` does not exist for it.

    Attributes:
        telemetry: Recorded telemetry.
        incidents: Past incidents.
        incident: The incident.
        services: Services in scope, by name; empty for all.
        started_ns: When the first deviation began.
        as_of_ns: Last moment considered.
        window_s: Width of a step of the rates, seconds.
        runbooks: Known patterns.
        most_spans: Most spans read of each window, newest first.
        timer: Seconds, monotonic, for durations of steps.
    """

    telemetry: TelemetryReader
    incidents: IncidentStore
    incident: IncidentChanged
    services: tuple[str, ...]
    started_ns: int
    as_of_ns: int
    window_s: float
    runbooks: tuple[Runbook, ...] = ()
    most_spans: int = FIRST_LOOK_SPANS
    timer: Callable[[], float] = time.perf_counter
    _read: dict[tuple[int, int, tuple[str, ...]], list[SpanRow]] = field(default_factory=dict, repr=False)

    def spans(self, window: Window) -> list[SpanRow]:
        """Newest spans of a window, at most `most_spans`; read once for all tools that ask."""
        key = (window.start_ns, window.end_ns, self.services)
        wider = next(
            (k for k in self._read if k[:2] == key[:2] and (not k[2] or set(self.services) <= set(k[2]))), None
        )
        if key not in self._read and wider is not None:
            self._read[key] = [row for row in self._read[wider] if row.service in self.services]
        elif key not in self._read:
            query = SpanQuery(window=window, services=self.services, order="newest", limit=self.most_spans)
            self._read[key] = self.telemetry.spans(query)
        return self._read[key]

    @property
    def now(self) -> Window:
        """The incident."""
        longest_ns = self.started_ns + int(LONGEST_NOW_S * 1e9)
        return Window(start_ns=self.started_ns, end_ns=min(self.as_of_ns, longest_ns) + 1)

    @property
    def before_metrics(self) -> Window:
        """Ordinary operation as metrics saw it."""
        return self._before(METRICS_BEFORE_S)

    @property
    def before_spans(self) -> Window:
        """Ordinary operation as spans and logs saw it."""
        return self._before(SPANS_BEFORE_S)

    @property
    def changes_window(self) -> Window:
        """When a change that matters took effect."""
        return when_changes_matter(self.started_ns, self.as_of_ns)

    def only(self, services: Sequence[str]) -> "Scene":
        """The same scene with fewer services in scope."""
        return replace(self, services=tuple(services))

    def _before(self, seconds: float) -> Window:
        # One step of distance: the deviation began somewhere inside the step in which it was seen.
        end_ns = self.started_ns - int(self.window_s * 1e9)
        return Window(start_ns=max(0, end_ns - int(seconds * 1e9)), end_ns=end_ns)


def when_changes_matter(started_ns: int, as_of_ns: int) -> Window:
    """When a change took effect that may explain what began at a moment."""
    return Window(start_ns=started_ns - int(CHANGES_BEFORE_S * 1e9), end_ns=as_of_ns + 1)


def scope(affected: Sequence[str], edges: Sequence[Edge], known: Sequence[str]) -> tuple[str, ...]:
    """The affected services and what is connected with them by calls, nearest first, at most 150; by name.

    Services outside the graph stay in scope: a graph that nobody taught (metrics only) excludes nothing.
    """
    if not affected:
        return tuple(sorted(known)[:_MOST_SERVICES])
    neighbours: dict[str, set[str]] = {}
    for edge in edges:
        neighbours.setdefault(edge.caller, set()).add(edge.callee)
        neighbours.setdefault(edge.callee, set()).add(edge.caller)
    reached = dict.fromkeys(affected)
    layer = list(reached)
    while layer and len(reached) < _MOST_SERVICES:
        layer = sorted({name for service in layer for name in neighbours.get(service, ())} - reached.keys())
        reached.update(dict.fromkeys(layer))
    reached.update(dict.fromkeys(name for name in known if name not in neighbours))
    return tuple(sorted(list(reached)[:_MOST_SERVICES]))


def scene_of(
    incident: IncidentChanged,
    telemetry: TelemetryReader,
    incidents: IncidentStore,
    *,
    as_of_ns: int,
    window_s: float,
    runbooks: Sequence[Runbook] = (),
    most_spans: int = FIRST_LOOK_SPANS,
    timer: Callable[[], float] = time.perf_counter,
) -> Scene:
    """The scene of an incident up to a moment of event time."""
    seen = [entry.service for entry in telemetry.services() if entry.first_seen_ns <= as_of_ns]
    edges = [edge for edge in telemetry.edges() if edge.first_seen_ns <= as_of_ns]
    peers = [anomaly.peer for anomaly in incident.anomalies if anomaly.peer]
    return Scene(
        telemetry=telemetry,
        incidents=incidents,
        incident=incident,
        services=scope((*incident.services, *peers), edges, seen),
        started_ns=min(ns_from_utc(incident.started_at), as_of_ns),
        as_of_ns=as_of_ns,
        window_s=window_s,
        runbooks=tuple(runbooks),
        most_spans=most_spans,
        timer=timer,
    )
