"""From an investigation to a run: which pattern its leading hypothesis calls for, and whether it may still begin."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import CauseKind, Hypothesis, InvestigationCompleted
from libs.contracts.remediation import Mode, RemediationChanged, RunState, RunStep
from libs.runbooks import Runbook, match
from services.remediation.policy import lead_of
from services.remediation.run import Limits, Now, Opening, Run, open_run, run_id, watches

# An investigation this sure of a cause without a pattern is worth a human at once; a less sure one may be revised.
SURE: Final = 0.5
PATIENCE_S: Final = 30.0
_TOLD: Final = 3  # anomalies that the text of a detection names


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A pattern for a hypothesis.

    Attributes:
        runbook: The pattern.
        hypothesis: The leading hypothesis.
        revision: Revision of the investigation.
        lead: How many times as confident the hypothesis is as the next one that blames something else.
    """

    runbook: Runbook
    hypothesis: Hypothesis
    revision: int
    lead: float


def leading(investigation: InvestigationCompleted) -> Hypothesis | None:
    """The hypothesis of rank 1, or None."""
    return min(investigation.hypotheses, key=lambda hypothesis: hypothesis.rank, default=None)


def candidate(
    runbooks: Sequence[Runbook], investigation: InvestigationCompleted, incident: IncidentChanged
) -> Candidate | None:
    """The pattern that the leading hypothesis calls for, or None."""
    hypothesis = leading(investigation)
    if hypothesis is None:
        return None
    runbook = match(runbooks, hypothesis, incident)
    if runbook is None:
        return None
    lead = lead_of(investigation.hypotheses, hypothesis)
    return Candidate(runbook=runbook, hypothesis=hypothesis, revision=investigation.revision, lead=lead)


def same_fix(run: Run, found: Candidate | None) -> bool:
    """Whether a newer hypothesis still calls for what the run is about to do."""
    if found is None:
        return False
    old, new = run.hypothesis, found.hypothesis
    return (run.change.pattern, run.change.target, old.instance, old.change_id) == (
        found.runbook.name,
        new.service,
        new.instance,
        new.change_id,
    )


def attempt_of(found: Candidate, earlier: Sequence[Run], told: Sequence[RemediationChanged]) -> int | None:
    """Number of the attempt, or None when this fix must not be tried again on this incident.

    Only what did no harm may be tried again: a run that was canceled by nobody, one that policy let lapse for want of
    confidence, or one that succeeded before the trouble came back.

    Args:
        found: The pattern and its hypothesis.
        earlier: Runs of the incident that are still remembered.
        told: Every run of the incident, as its document holds them.
    """
    if any(run.revision >= found.revision for run in earlier):
        return None
    lapsed = {run.id for run in earlier if run.lapsed}
    sure = found.hypothesis.confidence >= found.runbook.least_confidence
    same = [run for run in told if (run.pattern, run.target) == (found.runbook.name, found.hypothesis.service)]
    for run in same:
        harmless = (
            run.state is RunState.SUCCEEDED
            or (run.state is RunState.CANCELED and not run.human_involved)
            or (run.id in lapsed and sure)
        )
        if not harmless:
            return None
    return len(same) + 1


def begin(found: Candidate, incident: IncidentChanged, mode: Mode, limits: Limits, attempt: int, now: Now) -> Run:
    """A run at its beginning."""
    hypothesis, runbook = found.hypothesis, found.runbook
    change = RemediationChanged(
        id=run_id(incident.id, runbook.name, hypothesis.service, attempt),
        incident_id=incident.id,
        pattern=runbook.name,
        mode=mode,
        action=runbook.action,
        target=hypothesis.service,
        state=RunState.REQUESTED,
        version=1,
        requested_at=now.wall_at,
        updated_at=now.wall_at,
        reason=f"{runbook.title}: {hypothesis.cause} (confidence {hypothesis.confidence:.2f})",
    )
    return open_run(
        Opening(
            change=change,
            incident_number=incident.number,
            hypothesis=hypothesis,
            revision=found.revision,
            lead=found.lead,
            limits=limits,
            inverse=runbook.inverse,
            anomalies=incident.anomalies,
            blamed_change_id=hypothesis.change_id or "",
        ),
        now,
    )


def needs_human(
    incident: IncidentChanged, investigation: InvestigationCompleted, limits: Limits, now: Now
) -> Run | None:
    """The one record that says that no pattern is known; None while the investigation may still change its mind."""
    leader = leading(investigation)
    sure = leader is not None and leader.confidence >= SURE
    if not sure and now.event_at < incident.opened_at + timedelta(seconds=PATIENCE_S):
        return None
    if leader is None:
        leader = Hypothesis(
            rank=1, service=_first(incident), kind=CauseKind.UNKNOWN, cause="nothing stands out", confidence=0
        )
    cause = f"{leader.cause} ({leader.kind.value} in {leader.service}, confidence {leader.confidence:.2f})"
    reason = f"needs a human: no known pattern for {cause}"
    change = RemediationChanged(
        id=run_id(incident.id, "", "", 1),
        incident_id=incident.id,
        pattern="",
        mode=Mode.OBSERVE,
        action="",
        target=leader.service,
        state=RunState.ESCALATED,
        version=1,
        detection=detection(leader.service, incident.anomalies),
        steps=(RunStep(name="escalate", status="success", at=now.wall_at, detail="left to a human"),),
        requested_at=now.wall_at,
        updated_at=now.wall_at,
        reason=reason,
    )
    return open_run(
        Opening(
            change=change,
            incident_number=incident.number,
            hypothesis=leader,
            revision=0,
            lead=0.0,
            limits=limits,
        ),
        now,
    )


def detection(target: str, anomalies: Sequence[AnomalyDetected]) -> str:
    """What fired, in words: the triggering anomalies, worst score first."""
    triggers = {watch.id for watch in watches(target, anomalies) if watch.trigger}
    fired = sorted((a for a in anomalies if a.id in triggers), key=lambda a: (-a.score, a.started_at, a.id))
    told = [f"{a.explanation or f'{a.signal.value} of {a.service} ({a.metric})'} [{a.detector}]" for a in fired[:_TOLD]]
    more = f" and {len(fired) - _TOLD} more" if len(fired) > _TOLD else ""
    return "; ".join(told) + more


def _first(incident: IncidentChanged) -> str:
    return incident.services[0] if incident.services else ""
