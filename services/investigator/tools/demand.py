"""How many traces need each service, before and now: what its users ask for, whatever its callers retry."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from libs.stores.telemetry import SpanRow
from services.investigator.tools.span_set import SpanSet
from services.investigator.trace_facts import Demand

_NS: Final = 1e9
_LEAST_S: Final = 5.0  # a rate over less is chance
_SLOWEST: Final = 0.95


@dataclass(slots=True)
class _Asked:
    """Traces in which a service was asked.

    Attributes:
        starts: First request of each, unix nanoseconds.
        durations: Of all requests, nanoseconds.
    """

    starts: dict[str, int] = field(default_factory=dict)
    durations: list[int] = field(default_factory=list)

    def add(self, row: SpanRow) -> None:
        self.starts[row.trace_id] = min(row.start_ns, self.starts.get(row.trace_id, row.start_ns))
        self.durations.append(row.duration_ns)


def read_demand(before: SpanSet, now: SpanSet) -> tuple[Demand, ...]:
    """One entry per service that traces needed in both windows, by service."""
    callee_of = {**before.callee_of, **now.callee_of}
    ordinary, current = (_asked(spans, callee_of) for spans in (before, now))
    found = []
    for service in sorted(ordinary.keys() & current.keys()):
        before_per_s, earlier = _rate(ordinary[service], before)
        now_per_s, current_count = _rate(current[service], now)
        found.append(
            Demand(service=service, before_per_s=before_per_s, now_per_s=now_per_s, before=earlier, now=current_count)
        )
    return tuple(found)


def _asked(spans: SpanSet, callee_of: dict[tuple[str, str], str]) -> dict[str, _Asked]:
    """Requests to each service, answered or not: of what its queue has lost only the caller has a span."""
    found: dict[str, _Asked] = defaultdict(_Asked)
    for row in spans.serving:
        found[row.service].add(row)
    for call in spans.calls:
        callee = callee_of.get((call.service, call.peer))
        if callee is not None:
            found[callee].add(call)
    return found


def _rate(asked: _Asked, spans: SpanSet) -> tuple[float, int]:
    """Traces per second, and how many: by their start, up to when all of them had time to end.

    What waits in a queue has no span yet: counted by their end, requests come no faster than they are served.
    """
    ends = [row.start_ns + row.duration_ns for row in spans.rows]
    since_ns, last_ns = min(ends), max(ends)
    until_ns = last_ns - int(np.quantile(asked.durations, _SLOWEST))
    if (until_ns - since_ns) / _NS < _LEAST_S:
        until_ns = last_ns
    count = sum(since_ns <= start_ns <= until_ns for start_ns in asked.starts.values())
    return count / max((until_ns - since_ns) / _NS, 1.0), count
