"""The call graph as grouping needs it: who is one call away from whom, and who stands at the entry."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from libs.stores.telemetry import Edge

_NOBODY: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGraph:
    """Who calls whom, without direction where only nearness counts.

    Attributes:
        callees: Callees by caller.
        callers: Callers by callee.
    """

    callees: Mapping[str, frozenset[str]] = field(default_factory=dict)
    callers: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def neighbours(self, service: str) -> frozenset[str]:
        """Services one call away in either direction, without the service itself."""
        return (self.callees.get(service, _NOBODY) | self.callers.get(service, _NOBODY)) - {service}

    def around(self, services: Iterable[str]) -> frozenset[str]:
        """Services one call away from any of `services`, without these."""
        known = frozenset(services)
        return frozenset().union(*(self.neighbours(service) for service in known)) - known

    def is_entry(self, service: str) -> bool:
        """Whether the service calls others and nobody that reports telemetry calls it: users meet it first."""
        return bool(self.callees.get(service)) and not self.callers.get(service, _NOBODY) - {service}

    def entry_most(self, services: Iterable[str]) -> tuple[str, ...]:
        """Those of `services` that no other of them calls, by name; all of them where they call in a circle."""
        affected = frozenset(services)
        first = sorted(
            service for service in affected if not (self.callers.get(service, _NOBODY) - {service}) & affected
        )
        return tuple(first or sorted(affected))


def call_graph(edges: Iterable[Edge]) -> CallGraph:
    """Build the graph from learned edges."""
    callees: dict[str, set[str]] = {}
    callers: dict[str, set[str]] = {}
    for edge in edges:
        callees.setdefault(edge.caller, set()).add(edge.callee)
        callers.setdefault(edge.callee, set()).add(edge.caller)
    return CallGraph(
        callees=MappingProxyType({name: frozenset(found) for name, found in callees.items()}),
        callers=MappingProxyType({name: frozenset(found) for name, found in callers.items()}),
    )
