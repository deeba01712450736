"""A service that does something else than before for the same requests: log statements and operations gone or new.

A branch that returns early, an exception that skips the rest: what a service writes and calls per request of each kind
changes where the fault is, and upstream only as far as the answers differ.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from libs.contracts.investigation import CauseKind
from services.investigator.evidence import Evidence
from services.investigator.ranking.finding import Finding, certainty

_SCALE: Final = 4.0  # standard deviations
_WARN: Final = 13
_ERROR: Final = 17
# What is new and what is gone together are a replaced branch; alone, either may be a rare request.
_SECOND: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """One pattern that is written, or operation that is done, more or less often.

    Attributes:
        distance: Standard deviations from what the requests predict, signed.
        text: What it is, with its counts.
        source: logs or traces.
        failing: Whether it is an error.
    """

    distance: float
    text: str
    source: str
    failing: bool


def behaviour(evidence: Evidence) -> list[Finding]:
    """How far each service's behaviour per request moved, without what its callees explain."""
    changes: dict[str, list[_Change]] = defaultdict(list)
    for service, change in (*_of_logs(evidence), *_of_operations(evidence)):
        changes[service].append(change)
    relieved = _relieved(evidence)
    moved = {service: _moved(entries, relieved[service]) for service, entries in changes.items()}
    greatest = max(moved.values(), default=0.0)
    found = []
    for service, distance in sorted(moved.items()):
        below = evidence.graph.below(service)
        explained = max((certainty(moved[callee], _SCALE) for callee in below if callee in moved), default=0.0)
        # A callee that moved less cannot be why its caller moved more.
        inherited = explained if any(moved.get(callee, 0.0) >= 0.6 * distance for callee in below) else 0.0
        strength = certainty(distance, _SCALE) * (distance / greatest if greatest else 0.0) * (1.0 - 0.7 * inherited)
        if strength < 0.03:
            continue
        top = max(changes[service], key=lambda change: abs(change.distance))
        found.append(
            Finding(
                idea="behaviour",
                service=service,
                strength=strength,
                text=f"{service} behaves differently for the same requests: {top.text}",
                source=top.source,
                kind=CauseKind.CODE_ERROR if top.failing else None,
            )
        )
    return found


def _relieved(evidence: Evidence) -> dict[str, float]:
    """How surely a service complained before and does no more: what it does again is recovery, not a fault."""
    relieved: dict[str, float] = defaultdict(float)
    for log in evidence.logs:
        if log.severity >= _ERROR and log.now < log.expected and log.distance is not None:
            relieved[log.service] = max(relieved[log.service], -log.distance)
    return relieved


def _moved(changes: list[_Change], relieved: float) -> float:
    failing = max((change.distance for change in changes if change.failing), default=0.0)
    more = max((change.distance for change in changes if not change.failing), default=0.0)
    up = max(failing, more - relieved)
    down = max((-change.distance for change in changes), default=0.0)
    return max(up, down, 0.0) + _SECOND * max(min(up, down), 0.0)


def _of_logs(evidence: Evidence) -> Iterator[tuple[str, _Change]]:
    unseen = _unseen_share(evidence)
    written: dict[str, int] = defaultdict(int)
    for log in evidence.logs:
        written[log.service] += log.now
    for log in evidence.logs:
        expected = log.expected if log.before else unseen[log.service] * written[log.service]
        if log.severity >= _WARN and log.now < expected:  # fewer complaints are no fault
            continue
        name = f"{log.logger} {log.sample[:80]!r}".strip()
        yield (
            log.service,
            _Change(
                distance=log.distance if log.distance is not None else _distance(log.now, expected, log.before),
                text=f"log {name} {log.now} times, {expected:.1f} expected",
                source="logs",
                failing=log.severity >= _ERROR and log.now > expected,
            ),
        )


def _unseen_share(evidence: Evidence) -> dict[str, float]:
    """Share of records of patterns not seen before that chance alone brings, by service.

    Source: Good, "The population frequencies of species and the estimation of population parameters", Biometrika
    1953: the share of patterns seen exactly once.
    """
    once: dict[str, int] = defaultdict(int)
    all_before: dict[str, int] = defaultdict(int)
    for log in evidence.logs:
        once[log.service] += log.before == 1
        all_before[log.service] += log.before
    return {service: (once[service] + 1) / (count + 1) for service, count in all_before.items()}


def _of_operations(evidence: Evidence) -> Iterator[tuple[str, _Change]]:
    for operation in evidence.traces.operations:
        yield (
            operation.service,
            _Change(
                distance=operation.distance,
                text=f"operation {operation.operation} {operation.now} times, {operation.expected:.1f} expected",
                source="traces",
                failing=False,
            ),
        )


def _distance(now: int, expected: float, before: int) -> float:
    """Standard deviations between a count and its prediction, both Poisson; requests cluster, so 10 % on top."""
    variance = expected + 0.5 + expected * expected / max(before, 1) + (0.1 * expected) ** 2
    return (now - expected) / math.sqrt(variance)
