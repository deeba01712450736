"""The investigation protocol: ask every question, rank, match a runbook and ask its questions, say what is missing."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.contracts.codec import utc_from_ns
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import (
    CauseKind,
    Hypothesis,
    InvestigationCompleted,
    InvestigationStep,
    RecommendedAction,
)
from libs.errors import NotFound
from libs.runbooks.parameters import Facts, fill_all
from services.investigator.cause import hypotheses
from services.investigator.evidence import Evidence
from services.investigator.gather import Gathered, gather
from services.investigator.ranking.fuse import suspects
from services.investigator.scene import Scene
from services.investigator.tools.runbook import runbook_for
from services.investigator.tools.tool import tools

NAMESPACE: Final = uuid.UUID("6d8a2c0e-5b1f-5e0a-9d5c-0f7a3b6e4c21")
_SURE_ENOUGH: Final = 0.5
_MOST_ACTIONS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Investigated:
    """An investigation with what it rests on, for whoever goes on from it.

    Attributes:
        completed: The result.
        evidence: What the ranking saw.
    """

    completed: InvestigationCompleted
    evidence: Evidence


def investigation_id(incident_id: str, revision: int) -> str:
    """The same incident and revision always have the same id."""
    return str(uuid.uuid5(NAMESPACE, f"{incident_id}/{revision}"))


def investigate(scene: Scene, *, revision: int, started_at: datetime) -> Investigated:
    """Investigate without a model.

    Args:
        scene: What is investigated, up to which moment.
        revision: Number of this result.
        started_at: Wall clock.
    Raises:
        Unavailable: a store cannot be reached; ask again later.
    """
    began_s = scene.timer()
    gathered = gather(scene)
    ranked = hypotheses(gathered.evidence, suspects(gathered.evidence))
    runbook = runbook_for(scene, ranked)
    steps = (*gathered.steps, *_runbook_steps(scene, ranked, gathered.evidence))
    completed = InvestigationCompleted(
        id=investigation_id(scene.incident.id, revision),
        incident_id=scene.incident.id,
        revision=revision,
        as_of=utc_from_ns(scene.as_of_ns),
        started_at=started_at,
        duration_s=round(max(scene.timer() - began_s, 0.0), 4),
        hypotheses=ranked,
        recommended_actions=recommended(ranked),
        steps=steps,
        gaps=(*gathered.gaps, *_doubts(scene.incident, gathered, ranked)),
        similar_incidents=gathered.evidence.similar,
        runbook=runbook.name if runbook is not None else "",
    )
    return Investigated(completed=completed, evidence=gathered.evidence)


def recommended(ranked: Sequence[Hypothesis]) -> tuple[RecommendedAction, ...]:
    """Actions of the leading hypotheses in order, each once."""
    found: list[RecommendedAction] = []
    for hypothesis in ranked[:_MOST_ACTIONS]:
        found.extend(action for action in hypothesis.actions if action not in found)
    return tuple(found[:_MOST_ACTIONS])


def _runbook_steps(scene: Scene, ranked: Sequence[Hypothesis], evidence: Evidence) -> list[InvestigationStep]:
    """The matching runbook's read-only questions, asked of the same tools."""
    runbook = runbook_for(scene, ranked)
    if runbook is None:
        return []
    change = next((c for c in evidence.changes if c.id == ranked[0].change_id), None)
    facts = Facts(hypothesis=ranked[0], incident=scene.incident, change=change)
    known = tools()
    steps = []
    for step in runbook.steps:
        tool = known.get(step.tool)
        if tool is None:
            continue
        try:
            arguments = fill_all(step.arguments, facts)
        except NotFound:
            continue
        steps.append(tool.run(scene, arguments).step)
    return steps


def _doubts(incident: IncidentChanged, gathered: Gathered, ranked: Sequence[Hypothesis]) -> list[str]:
    """What a reader should know was not known."""
    evidence = gathered.evidence
    doubts = []
    if not ranked:
        doubts.append("Nothing deviates in the telemetry that was recorded: the cause may lie outside of it.")
    elif ranked[0].confidence < _SURE_ENOUGH:
        doubts.append(f"No hypothesis is more likely than not; the first has {ranked[0].confidence:.0%}.")
    if ranked and ranked[0].kind is CauseKind.UNKNOWN:
        doubts.append(f"The mechanism inside {ranked[0].service} is not visible in its telemetry.")
    if not evidence.changes:
        doubts.append("No change event reached Paramedic in the hour before: an unreported change cannot be ruled out.")
    silent = sorted({c.peer for c in evidence.calls if c.peer and c.peer not in evidence.graph.first_seen_ns})
    if silent:
        doubts.append(f"{', '.join(silent[:5])} report no telemetry: seen only from their callers.")
    before_s = (evidence.started_ns - min(evidence.graph.first_seen_ns.values(), default=evidence.started_ns)) / 1e9
    if before_s < 120.0:
        doubts.append(f"Only {before_s:.0f} s of ordinary operation are known before {incident.number}.")
    return doubts
