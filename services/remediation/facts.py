"""What can happen to a run, and what a run can ask for: the words between the pure decisions and the shell."""

from dataclasses import dataclass
from enum import StrEnum

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import Hypothesis
from libs.contracts.remediation import Mode
from libs.contracts.telemetry import ChangeEvent
from libs.runbooks.actions import ActionCall, TargetNow


class Ruling(StrEnum):
    """What policy says."""

    ALLOW = "allow"
    WAIT = "wait"
    DENY = "deny"
    PROPOSE = "propose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A ruling with its reason.

    Attributes:
        ruling: allow, wait, deny or propose.
        mode: Mode that holds now.
        reason: Why, with figures.
    """

    ruling: Ruling
    mode: Mode
    reason: str


# --- what happens ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """The evidence was captured before anything changes it.

    Attributes:
        detection: What fired, in words.
        call: The action with its parameters; None when they cannot be filled in.
        problem: Why there is no call, "" when there is one.
        before: The target before the fix.
        neighbours: Services to watch.
    """

    detection: str
    call: ActionCall | None
    problem: str = ""
    before: TargetNow
    neighbours: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Policy was asked.

    Attributes:
        verdict: What it said.
    """

    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The executor said what it would do.

    Attributes:
        call: Its plan as an action.
        changes: Whether anything would change.
        text: The plan for people.
        before: The target before the fix.
    """

    call: ActionCall
    changes: bool
    text: str
    before: TargetNow


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The executor carried the action out.

    Attributes:
        live: Whether it reports the change as live already.
        text: What it reported.
    """

    live: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WentLive:
    """The executor reports the applied change as live.

    Attributes:
        text: What it reported.
    """

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The executor carried the inverse out.

    Attributes:
        text: What it reported.
    """

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The executor refuses, and will refuse again.

    Attributes:
        reason: In its words.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """The executor did not answer, or is busy.

    Attributes:
        reason: How it failed.
        carried_out: Whether it may have carried out what it was asked.
    """

    reason: str
    carried_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalySeen:
    """An anomaly changed.

    Attributes:
        anomaly: Its newest state.
        of_incident: Whether it belongs to the run's incident.
    """

    anomaly: AnomalyDetected
    of_incident: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentSeen:
    """The incident changed.

    Attributes:
        incident: Its newest state.
    """

    incident: IncidentChanged


@dataclass(frozen=True, slots=True, kw_only=True)
class Revised:
    """A newer revision of the investigation.

    Attributes:
        revision: Its number.
        hypothesis: The leading hypothesis if this run's fix is still the one for it; None when it is not.
        lead: How many times as confident it is as the next one that blames something else.
        leader: The leading hypothesis in words.
    """

    revision: int
    hypothesis: Hypothesis | None
    lead: float
    leader: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedByOthers:
    """Somebody else changed the target after the fix was applied.

    Attributes:
        change: What they changed.
    """

    change: ChangeEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """A person lets the run go on.

    Attributes:
        command_id: Id of the command.
        actor: Who.
        reason: Why.
    """

    command_id: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A person stops the run.

    Attributes:
        command_id: Id of the command.
        actor: Who.
        reason: Why.
    """

    command_id: str
    actor: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenOver:
    """A person resolves or cancels the incident.

    Attributes:
        command_id: Id of the command.
        actor: Who.
        what: resolved or canceled.
    """

    command_id: str
    actor: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted:
    """The service has started again; what it was doing when it ended is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """Time went by."""


Fact = (
    Captured
    | Judged
    | Planned
    | Applied
    | WentLive
    | Undone
    | Refused
    | Away
    | AnomalySeen
    | IncidentSeen
    | Revised
    | ChangedByOthers
    | Approved
    | Rejected
    | TakenOver
    | Restarted
    | Passed
)

# --- what is asked for ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """Capture the evidence and look at the target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """Ask policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Dry run.

    Attributes:
        call: What to plan.
    """

    call: ActionCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Change production.

    Attributes:
        call: What to do.
        key: Idempotency key: carrying it out again with the same key is harmless.
    """

    call: ActionCall
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLive:
    """Ask whether the applied change is live.

    Attributes:
        call: What was applied.
    """

    call: ActionCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo:
    """Change production back.

    Attributes:
        call: The inverse.
        key: Idempotency key.
    """

    call: ActionCall
    key: str


Effect = Capture | Judge | Plan | Apply | CheckLive | Undo
