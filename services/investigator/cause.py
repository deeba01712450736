"""From suspects to hypotheses: what kind of cause, in one line, with evidence for and against and what to do."""

from collections.abc import Mapping, Sequence
from typing import Final

from libs.contracts.investigation import CauseKind, Hypothesis
from libs.contracts.investigation import Evidence as EvidenceLine
from libs.contracts.telemetry import ChangeEvent
from services.investigator.advice import actions_for
from services.investigator.evidence import Evidence
from services.investigator.ranking.changes import clearly_first, describe, is_platform
from services.investigator.ranking.finding import Finding
from services.investigator.ranking.fuse import FROM_THE_PAST, WEIGHTS, Suspect
from services.investigator.ranking.history import corrected, kinds_before
from services.investigator.ranking.learned_kinds import LearnedKinds, learned_kinds

MOST_HYPOTHESES: Final = 6
_MOST_LINES: Final = 6
# Below this a change is a coincidence in time: its half-life is 15 minutes, so this is the effect of half an hour ago.
_LEAST_CHANGE: Final = 0.25
_LEAST_KIND: Final = 0.2
_NO_HARM: Final = FROM_THE_PAST | {"change", "affected", "precedence"}
# A kind that telemetry does not show is taken from history when a person named it for an incident this much alike, and
# only where it leads to advice for people: an action needs to be seen in telemetry.
_ADVICE_ONLY: Final = frozenset({CauseKind.DEPENDENCY, CauseKind.RESOURCE, CauseKind.NETWORK, CauseKind.CODE_ERROR})
_LEAST_HISTORY: Final = 0.75
_CLOSE: Final = 0.6  # of the leader's score: an alternative that a reader must know of


def hypotheses(evidence: Evidence, ranked: Sequence[Suspect]) -> tuple[Hypothesis, ...]:
    """At most six hypotheses, one per service, most likely first."""
    return tuple(
        _hypothesis(evidence, rank, suspect, ranked) for rank, suspect in enumerate(ranked[:MOST_HYPOTHESES], start=1)
    )


def _hypothesis(evidence: Evidence, rank: int, suspect: Suspect, ranked: Sequence[Suspect]) -> Hypothesis:
    kind, decisive = kind_of(suspect, kinds_before(evidence, suspect.service))
    change = next((c for c in evidence.changes if decisive and c.id == decisive.change_id), None)
    instance = _instance(suspect, kind)
    return Hypothesis(
        rank=rank,
        service=suspect.service,
        kind=kind,
        cause=one_line(suspect, kind, change, instance),
        confidence=round(min(max(suspect.confidence, 0.0), 1.0), 4),
        instance=instance,
        change_id=change.id if change is not None else None,
        evidence_for=_for(suspect, learned_kinds(evidence, suspect.service), kind),
        evidence_against=_against(evidence, suspect, kind, ranked),
        actions=actions_for(evidence, suspect.service, kind, change=change, instance=instance),
    )


def kind_of(suspect: Suspect, before: Mapping[CauseKind, float] | None = None) -> tuple[CauseKind, Finding | None]:
    """The kind of cause and the finding that decides it: a change that explains it, else the strongest mechanism.

    Args:
        suspect: The place.
        before: What history says about kinds at this place, in [-1, 1]; it shifts what telemetry shows, and decides
            alone only where nothing is done without people.
    """
    past = before or {}
    harmed = any(f.idea not in _NO_HARM for f in suspect.findings)
    blamed = clearly_first(suspect.findings)
    if blamed is not None and harmed:
        kind = blamed.kind or CauseKind.UNKNOWN
        # Only a denial shifts it: that a deploy was to blame before does not make the next one guilty.
        if blamed.strength + WEIGHTS["history"] * min(past.get(kind, 0.0), 0.0) >= _LEAST_CHANGE:
            return kind, blamed
    pointing = [f for f in suspect.findings if f.kind is not None and f.idea != "change" and f.strength >= _LEAST_KIND]
    surge = next((f for f in pointing if f.kind is CauseKind.TRAFFIC_SURGE), None)
    if surge is not None:  # demand explains a full pool, a full pool does not explain demand
        return CauseKind.TRAFFIC_SURGE, surge
    if pointing:
        best = max(pointing, key=lambda f: _pull(f, past))
        return best.kind or CauseKind.UNKNOWN, best
    failing = next((f for f in suspect.findings if f.idea == "own_failures" and f.strength >= _LEAST_KIND), None)
    known = max(past, key=lambda kind: (past[kind], kind), default=None)
    if known is not None and known in _ADVICE_ONLY and past[known] >= _LEAST_HISTORY and harmed:
        return known, None
    return (CauseKind.CODE_ERROR, failing) if failing else (CauseKind.UNKNOWN, None)


def _pull(finding: Finding, past: Mapping[CauseKind, float]) -> float:
    said = past.get(finding.kind, 0.0) if finding.kind is not None else 0.0
    return finding.strength * WEIGHTS.get(finding.idea, 1.0) + WEIGHTS["history"] * said


def one_line(suspect: Suspect, kind: CauseKind, change: ChangeEvent | None, instance: str | None) -> str:
    """The cause in one line for people."""
    name = suspect.service
    where = f"instance {instance} of {name}" if instance else name
    match kind:
        case CauseKind.DEPLOY | CauseKind.FLAG | CauseKind.CONFIG if change is not None:
            return f"{describe(change)} broke {name}"
        case CauseKind.MEMORY_LEAK:
            return f"{where} leaks memory"
        case CauseKind.HUNG_INSTANCE:
            return f"{where} stopped answering"
        case CauseKind.DEPENDENCY:
            return f"the external dependency {name} does not answer as it should"
        case CauseKind.TRAFFIC_SURGE:
            return f"more requests than {name} can serve"
        case CauseKind.SATURATION:
            return f"{name} is saturated"
        case CauseKind.RESOURCE:
            return f"{where} runs out of cpu, disk or memory"
        case CauseKind.NETWORK:
            return f"the network at {name} delays its calls"
        case CauseKind.CODE_ERROR:
            return f"{name} fails in its own code"
        case _:
            return f"something inside {name} deviates"


def _instance(suspect: Suspect, kind: CauseKind) -> str | None:
    if kind not in (CauseKind.MEMORY_LEAK, CauseKind.HUNG_INSTANCE, CauseKind.RESOURCE):
        return None
    return next((f.instance for f in suspect.findings if f.kind is kind and f.instance), None)


def _line(finding: Finding) -> EvidenceLine:
    return EvidenceLine(text=finding.text, weight=round(min(abs(finding.strength), 1.0), 3), source=finding.source)


def _for(suspect: Suspect, learned: LearnedKinds, kind: CauseKind) -> tuple[EvidenceLine, ...]:
    """The strongest lines; what history says of place and kind is always among them."""
    lines = [finding for finding in suspect.findings if finding.strength > 0]
    weight = learned.trust * learned.shares.get(kind.value, 0.0)
    taught = []
    if weight >= _LEAST_KIND:
        taught.append(EvidenceLine(text=learned.told(kind.value), weight=round(weight, 3), source="confirmed"))
    most = _MOST_LINES - len(taught)
    past = [finding for finding in lines[most:] if finding.idea == "history"]
    return (*(_line(finding) for finding in (*lines[: most - len(past)], *past)), *taught)


def _against(
    evidence: Evidence, suspect: Suspect, kind: CauseKind, ranked: Sequence[Suspect]
) -> tuple[EvidenceLine, ...]:
    lines = [_line(finding) for finding in suspect.findings if finding.strength < 0]
    past = corrected(evidence, suspect.service, kind)
    if past is not None:
        text = (
            f"{past.number} looked {past.similarity:.0%} alike and was first taken for {kind.value}; "
            f"{past.confirmed_by} corrected it to {past.root_cause_kind}: {past.root_cause}"
        )
        lines.append(EvidenceLine(text=text, weight=past.similarity, source=f"incident {past.number}"))
    rivals = [
        other for other in ranked[:3] if other.service != suspect.service and other.score >= _CLOSE * suspect.score
    ]
    lines += [
        EvidenceLine(
            text=f"{rival.service} is about as suspect: {rival.findings[0].text}",
            weight=round(min(rival.confidence, 1.0), 3),
            source=rival.findings[0].source,
        )
        for rival in rivals
        if rival.findings
    ]
    changed = [f for f in suspect.findings if f.idea == "change" and f.strength >= _LEAST_CHANGE]
    if len(changed) > 1 and clearly_first(suspect.findings) is None:
        text = f"{len(changed)} changes of {suspect.service} explain the moment about as well; none of them is blamed"
        lines.append(EvidenceLine(text=text, weight=0.5, source="changes"))
    ideas = {finding.idea for finding in suspect.findings if finding.strength > 0.1}
    if not ideas & {"own_time", "own_failures", "unanswered", "never_seen_callee"}:
        lines.append(
            EvidenceLine(text=f"no request was seen to be slow or failing by {suspect.service}'s own doing", weight=0.3)
        )
    lines += [
        EvidenceLine(
            text=f"Paramedic's own {describe(change)} is in the window", weight=0.2, source=f"change {change.id}"
        )
        for change in evidence.changes
        if change.service == suspect.service and is_platform(change)
    ]
    return tuple(lines[:_MOST_LINES])
