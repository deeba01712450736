"""One run of a known fix, from request to its honest outcome."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class RunState(StrEnum):
    """States of a remediation run."""

    REQUESTED = "requested"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    VERIFYING = "verifying"
    HOLDING = "holding"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ROLLING_BACK = "rolling_back"
    ROLLED_BACK = "rolled_back"
    ESCALATED = "escalated"
    CANCELED = "canceled"


FINAL_STATES = frozenset(
    {RunState.SUCCEEDED, RunState.FAILED, RunState.ROLLED_BACK, RunState.ESCALATED, RunState.CANCELED}
)


class Mode(StrEnum):
    """How far a pattern may go alone."""

    OBSERVE = "observe"
    APPROVE = "approve"
    AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStep:
    """One step of a run.

    Attributes:
        name: capture_evidence, policy, dry_run, approval, apply, deploy, verify, hold, roll_back or escalate.
        status: success, failed, skipped or waiting.
        at: When it ended (event time where it rests on telemetry, wall clock otherwise).
        detail: What happened, with figures.
    """

    name: str
    status: str
    at: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemediationChanged:
    """The newest state of one remediation run.

    Attributes:
        id: Run id, derived from incident, pattern, target and attempt.
        incident_id: The incident.
        pattern: Name of the runbook that matched.
        mode: observe, approve or auto.
        action: Registered action.
        target: service.name it acts on.
        parameters: Typed parameters as text.
        state: Where the run is.
        version: Counts up with each change.
        anomaly_ids: The triggering anomalies that must close for a success.
        detection: What fired, in words.
        fix: What was applied, in words; "" before.
        deploy: What the executor reported, in words; "" before.
        verification: What the detector that fired said afterwards, in words; "" before.
        steps: Every step so far.
        applied_at: When a change was applied to production; null when none was.
        human_involved: Whether a human approved, rejected or touched it.
        recurred: Whether the anomaly came back on the target within the hold.
        requested_at: When the run began.
        updated_at: When it last changed.
        actor: Who decided last: "policy" or a person.
        reason: Why the run is in this state.
    """

    id: str
    incident_id: str
    pattern: str
    mode: Mode
    action: str
    target: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    state: RunState
    version: int
    anomaly_ids: tuple[str, ...] = ()
    detection: str = ""
    fix: str = ""
    deploy: str = ""
    verification: str = ""
    steps: tuple[RunStep, ...] = ()
    applied_at: datetime | None = None
    human_involved: bool = False
    recurred: bool = False
    requested_at: datetime
    updated_at: datetime
    actor: str = "policy"
    reason: str = ""
