"""Who calls whom: callers' names of their callees resolved to services.

A call is known by caller, peer and span name; the services that were seen to answer it are its callees. One callee:
every such call is its, answered or timed out. Several (one address in front of many services, or an address that
changed hands): the call itself is joined with its answer, or goes to the one callee that answered around that time.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from libs.stores.telemetry import Edge

# A callee that exports reports within one interval (spans and logs 2 s, metrics 5 s); after 10 s it counts as external.
EVIDENCE_NS: Final = 10 * 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Callee:
    """A service that answered a call.

    Attributes:
        service: service.name.
        calls: Answers joined with their call.
        errors: Failed ones among them.
        first_ns: Event time of the first.
        last_ns: Event time of the last.
    """

    service: str
    calls: int
    errors: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Calls of a service to a peer under one span name; `peer` and `name` are "" for parents that are no calls."""

    caller: str
    peer: str
    name: str
    calls: int
    errors: int
    first_ns: int
    last_ns: int
    callees: tuple[Callee, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What a call leads to.

    Attributes:
        callee: Name of the callee; the peer's own name when no service is known for it, "" when it has no name.
        candidates: The services among which each single call must be told apart; empty when `callee` is the answer.
        external: No service is known: `callee` is the peer as the caller names it.
    """

    callee: str
    candidates: tuple[Callee, ...] = ()
    external: bool = False


class CallGraph:
    """The learned calls at one moment.

    Args:
        calls: By id.
        services: Names of services that report.
        watermark_ns: Greatest event time.
    """

    def __init__(self, calls: Mapping[int, Call], services: frozenset[str], watermark_ns: int) -> None:
        self.calls = calls
        self._services = services
        self._watermark_ns = watermark_ns
        self._by_peer: dict[tuple[str, str], dict[str, list[Callee]]] = defaultdict(lambda: defaultdict(list))
        self._anyone: dict[str, set[str]] = defaultdict(set)
        for call in calls.values():
            for callee in call.callees:
                if call.peer:
                    self._by_peer[call.caller, call.peer][callee.service].append(callee)
                    self._anyone[call.peer].add(callee.service)

    @property
    def is_ambiguous(self) -> bool:
        """Whether some calls must be told apart one by one."""
        return any(self.resolve(call_id).candidates for call_id in self.calls)

    @property
    def has_parents_that_are_no_calls(self) -> bool:
        """Whether some service calls others without client spans."""
        return any(not call.peer and not call.name for call in self.calls.values())

    def resolve(self, call_id: int) -> Resolution:
        """Which service a call leads to: the most specific experience decides."""
        call = self.calls.get(call_id)
        if call is None:
            return Resolution(callee="")
        if not call.peer:
            return Resolution(callee="", candidates=call.callees)
        candidates = call.callees
        if not candidates:
            by_service = self._by_peer.get((call.caller, call.peer), {})
            candidates = tuple(_merged(name, parts) for name, parts in sorted(by_service.items()))
        if len(candidates) == 1:
            return Resolution(callee=candidates[0].service)
        if candidates:
            return Resolution(callee=call.peer, candidates=candidates)
        if call.peer in self._services:
            return Resolution(callee=call.peer)
        anyone = self._anyone.get(call.peer, set())
        if len(anyone) == 1:
            return Resolution(callee=next(iter(anyone)))
        return Resolution(callee=call.peer, external=True)

    def is_evident(self, call_id: int) -> bool:
        """Whether an external callee has had time enough to report spans of its own."""
        return self._watermark_ns - self.calls[call_id].first_ns >= EVIDENCE_NS

    def edges(self) -> list[Edge]:
        """All edges with everything counted since they were learned, by caller and callee."""
        found: list[Edge] = []
        for call_id, call in self.calls.items():
            resolution = self.resolve(call_id)
            if resolution.candidates:
                found.extend(_edge(call.caller, callee.service, callee) for callee in call.callees)
            elif call.calls and resolution.callee and (not resolution.external or self.is_evident(call_id)):
                found.append(_edge(call.caller, resolution.callee, call))
        return merged_edges(found)


def merged_edges(edges: Sequence[Edge]) -> list[Edge]:
    """One edge per caller and callee, by name; a service's calls to itself are no edges."""
    merged: dict[tuple[str, str], Edge] = {}
    for edge in edges:
        if edge.caller == edge.callee:
            continue
        key = (edge.caller, edge.callee)
        known = merged.get(key)
        merged[key] = edge if known is None else _sum(known, edge)
    return [merged[key] for key in sorted(merged)]


def _sum(left: Edge, right: Edge) -> Edge:
    return Edge(
        caller=left.caller,
        callee=left.callee,
        calls=left.calls + right.calls,
        errors=left.errors + right.errors,
        first_seen_ns=min(left.first_seen_ns, right.first_seen_ns),
        last_seen_ns=max(left.last_seen_ns, right.last_seen_ns),
    )


def _edge(caller: str, callee: str, tally: Call | Callee) -> Edge:
    return Edge(
        caller=caller,
        callee=callee,
        calls=tally.calls,
        errors=tally.errors,
        first_seen_ns=tally.first_ns,
        last_seen_ns=tally.last_ns,
    )


def _merged(service: str, parts: Sequence[Callee]) -> Callee:
    return Callee(
        service=service,
        calls=sum(part.calls for part in parts),
        errors=sum(part.errors for part in parts),
        first_ns=min(part.first_ns for part in parts),
        last_ns=max(part.last_ns for part in parts),
    )
