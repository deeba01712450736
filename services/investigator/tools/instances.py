"""Requests per instance and version, before and now: one bad instance beside good ones, or one that fell silent."""

from collections import defaultdict

import numpy as np

from libs.stores.telemetry import SpanRow
from services.investigator.levels import Rates
from services.investigator.tools.span_set import SpanSet
from services.investigator.trace_facts import InstanceShift

_NS = 1e9


def read_instances(before: SpanSet, now: SpanSet) -> tuple[InstanceShift, ...]:
    """One entry per instance that served a request in either window, by service and instance."""
    ordinary, current = _grouped(before), _grouped(now)
    found = []
    for key in sorted(ordinary.keys() | current.keys()):
        rows = current.get(key, []) or ordinary[key]
        found.append(
            InstanceShift(
                service=key[0],
                instance=key[1],
                version=rows[0].version,
                before=_rates(ordinary.get(key, [])),
                now=_rates(current.get(key, [])),
                last_ns=max(row.start_ns + row.duration_ns for row in rows),
            )
        )
    return tuple(found)


def _grouped(spans: SpanSet) -> dict[tuple[str, str], list[SpanRow]]:
    groups: dict[tuple[str, str], list[SpanRow]] = defaultdict(list)
    for row in spans.serving:
        if row.instance:
            groups[row.service, row.instance].append(row)
    return groups


def _rates(rows: list[SpanRow]) -> Rates:
    if not rows:
        return Rates()
    ends = np.array([row.start_ns + row.duration_ns for row in rows])
    seconds = np.array([row.duration_ns for row in rows]) / _NS
    return Rates(
        requests=len(rows),
        requests_per_s=len(rows) / max((int(ends.max()) - int(ends.min())) / _NS, 1.0),
        error_ratio=sum(row.status == 2 for row in rows) / len(rows),
        mean_s=float(seconds.mean()),
        p95_s=float(np.quantile(seconds, 0.95)),
    )
