"""A small world for the whole handler: real SQLite stores, a real control server, a clock that is told the time."""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.batch_rows import SpanIn
from libs.contracts.batches import SpanBatchBuilder
from libs.contracts.codec import Codec, ns_from_utc
from libs.contracts.columns import pack_float64, pack_int32, pack_int64
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import Section
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import Hypothesis, InvestigationCompleted
from libs.contracts.records import Record
from libs.contracts.remediation import RemediationChanged, RunState
from libs.contracts.telemetry import ChangeEvent, MetricBatch, MetricSeries
from libs.contracts.topics import ANOMALIES, COMMANDS, INCIDENTS, INVESTIGATIONS
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from libs.streaming.handler import Emit, Event
from services.remediation.handler import RemediationHandler
from services.remediation.service import handler
from tests.unit.libs.runbooks.made import T0, a_change, a_hypothesis, an_anomaly, an_incident, at, closed

TRIGGER = an_anomaly("catalog")
SYMPTOM = an_anomaly("gateway")
TOPICS: dict[type, str] = {
    AnomalyDetected: ANOMALIES,
    IncidentChanged: INCIDENTS,
    InvestigationCompleted: INVESTIGATIONS,
    Command: COMMANDS,
}


class Killed(BaseException):
    """kill -9: nothing after it runs, and nobody may catch it as an error."""


class KillSwitch:
    """Kills at the n-th point that is passed; never when n is 0."""

    def __init__(self, at_point: int = 0) -> None:
        self.at_point = at_point
        self.passed = 0

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.at_point:
            raise Killed


class MortalStore:
    """A real incident store whose process can be killed right before and right after every write."""

    def __init__(self, store: SqliteIncidentStore, switch: KillSwitch) -> None:
        self._store = store
        self._switch = switch

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in ("put", "put_state"):
            return method

        def mortal(*arguments: Any, **options: Any) -> Any:
            self._switch.point()
            result = method(*arguments, **options)
            self._switch.point()
            return result

        return mortal


def an_investigation(*hypotheses: Hypothesis, revision: int = 1) -> InvestigationCompleted:
    """A finished investigation."""
    return InvestigationCompleted(
        id=f"investigation-{revision}",
        incident_id="incident-1",
        revision=revision,
        as_of=at(12),
        started_at=at(12),
        duration_s=1.0,
        hypotheses=hypotheses or (a_hypothesis(),),
    )


def a_command(kind: CommandKind, target: str = "", seconds: float = 0.0, **arguments: str) -> Command:
    """A person's command."""
    return Command(
        id=f"{kind.value}-{target}-{seconds}",
        kind=kind,
        target=target,
        actor="ann",
        reason="told so",
        arguments=arguments,
        issued_at=at(seconds),
    )


def events_of(*records: Record) -> list[Event]:
    """Records as messages of their topics."""
    return [
        Event(topic=TOPICS[type(record)], partition=0, offset=n, key="", record=record)
        for n, record in enumerate(records)
    ]


class World:
    """Everything around one remediation handler.

    Args:
        folder: Where the stores and logs lie.
        executor_url: Control API, "" for none.
        overrides: More settings.
    """

    def __init__(self, folder: Path, executor_url: str = "", **overrides: Any) -> None:
        self.folder = folder
        self.settings = Settings(
            **{
                "data_dir": folder,
                "executor_url": executor_url,
                "hold_s": 20.0,
                "verify_s": 60.0,
                **overrides,
            }
        )
        self.switch = KillSwitch()
        self.incidents = SqliteIncidentStore(folder / "incidents.sqlite")
        self.telemetry = SqliteTelemetryStore(folder / "telemetry.sqlite")
        self.now: datetime = T0
        self.published: list[RemediationChanged] = []
        self.log = io.StringIO()
        self.handler = self.new_handler()
        self.telemetry.write(changes=[a_change()])

    def new_handler(self) -> RemediationHandler:
        """A fresh process: nothing is known but what is stored."""
        platform = Platform(
            service="remediation",
            settings=self.settings,
            log=Logger("remediation", stream=self.log),
            metrics=ServiceMetrics(),
            codec=Codec(),
            clock=lambda: self.now,
        )
        platform.__dict__["incidents"] = MortalStore(self.incidents, self.switch)
        platform.__dict__["telemetry"] = self.telemetry
        made = handler(self.settings, platform)
        made.wait_for_acknowledgement()
        return made

    def close(self) -> None:
        self.handler.close()
        self.incidents.close()
        self.telemetry.close()

    def restart(self) -> None:
        self.handler.close()
        self.handler = self.new_handler()

    def time(self, seconds: float) -> None:
        """Telemetry is recorded up to a moment, and the wall clock shows it."""
        self.now = at(seconds)
        self.telemetry.write(
            metrics=[
                MetricBatch(
                    service="catalog",
                    observed_at=self.now,
                    series=(MetricSeries(name="process.memory.usage", unit="By"),),
                    series_index=pack_int32([0]),
                    timestamps=pack_int64([ns_from_utc(self.now)]),
                    values=pack_float64([1.0]),
                )
            ]
        )

    def calls(self, caller: str, callee: str) -> None:
        """One recorded call, which is what the service graph is learned from."""
        builder = SpanBatchBuilder(caller, {}, self.now)
        start = ns_from_utc(self.now)
        builder.add(SpanIn(trace_id=b"t" * 16, span_id=b"s" * 8, start=start, duration=1, kind=3, name="", peer=callee))
        self.telemetry.write(spans=builder.build())

    def changed(self, change: ChangeEvent) -> None:
        self.telemetry.write(changes=[change])

    def store_incident(self, incident: IncidentChanged, investigation: InvestigationCompleted | None = None) -> None:
        """What ticketing and the investigator write before they tell."""
        self.incidents.put(incident.id, Section.INCIDENT, incident)
        if investigation is not None:
            self.incidents.put(incident.id, Section.INVESTIGATION, investigation)

    def deliver(self, *records: Record) -> None:
        """Hand a batch in until it is handled and its emits are acknowledged; a kill restarts and delivers again."""
        events = events_of(*records)
        self._until_done(lambda: self.handler.handle(events))

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self._until_done(lambda: self.handler.tick(self.now))

    def _until_done(self, attempt: Callable[[], Sequence[Emit]]) -> None:
        while True:
            try:
                emits = attempt()
                self.switch.point()  # returned, but not acknowledged by the broker
                self.published += [emit.record for emit in emits if isinstance(emit.record, RemediationChanged)]
                self.handler.acknowledged()
                self.switch.point()  # acknowledged, but not committed
                return
            except Killed:
                self.restart()

    @property
    def newest(self) -> RemediationChanged:
        """Newest published state."""
        return max(self.published, key=lambda run: (run.requested_at, run.version))

    def state(self) -> RunState:
        """State of the newest run."""
        return self.newest.state

    def log_lines(self) -> list[dict[str, Any]]:
        path = self.folder / "logs" / "self_healing.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def open_incident(self, *hypotheses: Hypothesis, seconds: float = 20.0) -> None:
        """An incident with its investigation, up to the first tick."""
        incident, investigation = an_incident(TRIGGER, SYMPTOM), an_investigation(*hypotheses)
        self.time(seconds)
        self.store_incident(incident, investigation)
        self.deliver(incident)
        self.deliver(investigation)
        self.tick()

    def close_anomalies(self, seconds: float) -> None:
        """The detector says that both anomalies are over."""
        self.time(seconds)
        self.deliver(closed(TRIGGER, seconds), closed(SYMPTOM, seconds))
        self.tick()

    def heal(self) -> None:
        """The whole course of a bad deploy, from the ticket to the end of the hold."""
        self.open_incident()
        self.close_anomalies(45.0)
        self.time(100.0)
        self.tick()


def revised(investigation: InvestigationCompleted, *hypotheses: Hypothesis) -> InvestigationCompleted:
    """The next revision."""
    number = investigation.revision + 1
    return replace(investigation, id=f"investigation-{number}", revision=number, hypotheses=hypotheses)
