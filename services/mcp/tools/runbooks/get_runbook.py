"""One runbook in full: when it applies, its read-only steps, its fix, its guardrails, its prose."""

import difflib
from typing import Annotated, Final

from pydantic import Field

from libs.errors import NotFound
from libs.observability.untrusted_text import cut_text
from libs.runbooks import Runbook
from services.mcp.answer import Answer, Found, PageArguments, Row, answer, page_of
from services.mcp.bounds import MOST_NAME, Attributes, Figure, Line, Name, untrusted
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register
from services.mcp.tools.runbooks.list_runbooks import RunbookRow, runbook_row

_MOST_PROSE: Final = 12_000


class RunbookArguments(PageArguments):
    """Which runbook."""

    name: Annotated[str, Field(min_length=1, max_length=MOST_NAME, description="Name, as list_runbooks gives it.")]


class StepRow(Row):
    """A read-only question that the runbook asks of the telemetry."""

    tool: Annotated[Name, Field(description=untrusted("Investigation tool"))]
    title: Annotated[Line, Field(description=untrusted("What it is to show"))]
    arguments: Annotated[Attributes, Field(description=untrusted("Arguments; braces name fields of the hypothesis"))]


class GuardrailsShown(Row):
    """What stops the fix, however sure the investigation is."""

    least_confidence: Annotated[Figure, Field(description="Confidence that the hypothesis must reach, 0 to 1.")]
    least_lead: Annotated[Figure, Field(description="Times as confident as the next different explanation.")]
    needs_change: Annotated[bool, Field(description="Whether a change event must be blamed.")]
    max_runs_per_hour: int
    cooldown_s: Annotated[Figure, Field(description="Seconds between two runs on one target.")]
    max_concurrent: int
    human_change_s: Annotated[Figure, Field(description="Seconds to stay away after somebody else changed the target.")]
    max_replicas: int | None
    max_instances: int | None
    healthy_callees: Annotated[bool, Field(description="Whether nothing that the target calls may be in trouble.")]


class RunbookAnswer(Answer[StepRow]):
    """The runbook; its rows are its read-only steps."""

    runbook: RunbookRow
    parameters: Annotated[Attributes, Field(description=untrusted("Parameters of the action; braces name fields"))]
    inverse: Annotated[Name, Field(description=untrusted("Action that undoes the fix, or empty"))]
    guardrails: GuardrailsShown
    verification_within_s: Annotated[
        Figure, Field(description="Longest wait for the anomalies to close; null: default.")
    ]
    text: Annotated[str, Field(max_length=_MOST_PROSE, description=untrusted("The prose, Markdown"))]


def _ask(sources: Sources, asked: RunbookArguments) -> RunbookAnswer:
    runbook = _require_runbook(sources.runbooks, asked.name)
    rows = [
        StepRow(tool=step.tool, title=step.title, arguments=dict(step.arguments))
        for step in page_of(runbook.steps, asked)
    ]
    text = f"{runbook.name}: {runbook.title}. Action {runbook.action}, mode {runbook.mode.value}."
    rails = runbook.guardrails
    return answer(
        RunbookAnswer,
        asked,
        Found(rows=rows, total=len(runbook.steps), summary=text, known=True),
        runbook=runbook_row(runbook),
        parameters=dict(runbook.parameters),
        inverse=runbook.inverse,
        guardrails=GuardrailsShown(
            least_confidence=runbook.least_confidence,
            least_lead=runbook.least_lead,
            needs_change=runbook.needs_change,
            max_runs_per_hour=rails.max_runs_per_hour,
            cooldown_s=rails.cooldown_s,
            max_concurrent=rails.max_concurrent,
            human_change_s=rails.human_change_s,
            max_replicas=rails.max_replicas,
            max_instances=rails.max_instances,
            healthy_callees=rails.healthy_callees,
        ),
        verification_within_s=runbook.verification.within_s,
        text=cut_text(runbook.text, _MOST_PROSE),
    )


def _require_runbook(runbooks: list[Runbook], name: str) -> Runbook:
    known = {runbook.name: runbook for runbook in runbooks}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise NotFound(f"no runbook {cut_text(name, 80)!r}; {hint}there are {', '.join(list(known)[:50])}")


TOOL: Final = register(
    "runbooks",
    Tool(
        name="get_runbook",
        title="One runbook",
        description="Read one runbook in full: what it matches, the read-only steps that confirm it, the action with "
        "its parameters, the guardrails that stop it, how success is verified, and the prose for people.",
        arguments=RunbookArguments,
        result=RunbookAnswer,
        ask=_ask,
    ),
)
