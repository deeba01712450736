"""What an investigation found: ranked causes with evidence for and against, what was asked, and what stays unknown."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.investigation import CauseKind, Evidence, Hypothesis, StepStatus
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import MOST_LIST, Attributes, Figure, Line, Lines, Name, untrusted
from services.mcp.incident_reference import IncidentArguments, require_incident
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

_MOST_EVIDENCE: Final = 8
_MOST_ACTIONS: Final = 3


class EvidenceShown(Row):
    """One observation."""

    text: Annotated[Line, Field(description=untrusted("The observation with its figures"))]
    weight: Annotated[Figure, Field(description="Strength, 0 to 1.")]
    source: Annotated[Name, Field(description=untrusted("The tool, metric, trace or change that shows it"))]


class ActionShown(Row):
    """An action that would address the cause; carried out elsewhere, never through these tools."""

    action: Annotated[Name, Field(description=untrusted("Registered action, empty for advice to a human"))]
    target: Annotated[Name, Field(description=untrusted("Service it acts on"))]
    parameters: Annotated[Attributes, Field(description=untrusted("Its parameters"))]
    rationale: Annotated[Line, Field(description=untrusted("Why"))]
    risk: Annotated[Name, Field(description=untrusted("low, medium or high"))]


class HypothesisRow(Row):
    """A possible root cause."""

    rank: Annotated[int, Field(description="1 is the most likely.")]
    service: Annotated[Name, Field(description=untrusted("Service or external dependency in which the cause sits"))]
    kind: CauseKind
    cause: Annotated[Line, Field(description=untrusted("One line"))]
    confidence: Annotated[Figure, Field(description="Probability that this is the root cause, 0 to 1.")]
    instance: Annotated[Name, Field(description=untrusted("Instance to blame, or empty"))]
    change_id: Annotated[Name, Field(description=untrusted("Change that is blamed, or empty"))]
    evidence_for: Annotated[
        list[EvidenceShown], Field(max_length=_MOST_EVIDENCE, description="What speaks for it, the strongest 8.")
    ]
    evidence_against: Annotated[
        list[EvidenceShown], Field(max_length=_MOST_EVIDENCE, description="What speaks against it, the strongest 8.")
    ]
    actions: Annotated[list[ActionShown], Field(max_length=_MOST_ACTIONS, description="What would address it.")]


class StepShown(Row):
    """One question that was asked."""

    tool: Annotated[Name, Field(description=untrusted("Tool"))]
    query: Annotated[Name, Field(description=untrusted("What was asked"))]
    status: StepStatus
    finding: Annotated[Name, Field(description=untrusted("What it showed, its first 200 characters"))]


class InvestigationAnswer(Answer[HypothesisRow]):
    """Hypotheses, the most likely first."""

    author: Annotated[Name, Field(description=untrusted("'statistics', or the model that went further"))]
    revision: Annotated[int | None, Field(description="Counts up when the incident was investigated again.")]
    as_of: Annotated[AwareDatetime | None, Field(description="Event time up to which telemetry was considered.")]
    runbook: Annotated[Name, Field(description=untrusted("Matching runbook, or empty"))]
    gaps: Annotated[Lines, Field(description=untrusted("What could not be known, at most 20"))]
    steps: Annotated[list[StepShown], Field(max_length=MOST_LIST, description="What was asked, the first 20.")]


def _ask(sources: Sources, asked: IncidentArguments) -> InvestigationAnswer:
    document = require_incident(sources.incidents, asked.incident)
    found = document.investigation
    if found is None:
        text = f"{document.incident.number} has not been investigated yet."
        nothing: Found[HypothesisRow] = Found(rows=(), total=0, summary=text)
        return answer(
            InvestigationAnswer, asked, nothing, author="", revision=None, as_of=None, runbook="", gaps=[], steps=[]
        )
    text = f"{document.incident.number}, revision {found.revision} ({found.status}): {len(found.hypotheses)} causes."
    if found.hypotheses:
        first = found.hypotheses[0]
        text += f" First: {first.kind.value} in {first.service}, confidence {first.confidence:.2f}."
    rows = [_row(one) for one in page_of(found.hypotheses, asked)]
    return answer(
        InvestigationAnswer,
        asked,
        Found(rows=rows, total=len(found.hypotheses), summary=text, known=True),
        author=found.author,
        revision=found.revision,
        as_of=found.as_of,
        runbook=found.runbook,
        gaps=list(found.gaps),
        steps=[
            StepShown(tool=step.tool, query=step.query, status=step.status, finding=step.finding)
            for step in found.steps[:MOST_LIST]
        ],
    )


def _row(one: Hypothesis) -> HypothesisRow:
    return HypothesisRow(
        rank=one.rank,
        service=one.service,
        kind=one.kind,
        cause=one.cause,
        confidence=one.confidence,
        instance=one.instance or "",
        change_id=one.change_id or "",
        evidence_for=_strongest(one.evidence_for),
        evidence_against=_strongest(one.evidence_against),
        actions=[
            ActionShown(
                action=action.action,
                target=action.target,
                parameters=dict(action.parameters),
                rationale=action.rationale,
                risk=action.risk,
            )
            for action in one.actions[:_MOST_ACTIONS]
        ],
    )


def _strongest(evidence: tuple[Evidence, ...]) -> list[EvidenceShown]:
    ordered = sorted(evidence, key=lambda one: -one.weight)[:_MOST_EVIDENCE]
    return [EvidenceShown(text=one.text, weight=one.weight, source=one.source) for one in ordered]


TOOL: Final = register(
    "incidents",
    Tool(
        name="get_investigation",
        title="Ranked causes of an incident",
        description="Read the newest investigation of an incident: hypotheses ranked by probability with the evidence "
        "for and against each, recommended actions, what was asked of the telemetry and what could not be known. "
        "Check a hypothesis yourself with the observability tools before you rely on it.",
        arguments=IncidentArguments,
        result=InvestigationAnswer,
        ask=_ask,
    ),
)
