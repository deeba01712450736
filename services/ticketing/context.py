"""Gather what surrounds an incident: traces, logs, changes, topology, affected users, similar incidents."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.contracts.codec import ns_from_utc
from libs.contracts.document import IncidentContext, TopologyEdge
from libs.contracts.incident import IncidentChanged
from libs.stores.incidents import IncidentStore
from libs.stores.precedent import precedents
from libs.stores.telemetry import TelemetryReader, Window
from services.ticketing.decide import CHANGES_BEFORE
from services.ticketing.episodes import counting, quiet_since, severity_rank
from services.ticketing.graph import CallGraph
from services.ticketing.samples import logs_of, traces_of
from services.ticketing.users import users_of

_MOST_CHANGES: Final = 50
_MOST_EDGES: Final = 100
_SIMILAR: Final = 5
_LEAST_SIMILARITY: Final = 0.1
# The window that crossed a threshold began to deviate somewhere inside; one window earlier shows the first of it.
_LEAD: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathering:
    """What was gathered.

    Attributes:
        context: The section of the document.
        active_users: Distinct users in the same window, whether they felt it or not.
        until: Event time up to which was gathered.
    """

    context: IncidentContext
    active_users: int
    until: datetime


def gather(
    telemetry: TelemetryReader,
    incidents: IncidentStore,
    core: IncidentChanged,
    graph: CallGraph,
    watermark: datetime,
) -> Gathering:
    """Ask both stores about an incident's window.

    Args:
        watermark: Event time up to which telemetry was recorded.
    Raises:
        Unavailable: a store cannot be reached.
    """
    until = max(core.updated_at, watermark)
    quiet = quiet_since(core)
    if quiet is not None:
        until = min(until, max(quiet, core.updated_at) + _LEAD)
    window = Window(start_ns=ns_from_utc(core.started_at - _LEAD), end_ns=ns_from_utc(until))
    impact = users_of(telemetry, window, core.services, core.anomalies, graph)
    context = IncidentContext(
        traces=traces_of(telemetry, window, core.services, _exemplars(core)),
        logs=logs_of(telemetry, window, core.services),
        changes=tuple(
            telemetry.changes(
                Window(start_ns=ns_from_utc(core.started_at - CHANGES_BEFORE), end_ns=window.end_ns),
                services=(*core.services, *core.neighbours),
                limit=_MOST_CHANGES,
            )
        ),
        topology=_topology(telemetry, window, core, graph),
        affected_users=impact.affected,
        similar_incidents=tuple(
            past for past in precedents(incidents, core, most=_SIMILAR) if past.similarity >= _LEAST_SIMILARITY
        ),
    )
    return Gathering(context=context, active_users=impact.active, until=until)


def _exemplars(core: IncidentChanged) -> Sequence[str]:
    """The detector's exemplar traces, of the most severe anomalies first, one of each before a second of any."""
    ranked = sorted(counting(core.anomalies), key=lambda a: (-severity_rank(a.severity), a.detected_at, a.id))
    longest = max((len(anomaly.trace_ids) for anomaly in ranked), default=0)
    picked = [a.trace_ids[place] for place in range(longest) for a in ranked if place < len(a.trace_ids)]
    return list(dict.fromkeys(picked))


def _topology(
    telemetry: TelemetryReader, window: Window, core: IncidentChanged, graph: CallGraph
) -> tuple[TopologyEdge, ...]:
    """Learned call edges around the services, with what went over them in the window; a silent edge counts 0 calls."""
    inside = {(edge.caller, edge.callee): edge for edge in telemetry.edges(window)}
    services = frozenset(core.services)
    learned = {(caller, callee) for caller, callees in graph.callees.items() for callee in callees}
    touching = sorted(pair for pair in learned | set(inside) if services & set(pair))
    edges = []
    for pair in touching[:_MOST_EDGES]:
        seen = inside.get(pair)
        edges.append(
            TopologyEdge(
                caller=pair[0],
                callee=pair[1],
                calls=seen.calls if seen else 0,
                errors=seen.errors if seen else 0,
            )
        )
    return tuple(edges)
