"""Whether the second ticket of the same fault has learned from the first: its cause, its fix, at least as sure."""

from dataclasses import dataclass, replace

from libs.contracts.document import IncidentDocument
from libs.contracts.investigation import SimilarIncident
from paramedic.demo.judge import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a ticket knows of an earlier one.

    Attributes:
        incident: Number of the earlier ticket.
        similarity: In [0, 1]; 0 when the ticket does not name it.
        root_cause: Its root cause, as the ticket tells it.
        fixed_by: What fixed it, as the ticket tells it.
        evidence: What the first hypothesis makes of it, "" for nothing.
        failures: Expectations that did not hold, in words.
    """

    incident: str
    similarity: float = 0.0
    root_cause: str = ""
    fixed_by: str = ""
    evidence: str = ""
    failures: tuple[str, ...] = ()

    def text(self) -> str:
        """One line for people."""
        return (
            f"similar to {self.incident} ({self.similarity:.0%} alike): {self.root_cause or 'root cause unknown'}; "
            f"fixed by {self.fixed_by or 'nobody knows what'}"
        )


def judge_history(first: Outcome, second: Outcome, document: IncidentDocument | None) -> History:
    """Compare the second ticket of a fault with its first.

    Args:
        first: Outcome of the first time.
        second: Outcome of the second time.
        document: Whole ticket of the second time; None when there is none.
    """
    told = _named(document, first.incident)
    evidence = _evidence(document, first.incident)
    failures = []
    if told is None:
        failures.append(f"the ticket does not name {first.incident or 'the first ticket'} as similar")
    else:
        if not told.root_cause or not told.confirmed_by:
            failures.append(f"the ticket does not say what was confirmed as the root cause of {first.incident}")
        if not told.fixed_by:
            failures.append(f"the ticket does not say what fixed {first.incident}")
    if not evidence:
        failures.append(f"the first hypothesis does not rest on {first.incident or 'the first ticket'}")
    if first.cause_right and not second.cause_right:
        failures.append("the cause that ranked first the first time does not any more")
    # whole percents: what people see, and less than the tremble of a figure that rests on some seconds of traffic
    if round(second.confidence, 2) < round(first.confidence, 2):
        failures.append(f"confidence fell from {first.confidence:.0%} to {second.confidence:.0%}")
    found = History(incident=first.incident, evidence=evidence, failures=tuple(failures))
    if told is None:
        return found
    return replace(found, similarity=told.similarity, root_cause=told.root_cause, fixed_by=told.fixed_by)


def _named(document: IncidentDocument | None, number: str) -> SimilarIncident | None:
    if document is None or not number:
        return None
    investigated = document.investigation.similar_incidents if document.investigation else ()
    named = [one for one in (*document.context.similar_incidents, *investigated) if one.number == number]
    return max(named, key=lambda one: (bool(one.confirmed_by), bool(one.fixed_by), one.similarity), default=None)


def _evidence(document: IncidentDocument | None, number: str) -> str:
    if document is None or document.investigation is None or not number:
        return ""
    for hypothesis in document.investigation.hypotheses[:1]:
        for evidence in hypothesis.evidence_for:
            if number in evidence.text:
                return evidence.text
    return ""
