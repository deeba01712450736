"""Calls that nobody answers: an external peer that hangs, or one instance of a service that stopped serving.

A caller's timeout is evidence against the callee when the callee, which used to answer, has no server span for the
call, or when the peer never reports at all and only the calls to it fail or slow down.
"""

from typing import Final

from libs.contracts.investigation import CauseKind
from services.investigator.evidence import CallShift, Evidence, Source
from services.investigator.ranking.changes import caller_change
from services.investigator.ranking.finding import Finding, certainty
from services.investigator.trace_facts import InstanceShift, Unanswered

_SCALE: Final = 3.0
_LEAST_CALLS: Final = 3
_OFTEN: Final = 0.5
# Library calls inside the process (an embedded database) have a span but no other end to blame.
EMBEDDED: Final = frozenset({"sqlite", "sqlite3", "h2", "hsqldb", "duckdb", "derby"})


def unanswered(evidence: Evidence) -> list[Finding]:
    """Silent peers and silent instances."""
    return [*_silent_peers(evidence), *_silent_instances(evidence)]


def _silent_peers(evidence: Evidence) -> list[Finding]:
    """Peers that report no telemetry of their own and whose calls fail or take longer."""
    found = []
    edges = [c for c in evidence.calls if c.peer and c.source is Source.SPANS]
    for edge in edges:
        if edge.peer in evidence.graph.first_seen_ns or edge.peer.casefold() in EMBEDDED or not edge.now.requests:
            continue
        if _is_in_process(edge):
            continue
        count = edge.now.requests
        failures = (edge.now.error_ratio - edge.before.error_ratio) * count
        sure_failed = certainty(failures / (edge.before.error_ratio * count + 1.0) ** 0.5, _SCALE)
        slower_s = edge.now.mean_s - edge.before.mean_s
        sure_slow = certainty(slower_s / (3.0 * max(edge.mean_noise_s, 0.002)), 2.0)
        sure = max(sure_failed, sure_slow) * min(1.0, count / _LEAST_CALLS)
        if sure < 0.05:
            continue
        # The caller was changed just before: it may well ask for something else than before.
        changed = caller_change(evidence, edge.service)
        found.append(
            Finding(
                idea="unanswered",
                service=edge.peer,
                strength=sure * (1.0 - 0.7 * changed),
                text=f"{edge.now.error_ratio:.0%} of the calls {edge.service} -> {edge.peer} fail (ordinary "
                f"{edge.before.error_ratio:.1%}) after {edge.now.mean_s * 1e3:.0f} ms (ordinary "
                f"{edge.before.mean_s * 1e3:.0f} ms), and {edge.peer} reports nothing of its own",
                source="red",
                kind=CauseKind.DEPENDENCY,
            )
        )
        if changed > _OFTEN:
            found.append(
                Finding(
                    idea="unanswered",
                    service=edge.service,
                    strength=sure * changed * 0.7,
                    text=f"the calls {edge.service} -> {edge.peer} deviate right after a change of {edge.service}",
                    source="changes",
                )
            )
    return found


def _is_in_process(edge: CallShift) -> bool:
    """Whether the peer is another name of something that the caller runs itself: it never takes longer than 1 ms."""
    return edge.peer == edge.service or (edge.before.requests > 100 and edge.before.p95_s < 0.0002)


def _silent_instances(evidence: Evidence) -> list[Finding]:
    found = []
    for calls in evidence.traces.unanswered:
        if calls.callee not in evidence.graph.first_seen_ns or calls.now < _LEAST_CALLS:
            continue
        lost_ratio = 1.0 - calls.now_answered / calls.now
        used_ratio = calls.before_answered / calls.before if calls.before else 1.0
        if used_ratio < _OFTEN or lost_ratio <= 1.0 - used_ratio or not calls.now_failed:
            continue
        # An answer may still be on its way to us; a failed call without one is not.
        lost = min(calls.now - calls.now_answered, calls.now_failed)
        sure = certainty(lost / (1.0 - used_ratio + 1.0) ** 0.5, _SCALE)
        if sure < 0.05:
            continue
        fallen_silent = _fallen_silent(evidence, calls)
        instance = calls.instance or fallen_silent
        which = f" (instance {instance})" if instance else ""
        # Calls that time out in the queue of one that works at its usual pace: it has too much to do.
        keeps_up = calls.kept_up >= _OFTEN and not fallen_silent
        pace = f", which serves {calls.kept_up:.0%} of what it usually does" if keeps_up else ""
        found.append(
            Finding(
                idea="unanswered",
                service=calls.callee,
                strength=sure,
                text=f"{lost} of {calls.now} calls {calls.caller} -> {calls.callee}{which} failed after "
                f"{calls.failed_mean_s:.2f} s without any server span on the other side{pace}",
                source="traces",
                kind=None if keeps_up else CauseKind.HUNG_INSTANCE,
                instance=instance or None,
            )
        )
    return found


def _fallen_silent(evidence: Evidence, calls: Unanswered) -> str:
    """The one instance of the callee that served before and serves nothing now."""
    instances = [entry for entry in evidence.traces.instances if entry.service == calls.callee]
    silent = [entry for entry in instances if _is_silent(entry)]
    return silent[0].instance if len(silent) == 1 else ""


def _is_silent(entry: InstanceShift) -> bool:
    return entry.before.requests >= _LEAST_CALLS and entry.now.requests == 0
