"""Which runbook fits each hypothesis of an incident."""

from typing import Annotated, Final

from pydantic import Field

from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import Mode
from libs.runbooks import match
from services.mcp.answer import Answer, Found, Row, answer
from services.mcp.bounds import Figure, Line, Name, untrusted
from services.mcp.incident_reference import IncidentArguments, require_incident
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register


class MatchRow(Row):
    """A hypothesis and the runbook that fits it best."""

    rank: Annotated[int, Field(description="Rank of the hypothesis.")]
    service: Annotated[Name, Field(description=untrusted("Service in which the cause would sit"))]
    kind: CauseKind
    confidence: Annotated[Figure, Field(description="Confidence of the hypothesis, 0 to 1.")]
    runbook: Annotated[Name, Field(description=untrusted("Name for get_runbook; empty: no runbook fits"))]
    title: Annotated[Line, Field(description=untrusted("Title of the runbook"))]
    action: Annotated[Name, Field(description=untrusted("Its action"))]
    mode: Annotated[Mode | None, Field(description="How far it may go alone; null: no runbook fits.")]
    least_confidence: Annotated[Figure, Field(description="Confidence that the runbook asks for, 0 to 1.")]


class MatchAnswer(Answer[MatchRow]):
    """Hypotheses, the most likely first."""


def _ask(sources: Sources, asked: IncidentArguments) -> MatchAnswer:
    document = require_incident(sources.incidents, asked.incident)
    hypotheses = document.investigation.hypotheses if document.investigation else ()
    runbooks = sources.runbooks
    rows = []
    for hypothesis in hypotheses:
        runbook = match(runbooks, hypothesis, document.incident)
        rows.append(
            MatchRow(
                rank=hypothesis.rank,
                service=hypothesis.service,
                kind=hypothesis.kind,
                confidence=hypothesis.confidence,
                runbook=runbook.name if runbook else "",
                title=runbook.title if runbook else "",
                action=runbook.action if runbook else "",
                mode=runbook.mode if runbook else None,
                least_confidence=runbook.least_confidence if runbook else None,
            )
        )
    number = document.incident.number
    text = f"{sum(bool(row.runbook) for row in rows)} of {len(rows)} hypotheses of {number} have a runbook."
    if document.investigation is None:
        text = f"{number} has not been investigated yet, so there is no hypothesis to match."
    shown = rows[asked.offset : asked.offset + asked.limit]
    return answer(MatchAnswer, asked, Found(rows=shown, total=len(rows), summary=text))


TOOL: Final = register(
    "runbooks",
    Tool(
        name="match_runbooks",
        title="Runbooks that fit an incident",
        description="For each hypothesis of an incident's investigation, the most specific runbook whose conditions "
        "hold, or none. Confidence is shown beside what the runbook asks for; it is no condition of the match.",
        arguments=IncidentArguments,
        result=MatchAnswer,
        ask=_ask,
    ),
)
