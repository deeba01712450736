"""Remediation as it runs: killed between any two effects, and as a real process on the embedded broker."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.codec import Codec, ns_from_utc
from libs.contracts.columns import pack_float64, pack_int32, pack_int64
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import Section
from libs.contracts.records import Record
from libs.contracts.remediation import FINAL_STATES, RemediationChanged, RunState
from libs.contracts.telemetry import MetricBatch, MetricSeries
from libs.contracts.topics import ANOMALIES, COMMANDS, INCIDENTS, INVESTIGATIONS, REMEDIATIONS
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from tests.integration.broker_laws import eventually
from tests.unit.libs.runbooks.made import a_change, a_hypothesis, an_anomaly, an_incident, closed
from tests.unit.services.remediation.control_server import ControlServer
from tests.unit.services.remediation.world import World, an_investigation

CODEC = Codec()


def test_every_kill_between_two_effects_leads_to_the_same_end(tmp_path: Path) -> None:
    """Killed right before or after each write, before and after each acknowledgement: once in effect all the same."""
    points, at_point = 1, 0
    while at_point <= points:
        with ControlServer() as control:
            world = World(tmp_path / str(at_point), control.url)
            world.switch.at_point = at_point
            world.heal()
            world.tick(2)
            if at_point == 0:
                points = world.switch.passed
            newest = {run.version: run for run in world.published}
            assert world.state() is RunState.SUCCEEDED, at_point
            assert control.production.done == [("/services/catalog/deploy", f"{world.newest.id}/apply")], at_point
            assert sorted(newest) == list(range(1, world.newest.version + 1)), at_point
            assert all(run == newest[run.version] for run in world.published), at_point
            assert sum(run.state in FINAL_STATES for run in newest.values()) == 1, at_point
            assert [line["version"] for line in world.log_lines()] == sorted(newest), at_point
            assert world.incidents.section("incident-1", Section.REMEDIATION)[0] == (world.newest,)  # type: ignore[index]
            world.close()
        at_point += 1
    assert points > 40


@dataclass(slots=True)
class Stage:
    """A real remediation process between a real broker, real stores and a real control server."""

    folder: Path
    broker: KafkaBroker
    bootstrap: str
    control: ControlServer
    incidents: SqliteIncidentStore
    telemetry: SqliteTelemetryStore
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        settings = {
            "DATA_DIR": str(self.folder),
            "BROKER": self.bootstrap,
            "KAFKA": '{"session.timeout.ms": 1000, "heartbeat.interval.ms": 200}',
            "EXECUTOR_URL": self.control.url,
            "HOLD_S": "1",
            "VERIFY_S": "30",
            "WINDOW_S": "0.2",
            "LATENESS_S": "0.2",
        }
        environment = {**os.environ, **{f"PARAMEDIC_{name}": value for name, value in settings.items()}}
        with (self.folder / "remediation.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.remediation"], env=environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)

    def send(self, topic: str, *records: Record) -> None:
        producer = self.broker.producer()
        for record in records:
            producer.send(topic, key=b"incident-1", value=CODEC.encode(topic, record))
        producer.flush()
        producer.close()

    def published(self) -> list[RemediationChanged]:
        found = [CODEC.decode(REMEDIATIONS, message.value) for message in self.broker.read_to_end([REMEDIATIONS])]
        return [record for record in found if isinstance(record, RemediationChanged)]

    def states(self) -> list[RunState]:
        return [run.state for run in self.published()]

    def record(self, moment: datetime) -> None:
        """Telemetry arrives up to a moment."""
        point = MetricBatch(
            service="catalog",
            observed_at=moment,
            series=(MetricSeries(name="process.memory.usage", unit="By"),),
            series_index=pack_int32([0]),
            timestamps=pack_int64([ns_from_utc(moment)]),
            values=pack_float64([1.0]),
        )
        self.telemetry.write(metrics=[point])

    def break_catalog(self) -> tuple[Any, datetime]:
        """A ticket with its investigation, about a deploy half a minute ago."""
        began = datetime.now(UTC) - timedelta(seconds=30)
        trigger = an_anomaly("catalog", started_at=began, detected_at=began, updated_at=began)
        moments = {"started_at": began, "opened_at": began, "updated_at": began, "observed_at": began}
        incident = an_incident(trigger, **moments)
        investigation = replace(an_investigation(a_hypothesis()), as_of=began, started_at=began)
        self.telemetry.write(changes=[a_change(timestamp=began - timedelta(seconds=5))])
        self.record(datetime.now(UTC))
        self.incidents.put(incident.id, Section.INCIDENT, incident)
        self.incidents.put(incident.id, Section.INVESTIGATION, investigation)
        self.send(INCIDENTS, incident)
        self.send(INVESTIGATIONS, investigation)
        return trigger, began

    def recover(self, trigger: Any) -> None:
        """The detector closes the anomaly, and telemetry goes on for the hold and beyond."""
        moment = datetime.now(UTC)
        over = replace(closed(trigger, 0), closed_at=moment, updated_at=moment)
        self.send(ANOMALIES, over)
        eventually(lambda: RunState.HOLDING in self.states())
        self.record(moment + timedelta(seconds=5))


@pytest.fixture
def stage(tmp_path: Path, embedded: EmbeddedBroker, broker: KafkaBroker) -> Iterator[Stage]:
    with ControlServer() as control:
        incidents = SqliteIncidentStore(tmp_path / "incidents.sqlite")
        telemetry = SqliteTelemetryStore(tmp_path / "telemetry.sqlite")
        made = Stage(tmp_path, broker, embedded.bootstrap, control, incidents, telemetry)
        try:
            yield made
        finally:
            made.end()
            incidents.close()
            telemetry.close()


def paused_at_apply(control: ControlServer) -> tuple[threading.Event, threading.Event]:
    """The control server carries the change out, says so to the test, and answers only when it is told to."""
    carried_out, answer = threading.Event(), threading.Event()
    honest: Callable[..., tuple[int, dict[str, Any]]] = control.answer

    def slow(method: str, target: str, body: dict[str, Any], headers: Any) -> tuple[int, dict[str, Any]]:
        answered = honest(method, target, body, headers)
        if method == "POST" and "dry_run" not in target and not carried_out.is_set():
            carried_out.set()
            answer.wait(20)
        return answered

    control.answer = slow  # type: ignore[method-assign]
    return carried_out, answer


def test_a_process_killed_between_apply_and_its_answer_applies_once_and_finishes(stage: Stage) -> None:
    carried_out, answer = paused_at_apply(stage.control)
    stage.start()
    trigger, _ = stage.break_catalog()
    assert carried_out.wait(30), (stage.folder / "remediation.log").read_text()
    stage.kill()
    answer.set()
    stage.start()
    eventually(lambda: RunState.VERIFYING in stage.states())
    stage.recover(trigger)
    eventually(lambda: RunState.SUCCEEDED in stage.states())
    runs = stage.published()
    assert len(stage.control.production.done) == 1
    assert stage.control.production.versions[-1] == "2.3.0"
    assert {run.version for run in runs} == set(range(1, runs[-1].version + 1))
    assert len({run.version for run in runs if run.state in FINAL_STATES}) == 1


def test_a_halt_that_comes_first_holds_everything_until_it_is_taken_back(stage: Stage) -> None:
    issued = datetime.now(UTC)
    halt = Command(id="halt-1", kind=CommandKind.HALT, actor="ann", reason="freeze", issued_at=issued)
    stage.send(COMMANDS, halt)
    stage.start()
    eventually(lambda: stage.incidents.state("remediation/halt") is not None)
    trigger, _ = stage.break_catalog()
    eventually(lambda: any("halted by ann: freeze" in run.reason for run in stage.published()))
    assert stage.control.production.done == []
    stage.send(COMMANDS, replace(halt, id="resume-1", kind=CommandKind.RESUME, issued_at=issued + timedelta(seconds=1)))
    eventually(lambda: RunState.VERIFYING in stage.states())
    stage.recover(trigger)
    eventually(lambda: RunState.SUCCEEDED in stage.states())
