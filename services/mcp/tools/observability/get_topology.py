"""Who calls whom: the service graph learned from spans, with the traffic of a window on it."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.codec import utc_from_ns
from libs.stores.telemetry import Edge
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Figure, Name, untrusted
from services.mcp.event_time import EventWindow, TimeArguments, window_of
from services.mcp.service_names import ServiceName, require_service
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

Key = tuple[str, str]


class TopologyArguments(TimeArguments):
    """Which part of the graph."""

    service: ServiceName = ""
    hops: Annotated[
        int, Field(ge=1, le=10, description="How far from `service`, up to callers and down to callees.")
    ] = 1


class EdgeRow(Row):
    """A call edge."""

    caller: Annotated[Name, Field(description=untrusted("Service that calls"))]
    callee: Annotated[Name, Field(description=untrusted("Service or external dependency that is called"))]
    callee_reports: Annotated[bool, Field(description="Whether the callee sends telemetry of its own.")]
    calls: Annotated[int, Field(description="Calls in the window.")]
    calls_per_s: Figure
    error_ratio: Annotated[Figure, Field(description="Failed calls / calls in the window, 0 to 1; null without calls.")]
    first_seen: Annotated[AwareDatetime, Field(description="Event time of the first call ever seen.")]
    last_seen: Annotated[AwareDatetime, Field(description="Event time of the last call ever seen.")]
    is_new: Annotated[bool, Field(description="Whether the first call ever seen lies in the window.")]


class TopologyAnswer(Answer[EdgeRow]):
    """Call edges by caller and callee."""


def _ask(sources: Sources, asked: TopologyArguments) -> TopologyAnswer:
    telemetry = sources.telemetry
    time = window_of(telemetry, asked.last_s, asked.end)
    graph = [edge for edge in telemetry.edges() if edge.first_seen_ns < time.window.end_ns]
    require_service(telemetry, asked.service, also={edge.callee for edge in graph})
    near = _within(graph, asked.service, asked.hops) if asked.service else graph
    traffic = {(edge.caller, edge.callee): edge for edge in telemetry.edges(time.window)}
    reporting = {seen.service for seen in telemetry.services()}
    rows = [
        _row(edge, traffic, time, reports=edge.callee in reporting)
        for edge in sorted(near, key=lambda e: (e.caller, e.callee))
    ]
    text = f"{len(rows)} call edges; {sum(row.is_new for row in rows)} of them were never seen before the window."
    what = f"calls from or to {asked.service}" if asked.service else "calls between services"
    return answer(
        TopologyAnswer,
        asked,
        Found(
            rows=page_of(rows, asked),
            total=len(rows),
            summary=text if rows else time.nothing(what),
            window=time.shown,
            pinned=time.pinned,
            narrower="name a service, or take fewer hops",
        ),
    )


def _within(graph: Iterable[Edge], service: str, hops: int) -> list[Edge]:
    """Edges at most `hops` away, in either direction."""
    edges, reached = list(graph), {service}
    for _ in range(hops - 1):
        wider = {end for edge in edges if {edge.caller, edge.callee} & reached for end in (edge.caller, edge.callee)}
        if wider <= reached:
            break
        reached |= wider
    return [edge for edge in edges if edge.caller in reached or edge.callee in reached]


def _row(edge: Edge, traffic: Mapping[Key, Edge], time: EventWindow, *, reports: bool) -> EdgeRow:
    seen = traffic.get((edge.caller, edge.callee))
    return EdgeRow(
        caller=edge.caller,
        callee=edge.callee,
        callee_reports=reports,
        calls=seen.calls if seen else 0,
        calls_per_s=seen.calls / time.seconds if seen else 0.0,
        error_ratio=seen.errors / seen.calls if seen and seen.calls else None,
        first_seen=utc_from_ns(edge.first_seen_ns),
        last_seen=utc_from_ns(edge.last_seen_ns),
        is_new=edge.first_seen_ns >= time.window.start_ns,
    )


TOOL: Final = register(
    "observability",
    Tool(
        name="get_topology",
        title="Who calls whom",
        description="The service graph learned from spans: which service calls which other service or external "
        "dependency, with calls and error ratio in a window, and whether the edge is new. Name a service to see its "
        "callers and callees. Trouble travels against the calls, from a callee to its callers, so look at callees "
        "for the cause; a callee that sends no telemetry (callee_reports false) shows only through its callers.",
        arguments=TopologyArguments,
        result=TopologyAnswer,
        ask=_ask,
    ),
)
