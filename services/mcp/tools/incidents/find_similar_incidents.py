"""Past incidents that look like one, what caused them and what fixed them."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.incident import IncidentState
from libs.contracts.remediation import RunState
from libs.stores.incidents import SimilarHit
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Figure, Line, Name, Names, untrusted
from services.mcp.incident_reference import IncidentArguments, require_incident
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

_MOST_HITS: Final = 50
# A phrase of a thousand words costs the search index seconds; titles made of names of services are far shorter.
_MOST_TITLE: Final = 200


class SimilarArguments(IncidentArguments):
    """Like which incident."""

    limit: Annotated[int, Field(ge=1, le=_MOST_HITS, description="Most incidents in the answer.")] = 5
    offset: Annotated[int, Field(ge=0, le=_MOST_HITS, description="Incidents to skip.")] = 0


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


class SimilarAnswer(Answer[SimilarRow]):
    """Past incidents, the most similar first."""


def _ask(sources: Sources, asked: SimilarArguments) -> SimilarAnswer:
    core = require_incident(sources.incidents, asked.incident).incident
    hits = sources.incidents.similar(
        core.fingerprint, core.title[:_MOST_TITLE], before=core.opened_at, exclude=core.id, limit=_MOST_HITS
    )
    confirmed = sum(hit.document.root_cause is not None for hit in hits)
    text = f"{len(hits)} earlier incidents resemble {core.number}; the cause of {confirmed} is confirmed."
    rows = [_row(hit) for hit in page_of(hits, asked)]
    return answer(SimilarAnswer, asked, Found(rows=rows, total=len(hits), summary=text, exact=len(hits) < _MOST_HITS))


def _row(hit: SimilarHit) -> SimilarRow:
    core, known = hit.document.incident, hit.document.root_cause
    guesses = hit.document.investigation.hypotheses if hit.document.investigation else ()
    guess = guesses[0] if guesses else None
    return SimilarRow(
        number=core.number,
        title=core.title,
        similarity=hit.similarity,
        opened_at=core.opened_at,
        state=core.state,
        services=list(core.services),
        cause_service=known.service if known else guess.service if guess else "",
        cause_kind=known.kind if known else guess.kind.value if guess else "",
        cause=known.text if known else guess.cause if guess else "",
        confirmed_by=known.confirmed_by if known else "",
        fixed_by=(known.fixed_by if known else "") or _verified_fix(hit),
    )


def _verified_fix(hit: SimilarHit) -> str:
    worked = [run for run in hit.document.remediation if run.state is RunState.SUCCEEDED]
    return f"{worked[-1].action} of {worked[-1].target}" if worked else ""


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
