"""Which runbooks there are, and what each is for."""

from typing import Annotated, Final

from pydantic import Field

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import Mode
from libs.runbooks import Runbook
from services.mcp.answer import Answer, Found, PageArguments, Row, answer, page_of
from services.mcp.bounds import MOST_LIST, Line, Name, untrusted
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register


class RunbooksArguments(PageArguments):
    """Which runbooks; what is left empty does not filter."""

    cause_kind: Annotated[CauseKind | None, Field(description="Only runbooks for this kind of cause.")] = None
    text: Annotated[
        str, Field(max_length=200, description="Only where name, title or prose hold this text; case does not matter.")
    ] = ""


class RunbookRow(Row):
    """A runbook in short."""

    name: Annotated[Name, Field(description=untrusted("Name for get_runbook"))]
    title: Annotated[Line, Field(description=untrusted("One line for people"))]
    cause_kinds: Annotated[list[CauseKind], Field(max_length=MOST_LIST, description="Kinds of cause it is for.")]
    signals: Annotated[list[Signal], Field(max_length=MOST_LIST, description="One of these deviates; empty: any.")]
    services: Annotated[Name, Field(description=untrusted("Glob over the names of services"))]
    action: Annotated[Name, Field(description=untrusted("Action that fixes it"))]
    mode: Annotated[Mode, Field(description="observe: proposes only; approve: a human decides; auto: acts alone.")]


class RunbooksAnswer(Answer[RunbookRow]):
    """Runbooks by name."""


def _ask(sources: Sources, asked: RunbooksArguments) -> RunbooksAnswer:
    all_runbooks = sources.runbooks
    wanted = asked.text.casefold()
    chosen = [
        runbook
        for runbook in all_runbooks
        if (asked.cause_kind is None or asked.cause_kind in runbook.cause_kinds)
        and wanted in f"{runbook.name}\n{runbook.title}\n{runbook.text}".casefold()
    ]
    text = f"{len(chosen)} of {len(all_runbooks)} runbooks match."
    rows = [runbook_row(runbook) for runbook in page_of(chosen, asked)]
    return answer(RunbooksAnswer, asked, Found(rows=rows, total=len(chosen), summary=text))


def runbook_row(runbook: Runbook) -> RunbookRow:
    """A runbook in short."""
    return RunbookRow(
        name=runbook.name,
        title=runbook.title,
        cause_kinds=list(dict.fromkeys(runbook.cause_kinds)),
        signals=list(dict.fromkeys(runbook.signals)),
        services=runbook.services,
        action=runbook.action,
        mode=runbook.mode,
    )


TOOL: Final = register(
    "runbooks",
    Tool(
        name="list_runbooks",
        title="Runbooks",
        description="List the runbooks: known patterns of failure with the kinds of cause they are for, the action "
        "that fixes them and how far it may go without a human. Filter by kind of cause or by text.",
        arguments=RunbooksArguments,
        result=RunbooksAnswer,
        ask=_ask,
    ),
)
