"""What is being done about an incident this second, in one line."""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.contracts.incident import OPEN_STATES, IncidentChanged, IncidentState
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.remediation import FINAL_STATES, RemediationChanged, RunState
from services.console.wording import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """One line.

    Attributes:
        kind: machine (Paramedic works), human (somebody is waited for), done (it is over).
        text: What, for people.
    """

    kind: str
    text: str


def doing(
    core: IncidentChanged, investigation: InvestigationCompleted | None, runs: Sequence[RemediationChanged]
) -> Doing:
    """The most advanced thing that is under way."""
    if core.state not in OPEN_STATES:
        by = f" by {core.resolved_by}" if core.resolved_by and core.state is not IncidentState.CANCELED else ""
        return Doing(kind="done", text=f"{plain(core.state.value)}{by}")
    active = [run for run in runs if run.state not in FINAL_STATES]
    if active:
        return _of_run(active[-1])
    if core.state is IncidentState.ON_HOLD:
        return Doing(kind="human", text="on hold; it does not resolve by itself")
    if investigation is None:
        return Doing(kind="machine", text="investigating")
    if runs and runs[-1].state is RunState.ESCALATED:
        return Doing(kind="human", text=runs[-1].reason or "needs a human")
    if runs and runs[-1].state is RunState.SUCCEEDED:
        return Doing(kind="machine", text=f"fixed by {plain(runs[-1].action)}; waiting for the incident to resolve")
    if runs:
        return Doing(
            kind="human", text=f"{runs[-1].action or 'the fix'} {plain(runs[-1].state.value)}: {runs[-1].reason}"
        )
    if core.state is IncidentState.NEW:
        return Doing(kind="human", text="waits for somebody to take it")
    return Doing(kind="human", text="in work by people; watching for recovery")


def _of_run(run: RemediationChanged) -> Doing:
    what = f"{plain(run.action)} on {run.target}"
    if run.state is RunState.AWAITING_APPROVAL:
        return Doing(kind="human", text=f"waits for your approval: {what}")
    told = {
        RunState.REQUESTED: "preparing",
        RunState.RUNNING: "applying",
        RunState.VERIFYING: "verifying",
        RunState.HOLDING: "watching after",
        RunState.ROLLING_BACK: "rolling back",
    }[run.state]
    return Doing(kind="machine", text=f"{told} {what}" + (f": {run.reason}" if run.reason else ""))
