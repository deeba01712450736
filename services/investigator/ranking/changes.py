"""A change of the suspected service shortly before its deviation began; a change elsewhere is a coincidence.

A change alone blames nobody: it multiplies what the telemetry says about the same service (see fuse.py).
"""

import math
from collections.abc import Sequence
from typing import Final

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from services.investigator.evidence import Evidence, Source
from services.investigator.ranking.finding import Finding

# A restart or a way back to what served before is seldom a cause.
_ROUTINE: Final = 0.2
PLATFORM_ACTOR: Final = "paramedic"
# Half of the belief is gone when the deviation begins 15 minutes after the change.
_HALF_LIFE_S: Final = 900.0
# Windows blur the beginning: a deviation seen up to 20 s before the change's time stamp may still be its effect.
_BLUR_S: Final = 20.0
# Two changes of one service a quarter of an hour apart: only then is the nearer one more likely than not.
_CLEAR: Final = 2.0
_SIGNS: Final = frozenset({Signal.LATENCY, Signal.ERRORS, Signal.SATURATION})
_SIGN: Final = 2.0  # times as far out as ordinary operation ever went
KIND_OF: Final = {
    ChangeKind.DEPLOY: CauseKind.DEPLOY,
    ChangeKind.FLAG: CauseKind.FLAG,
    ChangeKind.CONFIG: CauseKind.CONFIG,
    ChangeKind.SCALE: CauseKind.CONFIG,
}


def changes(evidence: Evidence) -> list[Finding]:
    """Changes by people by service, stronger the closer before the deviation."""
    found = []
    for change in evidence.changes:
        deviated_ns = first_deviation_ns(evidence, change.service)
        if is_platform(change) or is_undone(change, evidence.changes, deviated_ns):
            continue
        distance_s = deviated_ns / 1e9 - change.timestamp.timestamp()
        routine = is_restart(change) or restores(change, evidence.changes)
        strength = plausibility(distance_s) * (_ROUTINE if routine else 1.0)
        if strength < 0.02:
            continue
        sides = _side_by_side(evidence, change)
        found.append(
            Finding(
                idea="change",
                service=change.service,
                strength=max(-1.0, min(1.0, strength * sides[0])),
                text=f"{describe(change)} {abs(distance_s):.0f} s {'before' if distance_s >= 0 else 'after'} "
                f"{change.service} began to deviate{sides[1]}",
                source=f"change {change.id}",
                kind=KIND_OF[change.kind],
                change_id=change.id,
            )
        )
    return found


def caller_change(evidence: Evidence, service: str) -> float:
    """Plausibility of the best change of a service by people, measured to the beginning of the incident."""
    began_s = evidence.started_ns / 1e9
    return max(
        (
            plausibility(began_s - change.timestamp.timestamp())
            for change in evidence.changes
            if change.service == service and not is_platform(change) and not is_restart(change)
        ),
        default=0.0,
    )


def plausibility(distance_s: float) -> float:
    """How well a change this long before the deviation explains it, in [0, 1]; 0 when it came after."""
    if distance_s < -_BLUR_S:
        return 0.0
    return math.exp(-math.log(2.0) * max(distance_s, 0.0) / _HALF_LIFE_S)


def is_platform(change: ChangeEvent) -> bool:
    """Whether Paramedic itself made the change; its fixes are evidence, not causes."""
    return change.actor.casefold() == PLATFORM_ACTOR


def is_undone(change: ChangeEvent, changes: Sequence[ChangeEvent], before_ns: int) -> bool:
    """Whether a later change brought back what was there before, and that before the deviation began."""
    return any(
        change.timestamp < later.timestamp
        and later.timestamp.timestamp() * 1e9 <= before_ns
        and (later.service, later.kind) == (change.service, change.kind)
        and _brings_back(change, later)
        for later in changes
    )


def restores(change: ChangeEvent, changes: Sequence[ChangeEvent]) -> bool:
    """Whether a change brought back what had served before: known to work, so hardly the cause.

    What undoes a way back does not: it deploys once more what somebody had a reason to take away.
    """
    return any(
        earlier.timestamp < change.timestamp
        and (earlier.service, earlier.kind) == (change.service, change.kind)
        and _brings_back(earlier, change)
        and not _is_way_back(earlier, changes)
        for earlier in changes
    )


def _is_way_back(change: ChangeEvent, changes: Sequence[ChangeEvent]) -> bool:
    said = change.attributes.get("operation", "") == "rollback"
    return said or is_platform(change) or restores(change, changes)


def _brings_back(change: ChangeEvent, later: ChangeEvent) -> bool:
    if change.attributes.get("flag") != later.attributes.get("flag"):
        return False
    if change.previous_version is not None:
        return later.version == change.previous_version
    was = change.attributes.get("previous")
    return was is not None and later.attributes.get("enabled") == was


def clearly_first(findings: Sequence[Finding]) -> Finding | None:
    """The change that explains the deviation, None when several do about as well: nobody is blamed by lot."""
    ranked = sorted((f for f in findings if f.idea == "change"), key=lambda f: -f.strength)
    if not ranked or (len(ranked) > 1 and ranked[0].strength < _CLEAR * ranked[1].strength):
        return None
    return ranked[0]


def is_restart(change: ChangeEvent) -> bool:
    """Whether the change only restarted something."""
    return change.attributes.get("operation", "") == "restart"


def describe(change: ChangeEvent) -> str:
    """The change in words."""
    versions = f" from {change.previous_version or '?'} to {change.version}" if change.version else ""
    flag = f" {change.attributes['flag']}" if change.attributes.get("flag") else ""
    return f"{change.kind} of {change.service}{flag}{versions} by {change.actor or 'unknown'}"


def first_deviation_ns(evidence: Evidence, service: str) -> int:
    """When the service was first seen to deviate; when the incident began, where its own signals do not say.

    A metric that left its level for good dates the deviation too: what was changed after the first sign did not cause
    it, however close to the alarm it was.
    """
    shifts = [evidence.own(service, source) for source in Source]
    times = [shift.first_ns for shift in shifts if shift is not None and shift.first_ns]
    signs = [
        metric.onset_ns
        for metric in evidence.metrics
        if metric.service == service and metric.onset_ns and metric.rarity >= _SIGN and metric.signal in _SIGNS
    ]
    return min((*times, *signs), default=evidence.started_ns)


def _side_by_side(evidence: Evidence, change: ChangeEvent) -> tuple[float, str]:
    """Whether only the changed version misbehaves, where two versions serve at the same time."""
    instances = [e for e in evidence.traces.instances if e.service == change.service and e.now.requests >= 5]
    new = [e for e in instances if change.version and e.version == change.version]
    old = [e for e in instances if e.version and e.version != change.version]
    if not new or not old:
        return 1.0, ""
    new_bad = max(max(e.now.error_ratio for e in new), 1e-3), max(e.now.mean_s for e in new)
    old_bad = max(max(e.now.error_ratio for e in old), 1e-3), max(e.now.mean_s for e in old)
    if new_bad[0] > 3.0 * old_bad[0] or new_bad[1] > 2.0 * old_bad[1]:
        return 1.0, f"; only version {change.version} misbehaves, {old[0].version} serves beside it unharmed"
    if old_bad[0] > 3.0 * new_bad[0] or old_bad[1] > 2.0 * new_bad[1]:
        return 0.3, f"; but version {old[0].version} beside it misbehaves more"
    return 1.0, ""
