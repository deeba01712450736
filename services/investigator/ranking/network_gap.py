"""Where calls became expensive between the two ends: client span minus server span, summed at the service they share.

A slow network interface, a starved process or a full accept queue delays every call at one end; the service at which
most slow edges meet, and most of whose edges are slow, holds the cause.
"""

from collections import defaultdict
from typing import Final

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from services.investigator.evidence import Evidence
from services.investigator.ranking.finding import Finding, certainty
from services.investigator.ranking.own_excess import symptom
from services.investigator.trace_facts import CallGap

_FLOOR_S: Final = 0.010  # a minor garbage collection or a full scheduler slice at either end
_SCALE: Final = 3.0
_LEAST_BASELINE: Final = 3  # calls
_ONE_CALLEE: Final = 0.5


def network_gap(evidence: Evidence) -> list[Finding]:
    """Extra cost of calls by service at either end."""
    gaps = [gap for gap in evidence.traces.gaps if gap.before.points >= _LEAST_BASELINE]
    at: dict[str, list[CallGap]] = defaultdict(list)
    for gap in gaps:
        at[gap.caller].append(gap)
        at[gap.callee].append(gap)
    cost = {service: sum(_extra(gap) * gap.calls for gap in ends) for service, ends in at.items()}
    greatest = max(cost.values(), default=0.0)
    if greatest <= 0:
        return []
    found = []
    for service, ends in sorted(at.items()):
        worst = max(ends, key=_distance)
        touched = max(
            _touched([gap for gap in ends if gap.callee == service]),
            _touched([gap for gap in ends if gap.caller == service]) * _sides(service, ends),
        )
        sure = max(certainty(_distance(gap), _SCALE) * gap.calls / (gap.calls + 1) for gap in ends)
        if sure < 0.05:
            continue
        text = (
            f"calls {worst.caller} -> {worst.callee} cost {worst.now_s * 1e3:.0f} ms beyond the callee's own time "
            f"(ordinary {worst.before.median * 1e3:.1f} ms); {touched:.0%} of the calls at {service} are so"
        )
        strength = sure * cost[service] / greatest * touched * symptom(evidence, Signal.LATENCY)
        found.append(
            Finding(
                idea="network_gap",
                service=service,
                strength=strength,
                text=text,
                source="traces",
                kind=CauseKind.NETWORK,
            )
        )
    return found


def _touched(ends: list[CallGap]) -> float:
    """Share of the calls on one side of a service that became expensive."""
    calls = sum(gap.calls for gap in ends)
    return sum(gap.calls * certainty(_distance(gap), _SCALE) for gap in ends) / calls if calls else 0.0


def _sides(service: str, ends: list[CallGap]) -> float:
    """1 when calls to several callees are slow; a single slow callee is more likely the slow end itself."""
    slow = {gap.callee for gap in ends if gap.caller == service and certainty(_distance(gap), _SCALE) > 0.5}
    return 1.0 if len(slow) > 1 else _ONE_CALLEE


def _extra(gap: CallGap) -> float:
    """Seconds a call costs more: half of the calls by their median, or three quarters by the lower quartile.

    Never more than the mean says, so that one slow call is not a slow edge.
    """
    shifts = (gap.now_s - gap.before.median, gap.now_low_s - gap.low_before.median)
    return max(min(max(shifts), gap.now_mean_s - gap.low_before.median), 0.0)


def _distance(gap: CallGap) -> float:
    typical = (gap.now_s - gap.before.median) / (gap.before.spread + _FLOOR_S)
    low = (gap.now_low_s - gap.low_before.median) / (gap.low_before.spread + _FLOOR_S)
    return min(max(typical, low, 0.0), _extra(gap) / _FLOOR_S)
