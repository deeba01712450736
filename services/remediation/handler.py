"""The remediation handler: turn messages and time into facts, decide, make it durable, then act, one change a tick."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.codec import utc_from_ns
from libs.contracts.command import Command, CommandKind
from libs.contracts.incident import OPEN_STATES, IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.topics import ANOMALIES, COMMANDS, INCIDENTS, INVESTIGATIONS
from libs.errors import Conflict, InvalidMessage, Unavailable
from libs.observability.log import Logger
from libs.runbooks import Runbook
from libs.stores.incidents import IncidentQuery, IncidentStore
from libs.stores.telemetry import TelemetryReader
from libs.streaming.handler import Emit, Event
from services.remediation.decide import decide, wanted
from services.remediation.facts import (
    AnomalySeen,
    Apply,
    Approved,
    ChangedByOthers,
    Fact,
    IncidentSeen,
    Passed,
    Rejected,
    Restarted,
    Revised,
    TakenOver,
    Undo,
)
from services.remediation.ledger import Ledger
from services.remediation.performer import Performer
from services.remediation.request import attempt_of, begin, candidate, leading, needs_human, same_fix
from services.remediation.run import Limits, Now, Run
from services.remediation.switches import halt_after, modes_after

_PAGE: Final = 200
# The longest chain without waiting: capture, judge, plan, judge, apply, check.
_CHAIN: Final = 8
_SWITCHES: Final = frozenset({CommandKind.HALT, CommandKind.RESUME, CommandKind.SET_MODE})
_ENDINGS: Final = {CommandKind.RESOLVE: "resolved", CommandKind.CANCEL: "canceled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the handler works with.

    Attributes:
        incidents: The incident store.
        telemetry: The telemetry store.
        ledger: Runs and switches.
        performer: Carries out what runs ask for.
        runbooks: Patterns.
        limits: Times of a run of a pattern; of none without one.
        clock: Wall clock, aware UTC.
        log: Canonical log.
    """

    incidents: IncidentStore
    telemetry: TelemetryReader
    ledger: Ledger
    performer: Performer
    runbooks: Sequence[Runbook]
    limits: Callable[[Runbook | None], Limits]
    clock: Callable[[], datetime]
    log: Logger


class RemediationHandler:
    """Heals what is known, and says so when nothing is.

    Args:
        parts: Stores, ledger, performer and runbooks.
    """

    subscriptions: Sequence[str] = (COMMANDS, INCIDENTS, INVESTIGATIONS, ANOMALIES)

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ledger = parts.ledger
        self._loaded = False
        self._incidents: dict[str, IncidentChanged] = {}
        self._undecided: dict[str, InvestigationCompleted] = {}
        self._seen_at = datetime.min.replace(tzinfo=UTC)

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        """Handle a batch; nothing is applied in here, so a halt anywhere in it comes before what it is to stop."""
        with self._reloading_on_failure():
            self._load()
            now = self._now()
            for record in (event.record for event in events):
                if isinstance(record, Command):
                    self._on_command(record, now)
                    now = self._now()
                elif isinstance(record, IncidentChanged):
                    self._on_incident(record, now)
                elif isinstance(record, InvestigationCompleted):
                    self._on_investigation(record, now)
                elif isinstance(record, AnomalyDetected):
                    self._on_anomaly(record, now)
            return self._ledger.take()

    def tick(self, now: datetime) -> Sequence[Emit]:
        """Do what is due by time and what runs ask for; at most one change of production, then commands are read."""
        with self._reloading_on_failure():
            self._load()
            if self._ledger.active() or self._undecided:
                moment = self._now()
                self._escalate_undecided(moment)
                self._pass_time(moment)
                self._act(moment)
            self._ledger.sweep(max(self._seen_at, now))
            return self._ledger.take()

    def close(self) -> None:
        """Let go of the executor."""
        self._parts.performer.executor.close()

    def acknowledged(self) -> None:
        """The broker has what was returned."""
        self._ledger.acknowledged()

    def failed(self) -> None:
        """The broker may not have what was returned."""
        self._ledger.failed()

    def wait_for_acknowledgement(self) -> None:
        """Keep what is returned until `acknowledged` is called."""
        self._ledger.awaits_acknowledgement = True

    @contextmanager
    def _reloading_on_failure(self) -> Iterator[None]:
        """What was decided but may not be stored is read again before the next attempt."""
        try:
            yield
        except Conflict as error:
            self._loaded = False
            raise Unavailable(f"changed by another instance: {error}") from error
        except Unavailable:
            self._loaded = False
            raise

    def _load(self) -> None:
        if self._loaded:
            return
        active = self._ledger.load()
        self._incidents, self._undecided = {}, {}
        offset = 0
        while True:
            page = self._parts.incidents.search(
                IncidentQuery(states=tuple(sorted(OPEN_STATES)), limit=_PAGE, offset=offset)
            )
            for incident in page.incidents:
                self._incidents[incident.id] = incident
                document = self._parts.incidents.get(incident.id)
                if document is not None and document.investigation is not None:
                    self._undecided[incident.id] = document.investigation
            offset += len(page.incidents)
            if not page.incidents or offset >= page.total:
                break
        self._loaded = True
        now = self._now()
        for run in active:
            self._step(run, Restarted(), now)
        # An investigation may have been stored right before the end, and its message handled half.
        for investigation in list(self._undecided.values()):
            self._on_investigation(investigation, now)

    def _now(self) -> Now:
        watermark_ns = self._parts.telemetry.watermark_ns()
        recorded = utc_from_ns(watermark_ns) if watermark_ns else self._seen_at
        return Now(event_at=max(recorded, self._seen_at), wall_at=self._parts.clock(), halted=self._ledger.halt.text())

    def _step(self, run: Run, fact: Fact, now: Now) -> Run:
        """Decide and make it durable."""
        after, _ = decide(run, fact, now)
        self._ledger.save(after)
        if after.change.version != run.change.version:
            change = after.change
            self._parts.log.info(
                "remediation", incident=after.incident_number, run=run.id, pattern=change.pattern,
                target=change.target, state=change.state.value, reason=change.reason,
            )  # fmt: skip
        return after

    def _active(self, incident_id: str) -> Run | None:
        runs = [run for run in self._ledger.of_incident(incident_id) if not run.ended]
        return runs[-1] if runs else None

    # --- messages -----------------------------------------------------------------------------------------------

    def _on_incident(self, incident: IncidentChanged, now: Now) -> None:
        known = self._incidents.get(incident.id)
        if known is not None and known.version > incident.version:
            return
        self._seen_at = max(self._seen_at, incident.updated_at)
        if incident.state in OPEN_STATES:
            self._incidents[incident.id] = incident
        else:
            self._incidents.pop(incident.id, None)
            self._undecided.pop(incident.id, None)
        run = self._active(incident.id)
        if run is not None:
            self._step(run, IncidentSeen(incident=incident), now)

    def _on_anomaly(self, anomaly: AnomalyDetected, now: Now) -> None:
        self._seen_at = max(self._seen_at, anomaly.updated_at)
        for run in self._ledger.active():
            self._step(run, AnomalySeen(anomaly=anomaly, of_incident=False), now)

    def _on_investigation(self, investigation: InvestigationCompleted, now: Now) -> None:
        document = self._parts.incidents.get(investigation.incident_id)
        if document is None:
            raise InvalidMessage(f"investigation {investigation.id}: no incident {investigation.incident_id!r}")
        newest = document.investigation
        if newest is not None and newest.revision > investigation.revision:
            investigation = newest
        incident = document.incident
        if incident.state not in OPEN_STATES:
            return
        self._incidents[incident.id] = incident
        found = candidate(self._parts.runbooks, investigation, incident)
        run = self._active(incident.id)
        if run is not None:
            same = found if found is not None and same_fix(run, found) else None
            leader = leading(investigation)
            run = self._step(
                run,
                Revised(
                    revision=investigation.revision,
                    hypothesis=same.hypothesis if same else None,
                    lead=same.lead if same else 0.0,
                    leader=f"{leader.cause} ({leader.service})" if leader else "nothing stands out",
                ),
                now,
            )
            if not run.ended:
                self._undecided.pop(incident.id, None)
                return
        if found is None:
            self._undecided[incident.id] = investigation
            self._escalate_undecided(now)
            return
        self._undecided.pop(incident.id, None)
        attempt = attempt_of(found, self._ledger.of_incident(incident.id), self._ledger.told(incident.id))
        if attempt is None:
            return
        limits = self._parts.limits(found.runbook)
        self._ledger.save(begin(found, incident, self._parts.performer.mode(found.runbook), limits, attempt, now))

    def _escalate_undecided(self, now: Now) -> None:
        for incident_id, investigation in list(self._undecided.items()):
            incident = self._incidents.get(incident_id)
            run = needs_human(incident, investigation, self._parts.limits(None), now) if incident else None
            if incident is not None and run is None:
                continue
            del self._undecided[incident_id]
            if run is not None and not self._ledger.knows(run.id):
                self._ledger.save(run)

    # --- commands -----------------------------------------------------------------------------------------------

    def _on_command(self, command: Command, now: Now) -> None:
        if command.kind in _SWITCHES:
            self._switch(command)
        elif command.kind in (CommandKind.APPROVE, CommandKind.REJECT):
            run = self._asked_for(command)
            kind = Approved if command.kind is CommandKind.APPROVE else Rejected
            self._step(run, kind(command_id=command.id, actor=command.actor, reason=command.reason), now)
        elif command.kind in _ENDINGS:
            what = _ENDINGS[command.kind]
            for run in self._ledger.active():
                if command.target in (run.change.incident_id, run.incident_number):
                    self._step(run, TakenOver(command_id=command.id, actor=command.actor, what=what), now)

    def _switch(self, command: Command) -> None:
        ledger = self._ledger
        if command.kind is CommandKind.SET_MODE:
            patterns = frozenset(runbook.name for runbook in self._parts.runbooks)
            modes = modes_after(ledger.modes, command, patterns)
            if modes != ledger.modes:
                ledger.save_modes(modes)
            return
        halt = halt_after(ledger.halt, command)
        if halt != ledger.halt:
            ledger.save_halt(halt)
            self._parts.log.warning("halt" if halt.halted else "resume", actor=halt.actor, reason=halt.reason)

    def _asked_for(self, command: Command) -> Run:
        """The run that an approval or rejection is about, by run id, incident id or number."""
        run = self._ledger.get(command.target)
        if run is not None:
            return run
        of_incident = [
            run
            for run in sorted(self._ledger.all(), key=lambda run: (not run.ended, run.change.updated_at))
            if run.change.pattern
            and command.target.upper() in (run.change.incident_id.upper(), run.incident_number.upper())
        ]
        for run in of_incident:
            if command.id in run.commands:
                return run  # delivered again: it was about this one
        if not of_incident:
            raise InvalidMessage(f"{command.kind.value} by {command.actor}: no run of {command.target!r} waits")
        return of_incident[-1]

    # --- time and effects ---------------------------------------------------------------------------------------

    def _pass_time(self, now: Now) -> None:
        for run in self._ledger.active():
            if run.change.applied_at is not None and not run.change.human_involved:
                for change in self._parts.performer.changes_by_others(run, now)[-1:]:
                    run = self._step(run, ChangedByOthers(change=change), now)
            self._step(run, Passed(), now)

    def _act(self, now: Now) -> None:
        """Carry out what runs ask for; after one change of production the rest waits for the next tick."""
        for run in self._ledger.active():
            for _ in range(_CHAIN):
                effects = wanted(run, now)
                if not effects:
                    break
                fact = self._parts.performer.perform(run, effects[0], now)
                now = self._now()
                after = self._step(run, fact, now)
                if isinstance(effects[0], Apply | Undo):
                    return
                if after == run:
                    break
                run = after
