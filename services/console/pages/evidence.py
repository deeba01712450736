"""What was found out and gathered: hypotheses with their evidence, actions, gaps, logs, changes, precedents."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.contracts.document import IncidentDocument, LogSample
from libs.contracts.investigation import (
    Evidence,
    Hypothesis,
    InvestigationCompleted,
    RecommendedAction,
    SimilarIncident,
    StepStatus,
)
from libs.contracts.telemetry import ChangeEvent
from services.console.pages.runs_view import call_text
from services.console.wording import ago, clock_time, day_and_time, plain, share

_SEVERITIES: Final = ((21, "fatal"), (17, "error"), (13, "warn"), (9, "info"), (1, "debug"))
_MOST_LOGS: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceView:
    """One observation.

    Attributes:
        text: With its figures.
        weight: Strength in [0, 1].
        source: What shows it.
    """

    text: str
    weight: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HypothesisView:
    """One possible cause.

    Attributes:
        rank: 1 is the most likely.
        cause: One line.
        where: Service, instance and kind in words.
        confidence: In [0, 1].
        confidence_words: As a percentage.
        speaks_for: Strongest first.
        speaks_against: Strongest first.
    """

    rank: int
    cause: str
    where: str
    confidence: float
    confidence_words: str
    speaks_for: tuple[EvidenceView, ...]
    speaks_against: tuple[EvidenceView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionView:
    """A recommended action.

    Attributes:
        text: Action, target and parameters; advice without a registered action says for whom it is.
        rationale: Why.
        risk: low, medium or high.
    """

    text: str
    rationale: str
    risk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One question that was asked.

    Attributes:
        tool: Tool.
        query: What was asked.
        status: success, no data or error.
        finding: What it showed.
        link: Where to look oneself, "" for nowhere.
        took: In words.
    """

    tool: str
    query: str
    status: str
    finding: str
    link: str
    took: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the investigation found.

    Attributes:
        there: Whether there is one.
        told: By whom, when and how complete, in words.
        runbook: Matching runbook, "" for none.
        hypotheses: Ranked.
        actions: Recommended.
        steps: What was asked.
        gaps: What could not be known.
    """

    there: bool
    told: str = ""
    runbook: str = ""
    hypotheses: tuple[HypothesisView, ...] = ()
    actions: tuple[ActionView, ...] = ()
    steps: tuple[StepView, ...] = ()
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LogView:
    """A log record or pattern.

    Attributes:
        at: Time of day.
        service: service.name.
        level: error, warn ...
        logger: Logger name.
        body: Message, as untrusted as any.
        count: Records of the pattern.
        share: Part of the most frequent pattern in [0, 1].
        trace_id: Hex, "" for none.
    """

    at: str
    service: str
    level: str
    logger: str
    body: str
    count: int
    share: float
    trace_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeView:
    """A change.

    Attributes:
        at: Time of day.
        exact: Date and time.
        relative: Before or after the deviation began, in words.
        kind: deploy, flag, config or scale.
        service: service.name.
        text: Summary, or what changed.
        version: From and to.
        actor: Who or what made it.
        blamed: Whether the leading hypothesis blames it.
    """

    at: str
    exact: str
    relative: str
    kind: str
    service: str
    text: str
    version: str
    actor: str
    blamed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarView:
    """A past incident.

    Attributes:
        number: INC-000007.
        title: Its title.
        similarity: As a percentage.
        cause: Its root cause with who confirmed it, "" when unknown.
        fixed_by: What fixed it, "" when unknown.
        when: In words.
    """

    number: str
    title: str
    similarity: str
    cause: str
    fixed_by: str
    when: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What surrounds the incident.

    Attributes:
        logs: Patterns and records, the most frequent first.
        changes: The newest first.
        similar: The most similar first.
    """

    logs: tuple[LogView, ...]
    changes: tuple[ChangeView, ...]
    similar: tuple[SimilarView, ...]


def found(investigation: InvestigationCompleted | None) -> Found:
    """The investigation for people."""
    if investigation is None:
        return Found(there=False)
    told = (
        f"{investigation.status} by {investigation.author} in {investigation.duration_s:.1f} s, telemetry up to "
        f"{clock_time(investigation.as_of)} UTC, revision {investigation.revision}"
    )
    return Found(
        there=True,
        told=told,
        runbook=investigation.runbook,
        hypotheses=tuple(_hypothesis(one) for one in investigation.hypotheses),
        actions=_actions(investigation),
        steps=tuple(
            StepView(
                tool=plain(step.tool),
                query=step.query,
                status=plain(step.status.value) if step.status is not StepStatus.SUCCESS else "",
                finding=step.finding,
                link=step.link if step.link.startswith(("https://", "http://")) else "",
                took=f"{step.duration_s:.2f} s",
            )
            for step in investigation.steps
        ),
        gaps=investigation.gaps,
    )


def surroundings(document: IncidentDocument, now: datetime) -> Surroundings:
    """What surrounds the incident, for people."""
    context, investigation = document.context, document.investigation
    blamed = investigation.hypotheses[0].change_id if investigation and investigation.hypotheses else None
    logs = sorted(context.logs, key=lambda log: (-log.count, -log.severity, log.timestamp))[:_MOST_LOGS]
    most = max((log.count for log in logs), default=1)
    similar = {one.id: one for one in context.similar_incidents}
    similar |= {one.id: one for one in (investigation.similar_incidents if investigation else ())}
    begin = document.incident.started_at
    return Surroundings(
        logs=tuple(_log(log, most) for log in logs),
        changes=tuple(
            _change(change, begin, blamed)
            for change in sorted(context.changes, key=lambda change: change.timestamp, reverse=True)
        ),
        similar=tuple(_similar(one, now) for one in sorted(similar.values(), key=lambda one: -one.similarity)),
    )


def _hypothesis(one: Hypothesis) -> HypothesisView:
    where = f"{plain(one.kind.value)} in {one.service}" + (f", instance {one.instance}" if one.instance else "")
    return HypothesisView(
        rank=one.rank,
        cause=one.cause,
        where=where,
        confidence=min(max(one.confidence, 0.0), 1.0),
        confidence_words=share(one.confidence),
        speaks_for=_evidence(one.evidence_for),
        speaks_against=_evidence(one.evidence_against),
    )


def _evidence(observations: Sequence[Evidence]) -> tuple[EvidenceView, ...]:
    ordered = sorted(observations, key=lambda one: -one.weight)
    return tuple(
        EvidenceView(text=one.text, weight=min(max(one.weight, 0.0), 1.0), source=one.source) for one in ordered
    )


def _actions(investigation: InvestigationCompleted) -> tuple[ActionView, ...]:
    views: dict[str, ActionView] = {}
    for action in investigation.recommended_actions:
        text = _action_text(action)
        views.setdefault(text, ActionView(text=text, rationale=action.rationale, risk=action.risk))
    return tuple(views.values())


def _action_text(action: RecommendedAction) -> str:
    if action.action:
        return call_text(action.action, action.target, action.parameters)
    return f"For a person, on {action.target}" if action.target else "For a person"


def _log(log: LogSample, most: int) -> LogView:
    level = next((name for least, name in _SEVERITIES if log.severity >= least), "log")
    return LogView(
        at=clock_time(log.timestamp),
        service=log.service,
        level=level,
        logger=log.logger,
        body=log.body,
        count=log.count,
        share=log.count / most,
        trace_id=log.trace_id,
    )


def _change(change: ChangeEvent, begin: datetime, blamed: str | None) -> ChangeView:
    seconds = (change.timestamp - begin).total_seconds()
    before = " to ".join(part for part in (change.previous_version, change.version) if part)
    return ChangeView(
        at=clock_time(change.timestamp),
        exact=day_and_time(change.timestamp),
        relative=f"{abs(seconds):.0f} s {'before' if seconds < 0 else 'after'} it began"
        if abs(seconds) < 120
        else f"{abs(seconds) / 60:.0f} min {'before' if seconds < 0 else 'after'} it began",
        kind=change.kind.value,
        service=change.service,
        text=change.summary or f"{change.kind.value} of {change.service}",
        version=before,
        actor=change.actor,
        blamed=blamed is not None and change.id == blamed,
    )


def _similar(one: SimilarIncident, now: datetime) -> SimilarView:
    cause = one.root_cause + (f" ({one.root_cause_service})" if one.root_cause and one.root_cause_service else "")
    confirmed = {"": "not confirmed", "verified_fix": "confirmed by a verified fix"}.get(
        one.confirmed_by, f"confirmed by {one.confirmed_by}"
    )
    return SimilarView(
        number=one.number,
        title=one.title,
        similarity=share(one.similarity),
        cause=f"{cause}, {confirmed}" if cause else "",
        fixed_by=plain(one.fixed_by),
        when=f"{ago(one.opened_at, now)}, {day_and_time(one.opened_at)}" if one.opened_at else "",
    )
