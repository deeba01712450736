"""A model's answer: parsed into a type or rejected, then fused with the statistical ranking."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from libs.contracts.investigation import (
    CauseKind,
    Hypothesis,
    InvestigationCompleted,
)
from libs.contracts.investigation import (
    Evidence as EvidenceLine,
)
from libs.errors import InvalidMessage
from libs.runbooks.actions import ACTIONS
from services.investigator.advice import actions_for
from services.investigator.cause import MOST_HYPOTHESES
from services.investigator.evidence import Evidence
from services.investigator.protocol import Investigated, investigation_id, recommended

Text = Annotated[str, Field(max_length=400)]
_MODEL_SOURCE: Final = "model"
_STATED_WEIGHT: Final = 0.5


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelHypothesis(_Strict):
    """One hypothesis of a model."""

    service: Annotated[str, Field(max_length=200, description="Service or external peer, exactly as shown.")]
    kind: Annotated[CauseKind, Field(description="What kind of cause.")]
    cause: Annotated[Text, Field(min_length=1, description="One line for people.")]
    confidence: Annotated[float, Field(ge=0, le=1, description="Probability that this is the root cause.")]
    evidence_for: Annotated[list[Text], Field(min_length=1, max_length=6)]
    evidence_against: Annotated[list[Text], Field(max_length=6)] = []
    instance: Annotated[str, Field(max_length=200)] = ""
    change_id: Annotated[str, Field(max_length=200)] = ""
    action: Annotated[str, Field(max_length=64, description="Name of an existing action, or empty.")] = ""


class ModelAnswer(_Strict):
    """The root causes that a model found, most likely first."""

    hypotheses: Annotated[list[ModelHypothesis], Field(min_length=1, max_length=5)]
    gaps: Annotated[list[Text], Field(max_length=10)] = []


def fuse_answer(
    found: Investigated, answer: ModelAnswer, *, author: str, revision: int, duration_s: float
) -> InvestigationCompleted:
    """Both rankings as one.

    A hypothesis is as likely as the mean of what the model and the statistics say, so that words in telemetry that
    talk a model into something never make it more likely than 50 % alone.

    Args:
        found: The statistical ranking and what it rests on.
        answer: The model's.
        author: provider:name.
        revision: Number of the result.
        duration_s: Seconds that both took.
    Raises:
        InvalidMessage: the answer names a service, instance, change or action that does not exist.
    """
    evidence = found.evidence
    check_answer(evidence, answer)
    statistical = {hypothesis.service: hypothesis for hypothesis in found.completed.hypotheses}
    total = max(1.0, sum(hypothesis.confidence for hypothesis in answer.hypotheses))
    fused: dict[str, Hypothesis] = {}
    for stated in answer.hypotheses:
        if stated.service not in fused:
            fused[stated.service] = _fused(evidence, stated, statistical.get(stated.service), total)
    for service, hypothesis in statistical.items():
        fused.setdefault(service, replace(hypothesis, confidence=round(hypothesis.confidence / 2, 4)))
    ordered = sorted(fused.values(), key=lambda h: (-h.confidence, h.service))[:MOST_HYPOTHESES]
    ranked = tuple(replace(hypothesis, rank=rank) for rank, hypothesis in enumerate(ordered, start=1))
    return replace(
        found.completed,
        id=investigation_id(found.completed.incident_id, revision),
        revision=revision,
        author=author,
        duration_s=round(duration_s, 4),
        hypotheses=ranked,
        recommended_actions=recommended(ranked),
        gaps=(*found.completed.gaps, *answer.gaps),
    )


def check_answer(evidence: Evidence, answer: ModelAnswer) -> None:
    """`InvalidMessage` names the first thing that does not exist."""
    known: Mapping[str, set[str]] = {
        "service": set(evidence.services()),
        "change": {change.id for change in evidence.changes} | {""},
        "instance": {entry.instance for entry in evidence.traces.instances}
        | {metric.instance for metric in evidence.metrics}
        | {""},
        "action": set(ACTIONS) | {""},
    }
    for hypothesis in answer.hypotheses:
        named = {
            "service": hypothesis.service,
            "change": hypothesis.change_id,
            "instance": hypothesis.instance,
            "action": hypothesis.action,
        }
        for what, name in named.items():
            if name not in known[what]:
                raise InvalidMessage(f"it names the {what} {name[:80]!r}, which does not exist")


def _fused(evidence: Evidence, stated: ModelHypothesis, known: Hypothesis | None, total: float) -> Hypothesis:
    change = next((c for c in evidence.changes if stated.change_id and c.id == stated.change_id), None)
    believed = (stated.confidence / total + (known.confidence if known else 0.0)) / 2.0
    return Hypothesis(
        rank=1,
        service=stated.service,
        kind=stated.kind,
        cause=stated.cause,
        confidence=round(believed, 4),
        instance=stated.instance or None,
        change_id=stated.change_id or None,
        evidence_for=(*map(_stated, stated.evidence_for), *(known.evidence_for if known else ())),
        evidence_against=(*map(_stated, stated.evidence_against), *(known.evidence_against if known else ())),
        actions=actions_for(evidence, stated.service, stated.kind, change=change, instance=stated.instance or None),
    )


def _stated(text: str) -> EvidenceLine:
    return EvidenceLine(text=text, weight=_STATED_WEIGHT, source=_MODEL_SOURCE)
