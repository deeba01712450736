"""How often each runbook's fix worked, with the interval that so few runs allow."""

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import Field

from libs.contracts.document import Section
from libs.contracts.remediation import RemediationChanged
from libs.runbooks.scorecard import PatternScore, scorecard
from libs.stores.incidents import IncidentQuery
from services.mcp.answer import Answer, Found, PageArguments, Row, answer, page_of
from services.mcp.bounds import Figure, Name, untrusted
from services.mcp.sources import IncidentReader, Sources
from services.mcp.tool import Tool, register

_MOST_INCIDENTS: Final = 1_000


class ScoreRow(Row):
    """One runbook's record."""

    pattern: Annotated[Name, Field(description=untrusted("Name of the runbook"))]
    success_ratio: Annotated[Figure, Field(description="successes / applied; null: never applied alone.")]
    successes: Annotated[int, Field(description="The anomaly closed, stayed away, and no human touched the run.")]
    applied: Annotated[int, Field(description="Automatic runs that changed production and have ended.")]
    interval_low: Annotated[Figure, Field(description="Lower end of the Wilson 95 % interval of success_ratio.")]
    interval_high: Annotated[Figure, Field(description="Upper end of that interval.")]
    approved_by_human: Annotated[int, Field(description="Applied runs that a human approved; outside the ratio.")]
    not_applied: Annotated[int, Field(description="Ended runs that changed nothing.")]
    in_progress: Annotated[int, Field(description="Runs that have not ended.")]
    recurred: Annotated[int, Field(description="Automatic runs after which the anomaly came back within the hold.")]


class ScorecardAnswer(Answer[ScoreRow]):
    """Runbooks that were ever run, by name."""

    incidents_read: Annotated[int, Field(description="The newest incidents that were looked at.")]
    incidents_total: Annotated[int, Field(description="How many there are.")]


def _ask(sources: Sources, asked: PageArguments) -> ScorecardAnswer:
    page = sources.incidents.search(IncidentQuery(limit=_MOST_INCIDENTS))
    card = scorecard(_runs(sources.incidents, [entry.id for entry in page.incidents]))
    text = (
        f"{card.total.successes} successes in {card.total.applied} automatic runs that changed production, over the "
        f"newest {len(page.incidents)} of {page.total} incidents."
    )
    rows = [_row(score) for score in page_of(card.patterns, asked)]
    return answer(
        ScorecardAnswer,
        asked,
        Found(rows=rows, total=len(card.patterns), exact=page.total <= _MOST_INCIDENTS, summary=text),
        incidents_read=len(page.incidents),
        incidents_total=page.total,
    )


def _runs(incidents: IncidentReader, ids: list[str]) -> Iterator[RemediationChanged]:
    for _, found in incidents.sections(Section.REMEDIATION, ids):
        yield from found


def _row(score: PatternScore) -> ScoreRow:
    return ScoreRow(
        pattern=score.pattern,
        success_ratio=score.rate,
        successes=score.successes,
        applied=score.applied,
        interval_low=score.interval_low,
        interval_high=score.interval_high,
        approved_by_human=score.approved_by_human,
        not_applied=score.not_applied,
        in_progress=score.in_progress,
        recurred=score.recurred,
    )


TOOL: Final = register(
    "runbooks",
    Tool(
        name="get_scorecard",
        title="How often fixes worked",
        description="For each runbook that was ever run: how many automatic runs changed production, how many of them "
        "succeeded without a human, and the 95 % interval of that ratio. Few runs give a wide interval: say so.",
        arguments=PageArguments,
        result=ScorecardAnswer,
        ask=_ask,
    ),
)
