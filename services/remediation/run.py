"""A remediation run as the service keeps it: what others see of it, and what the next decision needs."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from libs.contracts.investigation import CauseKind, Hypothesis
from libs.contracts.remediation import FINAL_STATES, RemediationChanged, RunState, RunStep
from libs.runbooks.actions import ActionCall

POLICY: Final = "policy"
_NAMESPACE: Final = uuid.UUID("0d5b6f3e-52c6-5b0e-9c36-6f0b7b1a4e2d")
WORSE_THAN_LOW: Final = frozenset({Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL})


def run_id(incident_id: str, pattern: str, target: str, attempt: int) -> str:
    """Id of a run, from what defines it."""
    return str(uuid.uuid5(_NAMESPACE, f"run:{incident_id}:{pattern}:{target}:{attempt}"))


def line_id(run: str, version: int) -> str:
    """Id of one state of a run in the self-healing log."""
    return str(uuid.uuid5(_NAMESPACE, f"line:{run}:{version}"))


class Phase(StrEnum):
    """What a run does next; several phases share one public state."""

    CAPTURE = "capture"
    POLICY = "policy"
    PLAN = "plan"
    APPROVAL = "approval"
    APPLY = "apply"
    LIVE = "live"
    VERIFY = "verify"
    HOLD = "hold"
    UNDO = "undo"
    ENDED = "ended"


BEFORE_APPLY: Final = frozenset({Phase.CAPTURE, Phase.POLICY, Phase.PLAN, Phase.APPROVAL, Phase.APPLY})
WATCHING: Final = frozenset({Phase.LIVE, Phase.VERIFY, Phase.HOLD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """An anomaly that must close for the run to succeed.

    Attributes:
        id: Episode id.
        service: Its service.
        peer: Its callee, "" for none.
        signal: Its signal.
        severity: Its severity.
        trigger: Whether it is on the target; otherwise it is a symptom elsewhere.
        started_at: Event time of its start.
        sequence: Newest state that was seen.
        closed_at: Event time of its end; None while it is open.
    """

    id: str
    service: str
    peer: str
    signal: str
    severity: Severity
    trigger: bool
    started_at: datetime
    sequence: int
    closed_at: datetime | None = None

    @property
    def signature(self) -> tuple[str, str, str]:
        """What a later episode of the same trouble has in common with it."""
        return self.service, self.peer, self.signal


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times of a run, fixed when it began.

    Attributes:
        verify_s: Longest wait for the anomalies to close.
        hold_s: How long they must stay away.
        settle_s: A window that began up to this long after the change went live still mixes before and after.
        detection_s: Event time after which a deviation that began must have been told, if it is one.
        neighbours: Whether a new anomaly of a neighbour fails the run.
    """

    verify_s: float
    hold_s: float
    settle_s: float
    detection_s: float
    neighbours: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run.

    Attributes:
        change: Its newest public state.
        phase: What it does next.
        incident_number: For people.
        hypothesis: What it acts on.
        revision: Revision of the investigation that named the hypothesis.
        lead: How many times as confident the hypothesis is as the next one that blames something else.
        limits: Its times.
        inverse: Name of the action that undoes it, "" for none.
        call: What policy allows; None before the evidence was captured.
        undo: What undoes it; None when nothing does.
        instances: Instances of the target before the fix; 0 when unknown.
        neighbours: Services one call away from the target, and the other services of the incident.
        watched: Anomalies that must close.
        loads: Services that serve more requests than usual: no harm, but the reason why they may be slower.
        approved_by: Person that approved it, "" for nobody.
        in_doubt: Whether the executor was asked to apply and has not answered yet.
        doubtful: Whether an earlier, unanswered attempt to apply may have been carried out.
        began_event_at: Event time at its beginning.
        waiting_since: Wall clock since which the executor does not answer; None while it does.
        retry_at: Wall clock of the next attempt; None for at once.
        phase_since: Wall clock at which the phase began.
        live_at: When the applied change went live.
        hold_until: Event time at which the hold ends.
        lapsed: Whether policy waited in vain before anything was applied; a surer hypothesis may try again.
        blamed_change_id: Change that the hypothesis blames, "" for none.
        commands: Ids of commands that were carried out.
        pending: Public states that are not known to be published yet, oldest first.
    """

    change: RemediationChanged
    phase: Phase
    incident_number: str
    hypothesis: Hypothesis
    revision: int
    lead: float
    limits: Limits
    inverse: str = ""
    call: ActionCall | None = None
    undo: ActionCall | None = None
    instances: int = 0
    neighbours: tuple[str, ...] = ()
    watched: tuple[Watch, ...] = ()
    loads: tuple[Watch, ...] = ()
    approved_by: str = ""
    in_doubt: bool = False
    doubtful: bool = False
    began_event_at: datetime
    waiting_since: datetime | None = None
    retry_at: datetime | None = None
    phase_since: datetime
    live_at: datetime | None = None
    hold_until: datetime | None = None
    lapsed: bool = False
    blamed_change_id: str = ""
    commands: tuple[str, ...] = ()
    pending: tuple[RemediationChanged, ...] = ()

    @property
    def id(self) -> str:
        """Run id."""
        return self.change.id

    @property
    def ended(self) -> bool:
        """Whether it is in a final state."""
        return self.change.state in FINAL_STATES

    @property
    def touched_production(self) -> bool:
        """Whether a change was applied, or may have been."""
        return self.change.applied_at is not None or self.in_doubt

    def required(self) -> tuple[Watch, ...]:
        """Watched anomalies that count: those above LOW that no load explains, or all when there are no others."""
        counting = tuple(
            watch for watch in self.watched if watch.severity in WORSE_THAN_LOW and not self.goes_with_load(watch)
        )
        return counting or self.watched

    def goes_with_load(self, watch: Watch) -> bool:
        """Whether it is the latency of others who have more to do: the fix takes nothing off them, and time will.

        Under a surge that is everybody but those who call the target: what users wait for must be fast again.
        """
        if watch.signal != Signal.LATENCY.value or watch.trigger:
            return False
        loaded = {load.service for load in self.loads if load.closed_at is None}
        callers = {known.service for known in self.watched if known.peer == self.change.target}
        is_surge = self.hypothesis.kind is CauseKind.TRAFFIC_SURGE
        return bool(loaded & {watch.service, watch.peer}) or (is_surge and (watch.peer or watch.service) not in callers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What a decision knows of the moment.

    Attributes:
        event_at: Event time up to which telemetry was recorded.
        wall_at: Wall clock; it only bounds waiting and dates what people and executors do.
        halted: Who halted self-healing and why; "" while it is not halted.
    """

    event_at: datetime
    wall_at: datetime
    halted: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What becomes public with a move.

    Attributes:
        state: New state; None keeps it.
        step: Step that ended, "" for none.
        status: success, failed, skipped or waiting.
        detail: What happened, with figures.
        reason: Why the run is in this state.
        actor: Who decided.
        at: When; the wall clock by default.
    """

    state: RunState | None = None
    step: str = ""
    status: str = "success"
    detail: str = ""
    reason: str | None = None
    actor: str = POLICY
    at: datetime | None = None


def move(run: Run, now: Now, told: Told, *, public: dict[str, Any] | None = None, **private: Any) -> Run:
    """The run one version further; `public` and `private` replace fields of its public and internal state."""
    if run.ended:
        raise AssertionError(f"run {run.id} has ended {run.change.state}")
    at = max(told.at or now.wall_at, run.change.updated_at)
    steps = run.change.steps
    if told.step:
        steps = (*steps, RunStep(name=told.step, status=told.status, at=told.at or now.wall_at, detail=told.detail))
    change = replace(
        run.change,
        state=told.state or run.change.state,
        version=run.change.version + 1,
        steps=steps,
        reason=run.change.reason if told.reason is None else told.reason,
        actor=told.actor,
        updated_at=at,
        **(public or {}),
    )
    if "phase" in private:
        private["phase_since"] = now.wall_at
    if change.state in FINAL_STATES:
        private = {**private, "phase": Phase.ENDED, "in_doubt": False}
    return replace(run, change=change, pending=(*run.pending, change), **private)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a new run begins with.

    Attributes:
        change: Its first public state.
        incident_number: For people.
        hypothesis: What it acts on.
        revision: Revision of the investigation.
        lead: How many times as confident the hypothesis is as its rivals.
        limits: Its times.
        inverse: Name of the action that undoes it.
        anomalies: Anomalies of the incident.
        blamed_change_id: Change that the hypothesis blames.
    """

    change: RemediationChanged
    incident_number: str
    hypothesis: Hypothesis
    revision: int
    lead: float
    limits: Limits
    inverse: str = ""
    anomalies: tuple[AnomalyDetected, ...] = field(default=())
    blamed_change_id: str = ""


def open_run(opening: Opening, now: Now) -> Run:
    """A run at its beginning."""
    ended = opening.change.state in FINAL_STATES
    return Run(
        change=opening.change,
        phase=Phase.ENDED if ended else Phase.CAPTURE,
        incident_number=opening.incident_number,
        hypothesis=opening.hypothesis,
        revision=opening.revision,
        lead=opening.lead,
        limits=opening.limits,
        inverse=opening.inverse,
        watched=watches(opening.change.target, opening.anomalies),
        loads=loads_of(opening.change.target, opening.anomalies),
        began_event_at=now.event_at,
        phase_since=now.wall_at,
        blamed_change_id=opening.blamed_change_id,
        pending=(opening.change,),
    )


def watches(target: str, anomalies: Sequence[AnomalyDetected]) -> tuple[Watch, ...]:
    """What to watch of an incident: anomalies on the target or on calls to it trigger; without any, all of them do.

    More requests than usual are watched only where there is nothing else.
    """
    harm = [anomaly for anomaly in anomalies if not is_load(anomaly)]
    found = [watch_of(target, anomaly) for anomaly in harm or anomalies]
    if not any(watch.trigger for watch in found):
        found = [replace(watch, trigger=True) for watch in found]
    return tuple(found)


def loads_of(target: str, anomalies: Sequence[AnomalyDetected]) -> tuple[Watch, ...]:
    """Where an incident shows more requests than usual."""
    return tuple(watch_of(target, anomaly) for anomaly in anomalies if is_load(anomaly))


def is_load(anomaly: AnomalyDetected) -> bool:
    """Whether there are only more requests than usual: no harm, and a fix that lets them through raises them."""
    return anomaly.signal is Signal.TRAFFIC and anomaly.observed > anomaly.expected


def watch_of(target: str, anomaly: AnomalyDetected) -> Watch:
    """The newest state of an anomaly as something to watch."""
    closed = anomaly.state is EpisodeState.CLOSED
    return Watch(
        id=anomaly.id,
        service=anomaly.service,
        peer=anomaly.peer or "",
        signal=anomaly.signal.value,
        severity=anomaly.severity,
        trigger=target in (anomaly.service, anomaly.peer),
        started_at=anomaly.started_at,
        sequence=anomaly.sequence,
        closed_at=max(anomaly.closed_at or anomaly.updated_at, anomaly.updated_at) if closed else None,
    )
