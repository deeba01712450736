"""What was done about an incident, and whether it worked."""

from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from libs.contracts.remediation import Mode, RemediationChanged, RunState
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import MOST_LIST, Attributes, Line, Name, untrusted
from services.mcp.incident_reference import IncidentArguments, require_incident
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register


class RunStepShown(Row):
    """One step of a run."""

    name: Annotated[Name, Field(description=untrusted("Name of the step"))]
    status: Annotated[Name, Field(description=untrusted("success, failed, skipped or waiting"))]
    at: AwareDatetime
    detail: Annotated[Name, Field(description=untrusted("What happened, its first 200 characters"))]


class RunRow(Row):
    """One run of a known fix."""

    id: Annotated[Name, Field(description=untrusted("Run id"))]
    pattern: Annotated[Name, Field(description=untrusted("Runbook, for get_runbook"))]
    mode: Mode
    action: Annotated[Name, Field(description=untrusted("Action"))]
    target: Annotated[Name, Field(description=untrusted("Service it acts on"))]
    parameters: Annotated[Attributes, Field(description=untrusted("Parameters of the action"))]
    state: RunState
    reason: Annotated[Line, Field(description=untrusted("Why the run is in this state"))]
    applied_at: Annotated[AwareDatetime | None, Field(description="When production was changed; null: it was not.")]
    human_involved: Annotated[bool, Field(description="Whether a human approved, rejected or touched it.")]
    recurred: Annotated[bool, Field(description="Whether the anomaly came back within the hold.")]
    fix: Annotated[Line, Field(description=untrusted("What was applied"))]
    verification: Annotated[Line, Field(description=untrusted("What the detector said afterwards"))]
    requested_at: AwareDatetime
    updated_at: AwareDatetime
    steps: Annotated[list[RunStepShown], Field(max_length=MOST_LIST, description="Steps so far, the last 20.")]


class RunsAnswer(Answer[RunRow]):
    """Runs, oldest first."""


def _ask(sources: Sources, asked: IncidentArguments) -> RunsAnswer:
    document = require_incident(sources.incidents, asked.incident)
    runs = document.remediation
    applied = sum(run.applied_at is not None for run in runs)
    text = f"{len(runs)} remediation runs for {document.incident.number}, {applied} of them changed production."
    rows = [_row(run) for run in page_of(runs, asked)]
    return answer(RunsAnswer, asked, Found(rows=rows, total=len(runs), summary=text))


def _row(run: RemediationChanged) -> RunRow:
    return RunRow(
        id=run.id,
        pattern=run.pattern,
        mode=run.mode,
        action=run.action,
        target=run.target,
        parameters=dict(run.parameters),
        state=run.state,
        reason=run.reason,
        applied_at=run.applied_at,
        human_involved=run.human_involved,
        recurred=run.recurred,
        fix=run.fix,
        verification=run.verification,
        requested_at=run.requested_at,
        updated_at=run.updated_at,
        steps=[
            RunStepShown(name=step.name, status=step.status, at=step.at, detail=step.detail)
            for step in run.steps[-MOST_LIST:]
        ],
    )


TOOL: Final = register(
    "incidents",
    Tool(
        name="get_remediation_runs",
        title="Fixes tried on an incident",
        description="Read what was proposed or done about an incident: each run of a known fix with its action, state, "
        "steps, whether production was changed, and what verification saw. Runs cannot be approved or started here.",
        arguments=IncidentArguments,
        result=RunsAnswer,
        ask=_ask,
    ),
)
