"""Causes come first: the service that left its band before the others, as far as the steps of time can tell."""

from typing import Final

from services.investigator.evidence import Evidence, Source
from services.investigator.ranking.finding import Finding

_NS: Final = 1e9
_WEAK: Final = 1.0


def precedence(evidence: Evidence) -> list[Finding]:
    """Who deviated first, and callers that deviated clearly before what they call."""
    first = {
        shift.service: shift.first_ns
        for shift in evidence.calls
        if not shift.peer and shift.first_ns and shift.source is Source.SPANS
    }
    if len(first) < 2:
        return []
    earliest = min(first.values())
    found = []
    for service, at_ns in sorted(first.items()):
        later_s = (at_ns - earliest) / _NS
        # Two steps of slack: a step that holds few requests dates a deviation one step late.
        strength = _WEAK * max(0.0, 1.0 - later_s / (6.0 * evidence.window_s))
        if strength > 0:
            when = "first of all" if later_s == 0 else f"{later_s:.0f} s after the first"
            found.append(
                Finding(
                    idea="precedence",
                    service=service,
                    strength=strength,
                    text=f"{service} began to deviate {when}",
                    source="red",
                )
            )
    return found
