"""The recommender handler: commands and investigations in, one analysis at a time beside the loop, changes out.

An analysis takes seconds to minutes (it runs tests), so it runs in a thread of its own; `tick` starts it, collects what
it has delivered so far and returns at once. Everything that is stored or told is stored or told by the loop's thread.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from threading import Event as Flag
from typing import Final

from libs.contracts.codec import ns_from_utc, utc_from_ns
from libs.contracts.command import Command, CommandKind
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.topics import COMMANDS, INVESTIGATIONS
from libs.errors import Unavailable
from libs.observability.log import Logger
from libs.stores.incidents import IncidentStore
from libs.stores.telemetry import TelemetryReader
from libs.streaming.handler import Emit, Event
from services.recommender.analysis import Analyst, Asked, Report, around, scheduled
from services.recommender.branch import BranchRefused, put_on_branch
from services.recommender.configuration import Configuration
from services.recommender.ledger import IncidentToLookAt, Ledger
from services.recommender.merge import decided, merged, superseded
from services.recommender.observe import SETTLE_S
from services.recommender.process import Stopped
from services.recommender.source import NoSource, open_source

_DECISIONS: Final = frozenset({CommandKind.ACCEPT_RECOMMENDATION, CommandKind.DISMISS_RECOMMENDATION})
_LEADING: Final = 3  # hypotheses whose services are looked at
_UNKNOWN_BEGIN_S: Final = 300.0
# The recorder is seconds behind the investigator at most; after this long it has lost the telemetry.
_WATERMARK_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the handler works with.

    Attributes:
        incidents: The incident store.
        telemetry: The telemetry store.
        ledger: Recommendations and what must not be forgotten.
        analyst: Runs analyses.
        configuration: The operator's file.
        executor: Where analyses run; closed with the handler.
        stopping: Set when analyses are to give up.
        log: Canonical log.
    """

    incidents: IncidentStore
    telemetry: TelemetryReader
    ledger: Ledger
    analyst: Analyst
    configuration: Configuration
    executor: Executor
    stopping: Flag
    log: Logger


class RecommenderHandler:
    """Turns what production shows into recommendations.

    Args:
        parts: Stores, ledger, analyst, configuration.
    """

    subscriptions: Sequence[str] = (INVESTIGATIONS, COMMANDS)

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ledger = parts.ledger
        self._running: Future[Report] | None = None
        self._incident: IncidentToLookAt | None = None
        self._delivered: SimpleQueue[CodeChangeRecommended] = SimpleQueue()
        self._new_in_run = 0
        self._ran_at_ns = 0
        self._incident_since: dict[str, datetime] = {}

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        """Take decisions and remember incidents.

        Raises:
            InvalidMessage: a decision about something that does not exist or is superseded.
        """
        self._stored(lambda: self._take(events))
        return self._ledger.take()

    def tick(self, now: datetime) -> Sequence[Emit]:
        """Collect what the running analysis has delivered, and begin the next one when it is due."""
        self._stored(lambda: self._advance(now))
        return self._ledger.take()

    def close(self) -> None:
        """Let the running analysis give up, and wait for it: it looks every 0.2 s."""
        self._parts.stopping.set()
        self._parts.executor.shutdown(wait=True, cancel_futures=True)

    def acknowledged(self) -> None:
        """The broker has what was returned."""
        self._ledger.acknowledged()

    def failed(self) -> None:
        """The broker may not have what was returned."""
        self._ledger.failed()

    def wait_for_acknowledgement(self) -> None:
        """Keep what is returned until `acknowledged` is called."""
        self._ledger.awaits_acknowledgement = True

    @property
    def busy(self) -> bool:
        """Whether an analysis is running or delivered something that was not collected."""
        return self._running is not None

    def _stored(self, work: Callable[[], None]) -> None:
        try:
            self._ledger.load()
            work()
        except Unavailable:
            self._ledger.forget()
            raise

    # --- messages -----------------------------------------------------------------------------------------------

    def _take(self, events: Sequence[Event]) -> None:
        for record in (event.record for event in events):
            if isinstance(record, Command) and record.kind in _DECISIONS:
                self._decide(record)
            elif isinstance(record, InvestigationCompleted) and self._parts.configuration.schedule.on_incident:
                self._ledger.wait_for(self._to_look_at(record))

    def _decide(self, command: Command) -> None:
        after = decided(self._ledger.get(command.target), command)
        if after is not None:
            self._ledger.save(after)
            self._parts.log.info(
                "decision", recommendation=after.id, state=after.state, actor=after.decided_by, rule=after.rule
            )

    def _to_look_at(self, investigation: InvestigationCompleted) -> IncidentToLookAt:
        document = self._parts.incidents.get(investigation.incident_id)
        unknown = investigation.as_of - timedelta(seconds=_UNKNOWN_BEGIN_S)
        began = document.incident.started_at if document is not None else unknown
        leading = sorted(investigation.hypotheses, key=lambda one: one.rank)[:_LEADING]
        services = [*(one.service for one in leading), *(document.incident.services if document else ())]
        return IncidentToLookAt(
            incident_id=investigation.incident_id,
            services=tuple(dict.fromkeys(services)),
            began_ns=ns_from_utc(min(began, investigation.as_of)),
            as_of_ns=ns_from_utc(investigation.as_of),
        )

    # --- analyses -----------------------------------------------------------------------------------------------

    def _advance(self, now: datetime) -> None:
        if self._running is not None:
            self._collect()
        if self._running is None and not self._parts.stopping.is_set():
            self._begin(now)

    def _begin(self, now: datetime) -> None:
        watermark_ns = self._parts.telemetry.watermark_ns()
        incident = self._next_incident(watermark_ns, now)
        sources = self._parts.configuration.sources
        if incident is not None:
            end_ns = incident.as_of_ns + round(SETTLE_S * 1e9)
            asked = around(
                incident.incident_id, incident.services, incident.began_ns, end_ns, sources.incident_before_s
            )
        elif watermark_ns - self._ran_at_ns >= self._parts.configuration.schedule.every_s * 1e9:
            asked, self._ran_at_ns = scheduled(watermark_ns, sources.window_s), watermark_ns
        else:
            return
        self._incident, self._new_in_run = incident, 0
        known = self._ledger.known
        self._running = self._parts.executor.submit(self._run, asked, known)

    def _run(self, asked: Asked, known: dict[str, CodeChangeRecommended]) -> Report:
        return self._parts.analyst.run(asked, known, self._delivered.put)

    def _next_incident(self, watermark_ns: int, now: datetime) -> IncidentToLookAt | None:
        """The oldest one whose telemetry is recorded, or will not be any more."""
        for one in self._ledger.waiting:
            since = self._incident_since.setdefault(one.incident_id, now)
            recorded = watermark_ns >= one.as_of_ns + round(SETTLE_S * 1e9)
            if recorded or (now - since).total_seconds() > _WATERMARK_S:
                return one
        return None

    def _collect(self) -> None:
        assert self._running is not None
        done = self._running.done()
        while True:
            try:
                one = self._delivered.get_nowait()
            except Empty:
                break
            self._keep(one)
        if done:
            running, self._running = self._running, None
            self._end(running)

    def _end(self, running: Future[Report]) -> None:
        failure = running.exception()
        if failure is None:
            self._finish(running.result())
        elif isinstance(failure, Unavailable):
            raise failure  # an incident is still waiting and looked at again
        elif not isinstance(failure, Stopped):
            # A bug that one finding or file brings out must not end the service, nor be met again by the same incident.
            self._parts.log.error("analysis failed", error=failure)
            if self._incident is not None:
                self._ledger.looked_at(self._incident)

    def _keep(self, found: CodeChangeRecommended) -> None:
        caps, stored = self._parts.configuration.caps, self._ledger.get(found.id)
        after = merged(stored, found)
        if after is None:
            return
        if stored is None or stored.state != "open":
            if self._new_in_run >= caps.per_run or self._ledger.open_of(found.service) >= caps.open_per_service:
                self._parts.log.info("not recommended", rule=found.rule, service=found.service, reason="cap reached")
                return
            self._new_in_run += 1
        if after.diff and (stored is None or stored.diff != after.diff or not stored.branch):
            after = self._on_branch(after)
        self._ledger.save(after)
        self._parts.log.info(
            "recommended", recommendation=after.id, rule=after.rule, service=after.service, confidence=after.confidence,
            path=after.location.path, line=after.location.line, patch=bool(after.diff), incident=after.incident_id,
        )  # fmt: skip

    def _on_branch(self, one: CodeChangeRecommended) -> CodeChangeRecommended:
        delivery = self._parts.configuration.delivery
        repository = self._parts.configuration.repository_of(one.service)
        if not delivery.branch or repository is None:
            return one
        try:
            source = open_source(repository, one.location.version)
            return replace(one, branch=put_on_branch(source, one, delivery.branch_prefix))
        except (BranchRefused, NoSource) as error:
            self._parts.log.warning("no branch", recommendation=one.id, reason=str(error))
            return replace(one, branch="")

    def _finish(self, report: Report) -> None:
        if self._incident is not None:
            self._incident_since.pop(self._incident.incident_id, None)
            self._ledger.looked_at(self._incident)
        elif report.complete:
            found = {one.id for one in report.found}
            for stored in self._ledger.known.values():
                after = None
                if stored.id not in found:
                    at = utc_from_ns(report.asked.window.end_ns)
                    after = superseded(stored, report.judged, report.operations, at)
                if after is not None:
                    self._ledger.save(after)
        self._parts.log.info(
            "analysed",
            incident=report.asked.incident_id or "",
            requests=report.requests,
            found=len(report.found),
            refuted=len(report.notes),
            complete=report.complete,
            duration_s=round(report.duration_s, 3),
        )
