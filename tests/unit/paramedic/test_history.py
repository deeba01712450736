"""The second ticket of a fault must know the first: its confirmed cause, its fix, in the evidence, no less sure."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

import schemas
from libs.contracts.codec import from_json
from libs.contracts.document import IncidentContext, IncidentDocument
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import Evidence, InvestigationCompleted, SimilarIncident
from paramedic.demo.history import judge_history
from paramedic.demo.judge import Outcome


def example(kind: type[Any], name: str) -> Any:
    return from_json((Path(schemas.ROOT) / "examples" / name / "typical.json").read_bytes(), kind)


INCIDENT: IncidentChanged = example(IncidentChanged, "incident-changed")
FOUND: InvestigationCompleted = example(InvestigationCompleted, "investigation-completed")
PAST = SimilarIncident(
    id="i-1",
    number="INC-000001",
    title="slow",
    similarity=0.97,
    root_cause="deploy of catalog 2.4.0",
    root_cause_service="catalog",
    confirmed_by="verified_fix",
    fixed_by="rollback_deploy to 2.3.0",
    opened_at=INCIDENT.opened_at,
)
FIRST = Outcome(scenario="slow-query", title="", incident="INC-000001", cause_right=True, confidence=0.95)
SECOND = dataclasses.replace(FIRST, incident="INC-000005")


def document(past: SimilarIncident | None = PAST, evidence: str = "INC-000001 looked 97% alike") -> IncidentDocument:
    hypothesis = dataclasses.replace(FOUND.hypotheses[0], evidence_for=(Evidence(text=evidence),))
    context = IncidentContext(similar_incidents=(past,) if past else ())
    return IncidentDocument(
        incident=INCIDENT,
        context=context,
        investigation=dataclasses.replace(FOUND, hypotheses=(hypothesis,), similar_incidents=()),
    )


def test_a_ticket_that_has_learned_says_what_was_the_cause_and_what_helped() -> None:
    history = judge_history(FIRST, SECOND, document())
    assert history.failures == ()
    assert "similar to INC-000001 (97% alike): deploy of catalog 2.4.0; fixed by rollback_deploy" in history.text()


@pytest.mark.parametrize(
    ("second", "whole", "words"),
    [
        (SECOND, None, "does not name INC-000001"),
        (SECOND, document(past=None), "does not name INC-000001"),
        (SECOND, document(dataclasses.replace(PAST, number="INC-000002")), "does not name INC-000001"),
        (SECOND, document(dataclasses.replace(PAST, confirmed_by="")), "confirmed as the root cause"),
        (SECOND, document(dataclasses.replace(PAST, root_cause="")), "confirmed as the root cause"),
        (SECOND, document(dataclasses.replace(PAST, fixed_by="")), "what fixed INC-000001"),
        (SECOND, document(evidence="catalog is slow"), "does not rest on INC-000001"),
        (dataclasses.replace(SECOND, cause_right=False), document(), "ranked first the first time"),
        (dataclasses.replace(SECOND, confidence=0.93), document(), "from 95% to 93%"),
    ],
)
def test_each_thing_that_was_not_learned_is_told(second: Outcome, whole: IncidentDocument | None, words: str) -> None:
    assert words in "; ".join(judge_history(FIRST, second, whole).failures)


def test_the_investigation_may_name_the_first_ticket_instead_of_the_context() -> None:
    whole = document(past=None)
    assert whole.investigation is not None
    investigation = dataclasses.replace(whole.investigation, similar_incidents=(PAST,))
    assert judge_history(FIRST, SECOND, dataclasses.replace(whole, investigation=investigation)).failures == ()
