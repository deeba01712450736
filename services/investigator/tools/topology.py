"""Who calls whom: the graph learned from spans, and what attributes of metrics teach where there are no spans."""

from collections.abc import Iterable, Mapping
from typing import Final

from libs.stores.telemetry import SeriesWindow
from services.investigator.evidence import Graph
from services.investigator.scene import Scene
from services.investigator.tools.tool import SERVICE, Answer, Tool, register, where

# Names that exporters, meshes and the Collector's servicegraph connector give the two ends of a call.
_CALLEE: Final = (
    "peer.service",
    "peer",
    "callee",
    "destination",
    "destination_service",
    "destination_workload",
    "server",
    "upstream",
)
_CALLER: Final = ("caller", "source", "source_service", "source_workload", "client", "downstream")


def _ask(scene: Scene, _: Mapping[str, str]) -> Answer[Graph]:
    graph = read_graph(scene)
    affected = scene.incident.services
    near = [f"{caller} -> {callee}" for caller, callee in sorted(graph.calls) if {caller, callee} & set(affected)]
    new = [f"{caller} -> {callee}" for caller, callee in sorted(graph.new_calls)]
    text = f"{len(graph.calls)} call edges; around the incident: {', '.join(near[:8]) or 'none known'}."
    if new:
        text += f" Never seen before the incident: {', '.join(new[:5])}."
    return Answer(found=bool(graph.calls), finding=text, query=f"service graph of {where(scene)}", part=graph)


def read_graph(scene: Scene) -> Graph:
    """The graph among the services in scope, as known at `as_of`."""
    edges = [edge for edge in scene.telemetry.edges() if edge.first_seen_ns <= scene.as_of_ns]
    calls = {(edge.caller, edge.callee) for edge in edges}
    new = {(edge.caller, edge.callee) for edge in edges if edge.first_seen_ns >= scene.started_ns}
    taught = set(_taught(scene.telemetry.series(scene.before_metrics, services=scene.services)))
    taught_now = set(_taught(scene.telemetry.series(scene.now, services=scene.services)))
    new |= taught_now - taught - calls
    calls |= taught | taught_now
    seen = [entry for entry in scene.telemetry.services() if entry.first_seen_ns <= scene.as_of_ns]
    inside = set(scene.services)
    return Graph(
        calls=frozenset((a, b) for a, b in calls if a != b and (not inside or a in inside or b in inside)),
        new_calls=frozenset(new),
        first_seen_ns={entry.service: entry.first_seen_ns for entry in seen},
        last_seen_ns={entry.service: min(entry.last_seen_ns, scene.as_of_ns) for entry in seen},
    )


def _taught(series: Iterable[SeriesWindow]) -> Iterable[tuple[str, str]]:
    for entry in series:
        callee = next((entry.attributes[name] for name in _CALLEE if entry.attributes.get(name)), "")
        caller = next((entry.attributes[name] for name in _CALLER if entry.attributes.get(name)), "")
        if caller and callee:
            yield caller, callee
        elif callee and callee != entry.service:
            yield entry.service, callee
        elif caller and caller != entry.service:
            yield caller, entry.service


TOOL: Final = register(Tool(name="topology", title="Who calls whom around the incident", ask=_ask, arguments=SERVICE))
