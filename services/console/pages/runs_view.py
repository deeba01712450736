"""A remediation run as people read it: its steps, its plan, and whether it waits for them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from libs.contracts.codec import to_json
from libs.contracts.remediation import FINAL_STATES, RemediationChanged, RunState
from libs.runbooks.actions import ACTIONS
from services.console.wording import ago, clock_time, day_and_time, plain

_GOOD = frozenset({RunState.SUCCEEDED})
_BAD = frozenset({RunState.FAILED, RunState.ROLLED_BACK, RunState.ESCALATED, RunState.ROLLING_BACK})


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """One step.

    Attributes:
        name: What.
        status: success, failed, skipped or waiting.
        at: Time of day.
        detail: With figures.
    """

    name: str
    status: str
    at: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """One run.

    Attributes:
        id: Run id.
        incident: Incident number.
        pattern: Name of the runbook, "" when none is known.
        title: Action and target with parameters, or what a human is asked to do.
        risk: Risk of the action, "" when unknown.
        mode: observe, approve or auto.
        state: State of the run.
        state_words: The same, for people.
        tone: good, bad or neutral.
        reason: Why it is in this state.
        plan: Output of the dry run, "" before it.
        facts: Detection, fix, deploy and verification, those that are known.
        steps: Every step.
        when: When it began, in words.
        when_exact: Likewise, exact.
        actor: Who decided last.
        waits: Whether it waits for an approval.
        decidable: Whether it can still be rejected.
        seen: Digest of what an approval would allow.
    """

    id: str
    incident: str
    pattern: str
    title: str
    risk: str
    mode: str
    state: str
    state_words: str
    tone: str
    reason: str
    plan: str
    facts: tuple[tuple[str, str], ...]
    steps: tuple[StepView, ...]
    when: str
    when_exact: str
    actor: str
    waits: bool
    decidable: bool
    seen: str


def run_view(run: RemediationChanged, number: str, now: datetime) -> RunView:
    """The run for people."""
    spec = ACTIONS.get(run.action)
    named = (
        ("What fired", run.detection),
        ("Fix", run.fix),
        ("Deploy", run.deploy),
        ("Verification", run.verification),
    )
    return RunView(
        id=run.id,
        incident=number,
        pattern=run.pattern,
        title=call_text(run.action, run.target, run.parameters)
        if run.action
        else f"A human is needed for {run.target}",
        risk=spec.risk if spec else "",
        mode=run.mode.value,
        state=run.state.value,
        state_words=plain(run.state.value),
        tone="good" if run.state in _GOOD else "bad" if run.state in _BAD else "neutral",
        reason=run.reason,
        plan=plan_of(run),
        facts=tuple((label, text) for label, text in named if text),
        steps=tuple(
            StepView(name=plain(step.name), status=step.status, at=clock_time(step.at), detail=step.detail)
            for step in run.steps
        ),
        when=ago(run.requested_at, now),
        when_exact=day_and_time(run.requested_at),
        actor=run.actor,
        waits=run.state is RunState.AWAITING_APPROVAL,
        decidable=run.state not in FINAL_STATES,
        seen=seen_of(run),
    )


def run_views(runs: Sequence[RemediationChanged], number: str, now: datetime) -> tuple[RunView, ...]:
    """Runs of one incident, the newest first."""
    return tuple(run_view(run, number, now) for run in reversed(runs))


def call_text(action: str, target: str, parameters: Mapping[str, str]) -> str:
    """An action in words: rollback deploy of catalog (to version: 1.4.2)."""
    given = ", ".join(f"{plain(name)} {value or 'all'}" for name, value in sorted(parameters.items()))
    return f"{plain(action)} on {target}" + (f" ({given})" if given else "")


def plan_of(run: RemediationChanged) -> str:
    """Output of the newest dry run; "" before it."""
    plans = [step.detail for step in run.steps if step.name == "dry_run"]
    return plans[-1] if plans else ""


def seen_of(run: RemediationChanged) -> str:
    """Digest of what is approved: another target, parameter or plan needs another look."""
    what = (run.id, run.action, run.target, sorted(run.parameters.items()), plan_of(run), run.state.value)
    return hashlib.sha256(to_json(what)).hexdigest()[:24]
