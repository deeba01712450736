"""Carry out what runs ask for: look things up, ask policy, talk to the executor; every answer becomes a fact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.codec import ns_from_utc
from libs.contracts.incident import OPEN_STATES, IncidentChanged
from libs.contracts.remediation import Mode
from libs.contracts.telemetry import ChangeEvent
from libs.errors import InvalidMessage, NotFound
from libs.runbooks import Runbook
from libs.runbooks.actions import ActionCall, check_call
from libs.runbooks.parameters import Facts, fill_all
from libs.stores.incidents import IncidentQuery, IncidentStore
from libs.stores.telemetry import TelemetryReader, Window
from services.remediation.callees import ailing_callees
from services.remediation.executors.port import Executor, ExecutorAway, ExecutorRefused
from services.remediation.facts import (
    Applied,
    Apply,
    Away,
    Capture,
    Captured,
    CheckLive,
    Effect,
    Fact,
    Judge,
    Judged,
    Passed,
    Plan,
    Planned,
    Refused,
    Ruling,
    Undone,
    Verdict,
    WentLive,
)
from services.remediation.ledger import Ledger
from services.remediation.policy import ACTOR, Situation, effective_mode, judge
from services.remediation.request import detection
from services.remediation.run import Now, Run

# A leak or a slow roll-out takes its time to show; the blamed change may lie this long before the deviation.
CHANGES_BEFORE: Final = timedelta(hours=1)
# Changes are dated by their sender's clock, which may run ahead of telemetry by an export interval or so.
CHANGES_AHEAD: Final = timedelta(minutes=10)
# The newest open incidents; trouble below a target that is older than a thousand tickets is nobody's cause.
_MOST_INCIDENTS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Performer:
    """Knows how to carry out each effect.

    Attributes:
        incidents: The incident store.
        telemetry: The telemetry store.
        executor: Who changes production.
        runbooks: Patterns by name.
        ledger: Runs and switches.
        modes: Modes by pattern from the settings.
    """

    incidents: IncidentStore
    telemetry: TelemetryReader
    executor: Executor
    runbooks: Mapping[str, Runbook]
    ledger: Ledger
    modes: Mapping[str, str]

    def perform(self, run: Run, effect: Effect, now: Now) -> Fact:
        """Carry one effect out; `Unavailable` only when a store cannot be reached."""
        try:
            return self._perform(run, effect, now)
        except ExecutorRefused as error:
            return Refused(reason=str(error))
        except ExecutorAway as error:
            return Away(reason=str(error), carried_out=error.carried_out)

    def mode(self, runbook: Runbook) -> Mode:
        """Mode of a pattern as it holds now."""
        if self.executor.why_observe:
            return Mode.OBSERVE
        return effective_mode(runbook, dict(self.modes), self.ledger.modes.modes())

    def changes_by_others(self, run: Run, now: Now) -> list[ChangeEvent]:
        """What others changed on the target after the fix was applied."""
        applied_at = run.change.applied_at
        if applied_at is None:
            return []
        window = Window(start_ns=ns_from_utc(applied_at), end_ns=ns_from_utc(now.event_at + CHANGES_AHEAD))
        found = self.telemetry.changes(window, services=(run.change.target,))
        return [change for change in found if change.actor != ACTOR and change.id != run.blamed_change_id]

    def _perform(self, run: Run, effect: Effect, now: Now) -> Fact:
        match effect:
            case Capture():
                return self._capture(run, now)
            case Judge():
                return Judged(verdict=self._judge(run, now))
            case Plan(call=call):
                plan = self.executor.plan(call)
                return Planned(call=plan.call, changes=plan.changes, text=plan.text, before=plan.before)
            case Apply(call=call, key=key):
                report = self.executor.apply(call, key)
                return Applied(live=report.live, text=report.text)
            case CheckLive(call=call):
                report = self.executor.check(call)
                return WentLive(text=report.text) if report.live else Passed()
            case _:
                return Undone(text=self.executor.apply(effect.call, effect.key).text)

    def _capture(self, run: Run, now: Now) -> Fact:
        incident = self.incident(run)
        if incident is None:
            return Refused(reason=f"incident {run.change.incident_id} is not in the store")
        before = self.executor.look(run.change.target)
        change = self._blamed_change(run, incident, now)
        call, problem = self._call(
            run, Facts(hypothesis=run.hypothesis, incident=incident, change=change, target=before)
        )
        return Captured(
            detection=detection(run.change.target, incident.anomalies),
            call=call,
            problem=problem,
            before=before,
            neighbours=self._neighbours(run.change.target, incident),
        )

    def incident(self, run: Run) -> IncidentChanged | None:
        """The incident of a run as it is stored."""
        document = self.incidents.get(run.change.incident_id)
        return document.incident if document is not None else None

    def _call(self, run: Run, facts: Facts) -> tuple[ActionCall | None, str]:
        runbook = self.runbooks.get(run.change.pattern)
        if runbook is None:
            return None, f"there is no runbook {run.change.pattern} any more"
        try:
            parameters = fill_all(runbook.parameters, facts)
            return check_call(ActionCall(action=runbook.action, service=run.change.target, parameters=parameters)), ""
        except (NotFound, InvalidMessage) as error:
            return None, str(error)

    def _blamed_change(self, run: Run, incident: IncidentChanged, now: Now) -> ChangeEvent | None:
        if not run.blamed_change_id:
            return None
        start = ns_from_utc(incident.started_at - CHANGES_BEFORE)
        window = Window(start_ns=start, end_ns=ns_from_utc(now.event_at + CHANGES_AHEAD))
        document = self.incidents.get(incident.id)
        known: Sequence[ChangeEvent] = document.context.changes if document else ()
        recorded = self.telemetry.changes(window, services=(run.change.target,))
        return next((change for change in (*recorded, *known) if change.id == run.blamed_change_id), None)

    def _neighbours(self, target: str, incident: IncidentChanged) -> tuple[str, ...]:
        """Services one call away from the target, and the others that the incident touches."""
        near = set(incident.services)
        for edge in self.telemetry.edges():
            if target in (edge.caller, edge.callee):
                near |= {edge.caller, edge.callee}
        return tuple(sorted(near - {target}))

    def _ailing(self, run: Run) -> tuple[AnomalyDetected, ...]:
        query = IncidentQuery(states=tuple(sorted(OPEN_STATES)), limit=_MOST_INCIDENTS)
        incidents = self.incidents.search(query).incidents
        return ailing_callees(run.change.target, self.telemetry.edges(), incidents)

    def _judge(self, run: Run, now: Now) -> Verdict:
        runbook = self.runbooks.get(run.change.pattern)
        if runbook is None:
            reason = f"there is no runbook {run.change.pattern} any more"
            return Verdict(ruling=Ruling.DENY, mode=run.change.mode, reason=reason)
        since = now.event_at - timedelta(seconds=runbook.guardrails.human_change_s)
        window = Window(start_ns=ns_from_utc(since), end_ns=ns_from_utc(now.event_at + CHANGES_AHEAD))
        situation = Situation(
            runbook=runbook,
            mode=self.mode(runbook),
            why_observe=self.executor.why_observe,
            halted=now.halted,
            runs=self.ledger.others(run),
            changes=tuple(self.telemetry.changes(window, services=(run.change.target,))),
            ailing=self._ailing(run) if runbook.guardrails.healthy_callees else (),
            event_at=now.event_at,
        )
        return judge(run, situation)
