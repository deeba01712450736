"""Past incidents that look like one, what caused them and what fixed them."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.incident import IncidentState
from libs.contracts.investigation import SimilarIncident
from libs.stores.precedent import CANDIDATES, precedents
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Figure, Line, Name, Names, untrusted
from services.mcp.incident_reference import IncidentArguments, require_incident
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register


class SimilarArguments(IncidentArguments):
    """Like which incident."""

    limit: Annotated[int, Field(ge=1, le=CANDIDATES, description="Most incidents in the answer.")] = 5
    offset: Annotated[int, Field(ge=0, le=CANDIDATES, description="Incidents to skip.")] = 0


class SimilarRow(Row):
    """A past incident."""

    number: Annotated[Name, Field(description=untrusted("Number for get_incident"))]
    title: Annotated[Line, Field(description=untrusted("One line for people"))]
    similarity: Annotated[Figure, Field(description="1: the same signals deviate; words alone stay below 0.2.")]
    opened_at: AwareDatetime
    state: IncidentState
    services: Annotated[Names, Field(description=untrusted("Services with an anomaly"))]
    cause_service: Annotated[Name, Field(description=untrusted("Service of its cause, or empty"))]
    cause_kind: Annotated[Name, Field(description=untrusted("Kind of its cause, or empty"))]
    cause: Annotated[Line, Field(description=untrusted("Its cause in one line, or empty"))]
    confirmed_by: Annotated[
        Name, Field(description=untrusted("Who confirmed the cause; 'verified_fix'; empty: only a hypothesis"))
    ]
    fixed_by: Annotated[Name, Field(description=untrusted("What fixed it, or empty"))]
    refuted: Annotated[Name, Field(description=untrusted("First guess that a person corrected, or empty"))]


class SimilarAnswer(Answer[SimilarRow]):
    """Past incidents, the most similar first."""


def _ask(sources: Sources, asked: SimilarArguments) -> SimilarAnswer:
    core = require_incident(sources.incidents, asked.incident).incident
    found = precedents(sources.incidents, core, most=CANDIDATES)
    confirmed = sum(bool(past.confirmed_by) for past in found)
    text = f"{len(found)} earlier incidents resemble {core.number}; the cause of {confirmed} is confirmed."
    rows = [_row(sources, past) for past in page_of(found, asked)[: asked.limit]]
    return answer(SimilarAnswer, asked, Found(rows=rows, total=len(found), summary=text, exact=len(found) < CANDIDATES))


def _row(sources: Sources, past: SimilarIncident) -> SimilarRow:
    core = require_incident(sources.incidents, past.id).incident
    return SimilarRow(
        number=core.number,
        title=core.title,
        similarity=past.similarity,
        opened_at=core.opened_at,
        state=core.state,
        services=list(core.services),
        cause_service=past.root_cause_service,
        cause_kind=past.root_cause_kind,
        cause=past.root_cause,
        confirmed_by=past.confirmed_by,
        fixed_by=past.fixed_by,
        refuted=f"{past.refuted_kind} in {past.refuted_service}" if past.refuted_service else "",
    )


TOOL: Final = register(
    "incidents",
    Tool(
        name="find_similar_incidents",
        title="Similar past incidents",
        description="Find incidents opened before a given one that look like it (the same signals deviate), with their "
        "cause, who confirmed it, and what fixed them. A confirmed cause of a very similar incident is strong "
        "evidence, an unconfirmed one is only a hint.",
        arguments=SimilarArguments,
        result=SimilarAnswer,
        ask=_ask,
    ),
)
