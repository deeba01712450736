"""Policy: whether a run may go on now: mode, halt switch, how sure the investigation is, guardrails."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.investigation import Hypothesis
from libs.contracts.remediation import Mode
from libs.contracts.telemetry import ChangeEvent
from libs.runbooks.runbook import Runbook
from services.remediation.callees import objects_to, sufferer
from services.remediation.facts import Ruling, Verdict
from services.remediation.run import WATCHING, Phase, Run

ACTOR: Final = "paramedic"
HOUR: Final = timedelta(hours=1)
ACTING: Final = frozenset({*WATCHING, Phase.UNDO})


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What policy looks at.

    Attributes:
        runbook: The pattern of the run.
        mode: Mode that holds now.
        why_observe: Why nothing may be applied at all, "" when it may (no executor is configured).
        halted: Who halted self-healing and why, "" while it is not halted.
        runs: Every other run that is active or was applied within the last hour.
        changes: Changes of the target by others, within the guardrail's time.
        ailing: Open anomalies that show something below the target to fail, be slow or be silent.
        event_at: Event time now.
    """

    runbook: Runbook
    mode: Mode
    why_observe: str = ""
    halted: str = ""
    runs: tuple[Run, ...] = ()
    changes: tuple[ChangeEvent, ...] = ()
    ailing: tuple[AnomalyDetected, ...] = ()
    event_at: datetime


def judge(run: Run, situation: Situation) -> Verdict:
    """The first rule that objects decides; reasons carry the figures but no countdown, so that they can be compared."""
    mode = Mode.OBSERVE if situation.why_observe else situation.mode
    if mode is Mode.OBSERVE:
        return Verdict(ruling=Ruling.PROPOSE, mode=mode, reason=situation.why_observe or "the mode is observe")
    if situation.halted:
        return Verdict(ruling=Ruling.WAIT, mode=mode, reason=situation.halted)
    for ruling, reason in _objections(run, situation):
        return Verdict(ruling=ruling, mode=mode, reason=reason)
    lead = f"{run.lead:.1f} times the next" if run.lead < 100 else "nothing else explains it"
    sure = f"confidence {run.hypothesis.confidence:.2f}, {lead}"
    return Verdict(ruling=Ruling.ALLOW, mode=mode, reason=f"mode {mode.value}; {sure}; no guardrail objects")


def _objections(run: Run, situation: Situation) -> Iterable[tuple[Ruling, str]]:
    yield from _blast_radius(run, situation)
    yield from _callees(run, situation)
    yield from _sureness(run, situation)
    yield from _frequency(run, situation)
    guardrails = situation.runbook.guardrails
    for change in situation.changes:
        if change.actor != ACTOR and change.id != run.blamed_change_id:
            yield (
                Ruling.WAIT,
                f"{change.actor or 'somebody'} changed {change.service} less than {guardrails.human_change_s:.0f} s "
                f"ago: {change.summary}",
            )


def _blast_radius(run: Run, situation: Situation) -> Iterable[tuple[Ruling, str]]:
    guardrails, call = situation.runbook.guardrails, run.call
    replicas = int(call.parameters.get("replicas", "0")) if call else 0
    if guardrails.max_replicas is not None and replicas > guardrails.max_replicas:
        yield Ruling.DENY, f"{replicas} replicas are more than the {guardrails.max_replicas} that the pattern may run"
    everyone = call is not None and call.parameters.get("instance") == ""
    if everyone and guardrails.max_instances is not None and run.instances > guardrails.max_instances:
        yield (
            Ruling.DENY,
            f"all {run.instances} instances would restart, more than the {guardrails.max_instances} allowed",
        )


def _callees(run: Run, situation: Situation) -> Iterable[tuple[Ruling, str]]:
    if not situation.runbook.guardrails.healthy_callees:
        return
    objecting = objects_to(run.hypothesis.kind, situation.ailing)
    if objecting:
        seen = sorted({f"{anomaly.signal.value} of {sufferer(anomaly)}" for anomaly in objecting})
        yield (
            Ruling.WAIT,
            f"{', '.join(seen)} below {run.change.target}: what waits for a callee in trouble is a symptom of it",
        )


def _sureness(run: Run, situation: Situation) -> Iterable[tuple[Ruling, str]]:
    book, confidence = situation.runbook, run.hypothesis.confidence
    if confidence < book.least_confidence:
        yield Ruling.WAIT, f"confidence {confidence:.2f} is less than the {book.least_confidence:.2f} of the pattern"
    if run.lead < book.least_lead:
        yield (
            Ruling.WAIT,
            f"the hypothesis is {run.lead:.2f} times as likely as the next one; {book.least_lead:.2f} are asked",
        )


def _frequency(run: Run, situation: Situation) -> Iterable[tuple[Ruling, str]]:
    guardrails, target = situation.runbook.guardrails, run.change.target
    applied = [(other, other.change.applied_at) for other in situation.runs if other.change.applied_at is not None]
    on_target = [(other, at) for other, at in applied if other.change.target == target]
    within_hour = [at for _, at in on_target if at > situation.event_at - HOUR]
    if len(within_hour) >= guardrails.max_runs_per_hour:
        yield (
            Ruling.DENY,
            f"{len(within_hour)} runs on {target} within an hour; {guardrails.max_runs_per_hour} are allowed",
        )
    cooled = situation.event_at - timedelta(seconds=guardrails.cooldown_s)
    if any(other.change.pattern == run.change.pattern and at > cooled for other, at in on_target):
        yield Ruling.WAIT, f"less than {guardrails.cooldown_s:.0f} s since the pattern was applied to {target}"
    acting = [other for other in situation.runs if other.in_doubt or other.phase in ACTING]
    if any(other.change.target == target for other in acting):
        yield Ruling.WAIT, f"another run is changing {target}"
    if len(acting) >= guardrails.max_concurrent:
        yield Ruling.WAIT, f"{len(acting)} runs are between apply and their end; {guardrails.max_concurrent} may be"


def lead_of(hypotheses: Sequence[Hypothesis], leader: Hypothesis) -> float:
    """How many times as confident the leader is as the next one that blames something else; 1e9 without a rival.

    Another kind of cause in the same service is no rival: it would not make the fix of this service wrong to try.
    """
    rivals = [other.confidence for other in hypotheses if other.service != leader.service]
    best = max(rivals, default=0.0)
    return leader.confidence / best if best > 0 else 1e9


def effective_mode(runbook: Runbook, settings: dict[str, str], at_runtime: dict[str, Mode]) -> Mode:
    """Mode of a pattern: as set at runtime, else by the settings, else by the runbook."""
    if runbook.name in at_runtime:
        return at_runtime[runbook.name]
    return Mode(settings[runbook.name]) if runbook.name in settings else runbook.mode
