"""The investigator's handler: decides what is due, investigates, writes the section, then emits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from libs.contracts.codec import ns_from_utc, utc_from_ns
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import IncidentDocument, Section
from libs.contracts.incident import OPEN_STATES, IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.telemetry import ChangeEvent
from libs.contracts.topics import CHANGES, COMMANDS, INCIDENTS, INVESTIGATIONS
from libs.errors import Conflict, InvalidMessage
from libs.observability.log import Logger
from libs.runbooks.runbook import Runbook
from libs.stores.incidents import IncidentQuery, IncidentStore
from libs.stores.telemetry import LogQuery, SpanQuery, TelemetryStore, Window
from libs.streaming.handler import Emit, Event
from services.investigator.further import Further
from services.investigator.late import LateArrivals, Look
from services.investigator.pending import Due, asked_key, due_for, has_waited, next_settle
from services.investigator.protocol import investigate
from services.investigator.ranking.changes import is_platform
from services.investigator.scene import FIRST_LOOK_SPANS, LATER_LOOK_SPANS, scene_of

_PAGE: Final = 500
_OF_ENDED: Final = frozenset({"asked", "late"})  # looks that are made at an incident that is over, too
_DATETIME_NS: Final = 1_000  # what a datetime can tell apart


class InvestigatorHandler:
    """Investigates incidents as they open, grow and settle.

    What is due is kept in memory and found again in the incident store after a restart. A result is written before it
    is emitted; ids are derived, so what is done twice changes nothing.

    Args:
        telemetry: Recorded telemetry.
        incidents: Incident documents; this handler alone writes the section `investigation`.
        runbooks: Known patterns.
        window_s: Width of a step of the rates, seconds.
        clock: Wall clock, or event time in a replay; it only bounds waiting.
        log: Canonical log.
        further: A model that goes on from the statistical answer; None without one.
    """

    def __init__(
        self,
        *,
        telemetry: TelemetryStore,
        incidents: IncidentStore,
        runbooks: Sequence[Runbook],
        window_s: float,
        clock: Callable[[], datetime],
        log: Logger,
        further: Further | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._incidents = incidents
        self._runbooks = tuple(runbooks)
        self._window_s = window_s
        self._clock = clock
        self._log = log
        self._further = further
        self._due: dict[str, Due] = {}
        self._settling: dict[str, datetime] = {}
        self._late = LateArrivals(telemetry, clock)
        self._outbox: list[Emit] = []
        self._reconciled = False

    @property
    def subscriptions(self) -> Sequence[str]:
        """Incidents, what people ask for, and the changes that are to be found in the telemetry store."""
        return (INCIDENTS, COMMANDS, CHANGES)

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        """Note what is due and investigate what can be; `InvalidMessage` for a command on an unknown incident."""
        self._reconcile()
        for event in events:
            match event.record:
                case IncidentChanged() as incident:
                    self._note_incident(incident)
                case Command() as command:
                    self._note_command(command)
                case ChangeEvent() as change:
                    self._late.told(change)
                case other:
                    raise InvalidMessage(f"{event.topic}: the investigator does not read a {type(other).__name__}")
        self._run_due()
        return self._drain()

    def tick(self, now: datetime) -> Sequence[Emit]:
        """Investigate what has become due, and take what a model found."""
        self._reconcile()
        self._note_settled()
        self._note_late()
        self._run_due()
        if self._further is not None:
            for result in self._further.finished():
                self._keep_further(result)
        return self._drain()

    def end(self) -> Sequence[Emit]:
        """Look at every open incident that was not fixed once more, with all telemetry: a recording has ended."""
        self._reconcile()
        as_of_ns = self._telemetry.watermark_ns() + _DATETIME_NS - 1  # a datetime cuts what is below a microsecond
        for incident in self._open_incidents():
            moment = utc_from_ns(max(as_of_ns, ns_from_utc(incident.opened_at)))
            document = self._incidents.get(incident.id)
            if document is None or (document.investigation is not None and self._is_fixed(document, moment)):
                continue
            self._due[incident.id] = Due(incident_id=incident.id, as_of=moment, reason="asked", asked_at=self._clock())
        for due in sorted(self._due.values(), key=lambda entry: entry.incident_id):
            self._investigate(due, ns_from_utc(due.as_of))
            self._due.pop(due.incident_id, None)
        return self._drain()

    def close(self) -> None:
        """Stop asking the model."""
        if self._further is not None:
            self._further.close()

    def _drain(self) -> list[Emit]:
        """What was written and not emitted yet; it survives an outage in the middle of a batch."""
        emits, self._outbox = self._outbox, []
        return emits

    def _reconcile(self) -> None:
        """After a start: open incidents that nobody investigated are due; what is stored is emitted once more."""
        if self._reconciled:
            return
        for incident in self._open_incidents():
            stored = self._stored(incident.id)
            if stored is None:
                self._note_incident(incident)
            else:
                self._outbox.append(_emit(stored))
                self._schedule_settling(incident, stored)
                self._late.found_again(incident, ns_from_utc(stored.as_of))
        self._reconciled = True

    def _open_incidents(self) -> Iterator[IncidentChanged]:
        offset, total = 0, 1
        while offset < total:
            page = self._incidents.search(IncidentQuery(states=tuple(sorted(OPEN_STATES)), limit=_PAGE, offset=offset))
            total, offset = page.total, offset + _PAGE
            yield from page.incidents

    def _note_incident(self, incident: IncidentChanged) -> None:
        known = self._due.get(incident.id)
        if incident.state not in OPEN_STATES:
            if known is not None and known.reason not in _OF_ENDED:
                del self._due[incident.id]
            self._settling.pop(incident.id, None)
            return
        due = due_for(incident, self._stored(incident.id), self._clock())
        if due is not None and (known is None or known.reason == "settled"):
            self._due[incident.id] = due

    def _note_command(self, command: Command) -> None:
        if command.kind is not CommandKind.INVESTIGATE:
            return
        document = self._incidents.get(command.target)
        if document is None:
            raise InvalidMessage(f"no incident {command.target[:80]!r} to investigate")
        if self._incidents.state(asked_key(command.id)) is not None:
            return
        as_of_ns = max(self._telemetry.watermark_ns(), ns_from_utc(document.incident.opened_at))
        self._due[document.incident.id] = Due(
            incident_id=document.incident.id,
            as_of=utc_from_ns(as_of_ns),
            reason="asked",
            asked_at=self._clock(),
            command_id=command.id,
        )
        self._run_due()

    def _note_settled(self) -> None:
        """Look again where the event time of a later look has come."""
        if not self._settling:
            return
        watermark_ns = self._telemetry.watermark_ns()
        for incident_id, moment in list(self._settling.items()):
            if ns_from_utc(moment) <= watermark_ns and incident_id not in self._due:
                self._settling.pop(incident_id)
                self._due[incident_id] = Due(
                    incident_id=incident_id,
                    as_of=moment,
                    reason="settled",
                    asked_at=self._clock(),
                    with_model=False,
                )

    def _note_late(self) -> None:
        """Look again, up to the same moment, where something was missing that has come; a resolved incident too."""
        for incident_id, moment in self._late.to_look_again():
            if incident_id not in self._due:
                self._due[incident_id] = Due(
                    incident_id=incident_id, as_of=moment, reason="late", asked_at=self._clock()
                )

    def _run_due(self) -> None:
        if not self._due:
            return
        watermark_ns, now = self._telemetry.watermark_ns(), self._clock()
        for due in sorted(self._due.values(), key=lambda entry: (entry.as_of, entry.incident_id)):
            as_of_ns = ns_from_utc(due.as_of)
            if has_waited(due, now) or self._late.all_there(as_of_ns, watermark_ns):
                self._investigate(due, as_of_ns)
                if due.command_id:
                    self._incidents.put_state(asked_key(due.command_id), '"done"')
                self._due.pop(due.incident_id, None)

    def _investigate(self, due: Due, as_of_ns: int) -> None:
        document = self._incidents.get(due.incident_id)
        if document is None or (document.incident.state not in OPEN_STATES and due.reason not in _OF_ENDED):
            return
        if due.reason == "settled" and self._is_fixed(document, due.as_of):
            return
        section = self._incidents.section(due.incident_id, Section.INVESTIGATION)
        if due.reason == "settled" and section is not None and not self._heard_between(section[0].as_of, due.as_of):
            self._schedule_settling(document.incident, replace(section[0], as_of=due.as_of))
            return
        revision = section[0].revision + 1 if section is not None else 1
        short = not self._late.all_there(as_of_ns, self._telemetry.watermark_ns())
        scene = scene_of(
            document.incident,
            self._telemetry,
            self._incidents,
            as_of_ns=as_of_ns,
            window_s=self._window_s,
            runbooks=self._runbooks,
            most_spans=LATER_LOOK_SPANS if due.reason in ("settled", "asked") else FIRST_LOOK_SPANS,
        )
        found = investigate(scene, revision=revision, started_at=self._clock())
        asks = self._asks_model(due, document.incident)
        completed = found.completed if self._further is None or asks else self._further.looked_again(found)
        if not self._keep(completed, section[1] if section is not None else 0):
            return
        self._late.looked(
            Look(
                incident_id=due.incident_id,
                as_of_ns=as_of_ns,
                changes=scene.changes_window,
                seen=frozenset(change.id for change in found.evidence.changes),
                short=short,
                at=self._clock(),
            )
        )
        self._log.info(
            "investigated",
            **{
                "incident.id": due.incident_id,
                "reason": due.reason,
                "revision": revision,
                "service": found.completed.hypotheses[0].service if found.completed.hypotheses else "",
                "duration_s": found.completed.duration_s,
            },
        )
        self._schedule_settling(document.incident, found.completed)
        if self._further is not None and asks:
            self._further.start(scene, found)

    def _asks_model(self, due: Due, incident: IncidentChanged) -> bool:
        """A later look asks no model, and growth none while one is at work: its answer is fused with the newer look."""
        if self._further is None or not due.with_model or (due.reason == "late" and incident.state not in OPEN_STATES):
            return False
        return due.reason not in ("grown", "late") or not self._further.is_asking(due.incident_id)

    def _is_fixed(self, document: IncidentDocument, until: datetime) -> bool:
        """Whether Paramedic changed one of the suspects since the ticket was opened: telemetry shows the fix at work.

        A recording has no remediation and shows the fix as the change that it was.
        """
        if any(run.applied_at is not None for run in document.remediation):
            return True
        incident, found = document.incident, document.investigation
        suspects = {*incident.services, *(hypothesis.service for hypothesis in (found.hypotheses if found else ()))}
        window = Window(start_ns=ns_from_utc(incident.opened_at), end_ns=ns_from_utc(until) + 1)
        return any(map(is_platform, self._telemetry.changes(window, services=sorted(suspects))))

    def _heard_between(self, after: datetime, until: datetime) -> bool:
        """Whether any telemetry tells of the time between two looks: without it the second finds what the first found.

        Metrics that come once a minute have nothing new for the look 30 s after opening: a third of all looks.
        """
        window = Window(start_ns=ns_from_utc(after) + 1, end_ns=ns_from_utc(until) + 1)
        return bool(
            self._telemetry.spans(SpanQuery(window=window, limit=1))
            or self._telemetry.series(window, limit=1)
            or self._telemetry.logs(LogQuery(window=window, limit=1))
        )

    def _keep(self, completed: InvestigationCompleted, expected_version: int) -> bool:
        """Write the section, then queue the emit; False when somebody else was faster."""
        try:
            self._incidents.put(
                completed.incident_id, Section.INVESTIGATION, completed, expected_version=expected_version
            )
        except Conflict as error:
            self._log.warning("investigation not kept", reason=str(error), **{"incident.id": completed.incident_id})
            return False
        self._outbox.append(_emit(completed))
        return True

    def _keep_further(self, result: InvestigationCompleted) -> None:
        """Keep a model's answer as the next revision, unless telemetry has been looked at anew since."""
        section = self._incidents.section(result.incident_id, Section.INVESTIGATION)
        if section is None or section[0].revision + 1 != result.revision:
            self._log.info("model's answer is out of date", **{"incident.id": result.incident_id})
            return
        self._keep(result, section[1])

    def _schedule_settling(self, incident: IncidentChanged, stored: InvestigationCompleted) -> None:
        moment = next_settle(incident, stored)
        if moment is not None:
            self._settling[incident.id] = moment
        else:
            self._settling.pop(incident.id, None)

    def _stored(self, incident_id: str) -> InvestigationCompleted | None:
        section = self._incidents.section(incident_id, Section.INVESTIGATION)
        if section is None:
            return None
        stored: InvestigationCompleted = section[0]
        return stored


def _emit(completed: InvestigationCompleted) -> Emit:
    return Emit(topic=INVESTIGATIONS, key=completed.incident_id, record=completed)
