"""The console as it runs: the embedded broker, SQLite stores, pages and live events on a real socket."""

import json
import re
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from libs.contracts.codec import Codec, from_json, to_json
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import Section
from libs.contracts.records import Record
from libs.contracts.remediation import Mode, RunState
from libs.contracts.topics import COMMANDS, INCIDENTS, REMEDIATIONS
from libs.errors import ConfigurationError
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from services.console.pages import healing
from services.console.service import ConsoleService
from services.remediation import switches
from services.ticketing.lifecycle import ALLOWED as TICKETING_ALLOWED
from tests.unit.services.console import filled
from tests.waiting import until

PAGE = "/incidents/INC-000042"
RUN = f"{PAGE}/runs/run-incident-42"


def a_platform(folder: Path, broker: KafkaBroker | None = None, **given: Any) -> Platform:
    """A platform in a folder, on free ports."""
    fields = {"data_dir": folder, "console_port": 0, "_env_file": None, **given}
    settings = Settings(**fields)
    platform = Platform(
        service="console",
        settings=settings,
        log=Logger("console", stream=StringIO()),
        metrics=ServiceMetrics(),
        codec=Codec(),
    )
    if broker is not None:
        platform.__dict__["broker"] = broker
    return platform


class Running:
    """A console in this process, and a browser without scripts."""

    def __init__(self, folder: Path, broker: KafkaBroker, **settings: Any) -> None:
        self.platform = a_platform(folder, broker, **settings)
        self.service = ConsoleService(self.platform.settings, self.platform)
        self.broker = broker
        self._thread = threading.Thread(target=self.service.run, name="console-service")

    def __enter__(self) -> "Running":
        self._thread.start()
        until(lambda: self.service.state == "ready")
        self.browser = httpx.Client(base_url=self.service.url, timeout=10.0)
        self.producer = self.broker.producer()
        return self

    def __exit__(self, *_: object) -> None:
        self.browser.close()
        self.service.stop()
        self._thread.join(20.0)
        assert not self._thread.is_alive()
        assert self.service.state == "stopped"
        self.producer.close()
        self.platform.incidents.close()
        self.platform.telemetry.close()

    def tell(self, topic: str, record: Record) -> None:
        """Publish a record."""
        self.producer.send(topic, key=b"incident-42", value=self.platform.codec.encode(topic, record))
        self.producer.flush()

    def decide(self, action: str, **given: str) -> httpx.Response:
        """Send a form of the incident's page."""
        form = next(f for f in re.findall(r"<form.*?</form>", self.browser.get(PAGE).text, re.DOTALL) if action in f)
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
        return self.browser.post(action, data={**hidden, "actor": "ada", **given})

    def commands(self) -> list[Command]:
        """Everything on the topic `commands`."""
        found = [self.platform.codec.decode(COMMANDS, message.value) for message in self.broker.read_to_end([COMMANDS])]
        return [command for command in found if isinstance(command, Command)]


@pytest.fixture
def running(tmp_path: Path, broker: KafkaBroker) -> Iterator[Running]:
    with Running(tmp_path, broker) as started:
        filled.put(started.platform.incidents, filled.a_document())
        yield started


def test_an_approval_is_on_the_topic_before_the_page_answers(running: Running) -> None:
    answer = running.decide(f"{RUN}/approve", reason="fine")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{PAGE}?told=written#run-run-incident-42")
    (command,) = running.commands()
    assert (command.kind, command.target, command.actor) == (CommandKind.APPROVE, "run-incident-42", "ada")


def test_the_address_is_published_and_the_pages_answer(running: Running) -> None:
    published = json.loads((running.platform.settings.run_dir / "console.json").read_text())
    assert httpx.get(published["url"] + "/healthz").json() == {"status": "ok", "state": "ready"}
    assert "catalog: p95 latency 412 ms" in httpx.get(published["url"]).text


def test_an_event_reaches_an_open_page_and_the_scorecard(running: Running) -> None:
    done = filled.a_run(state=RunState.SUCCEEDED, mode=Mode.AUTO, applied_at=filled.NOW, version=9)
    assert "0 of 0 automatic" in running.browser.get("/healing").text
    with httpx.stream("GET", running.service.url + "/live", timeout=10.0) as stream:
        lines = stream.iter_lines()
        assert next(lines) == "retry: 2000"
        running.platform.incidents.put("incident-42", Section.REMEDIATION, (done,))
        begun = time.monotonic()
        running.tell(INCIDENTS, filled.a_core(title="line\nbreak"))
        running.tell(REMEDIATIONS, done)
        heard = [json.loads(next(line for line in lines if line.startswith("data: "))[6:]) for _ in range(2)]
        took_ms = (time.monotonic() - begun) * 1e3
    assert {(event["topic"], event["incident"]) for event in heard} == {
        (INCIDENTS, "incident-42"),
        (REMEDIATIONS, "incident-42"),
    }
    assert "1 of 1 automatic" in running.browser.get("/healing").text
    print(f"two events from Kafka to an open page: {took_ms:.0f} ms")
    assert took_ms < 2_000


def test_a_message_that_nobody_understands_does_not_end_the_feed(running: Running) -> None:
    with httpx.stream("GET", running.service.url + "/live", timeout=10.0) as stream:
        lines = stream.iter_lines()
        next(lines)
        for broken in (b"", b"\x00\x00", b"\xff" * 40, None):
            running.producer.send(INCIDENTS, key=b"x", value=broken)
        running.tell(INCIDENTS, filled.a_core())
        event = json.loads(next(line for line in lines if line.startswith("data: "))[6:])
    assert event["number"] == "INC-000042"


def test_a_broker_that_is_down_is_said_so_and_the_same_decision_again_is_the_same_command(
    running: Running, embedded: EmbeddedBroker
) -> None:
    embedded.set_down(down=True)
    refused = running.decide(f"{PAGE}/comment", text="hello")
    assert refused.status_code == 503
    assert "may still be carried out if the broker is back within 20 s" in refused.text
    assert running.browser.get("/").status_code == 200
    embedded.set_down(down=False)
    until(lambda: running.decide(f"{PAGE}/comment", text="hello").status_code == 303)
    assert len({command.id for command in until(running.commands)}) == 1


def test_open_pages_do_not_hold_up_the_end(tmp_path: Path, broker: KafkaBroker) -> None:
    with Running(tmp_path, broker) as started, httpx.stream("GET", started.service.url + "/live") as stream:
        lines = stream.iter_lines()
        next(lines)
        begun = time.monotonic()
        started.service.stop()
        assert not [line for line in lines if line.startswith("data: ")]
        assert time.monotonic() - begun < 3.0


def test_a_page_that_was_open_before_a_restart_still_decides(tmp_path: Path, broker: KafkaBroker) -> None:
    with Running(tmp_path, broker) as before:
        filled.put(before.platform.incidents, filled.a_document())
        text = before.browser.get(PAGE).text
        cookies = dict(before.browser.cookies)
    hidden = dict(re.findall(r'name="(csrf)" value="([^"]*)"', text))
    with Running(tmp_path, broker) as after:
        after.browser.cookies.update(cookies)
        answer = after.browser.post(f"{PAGE}/resolve", data={**hidden, "actor": "ada"})
        assert answer.status_code == 303


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "console.example"])
def test_it_refuses_to_be_reachable_by_others_without_a_token(tmp_path: Path, host: str) -> None:
    platform = a_platform(tmp_path, console_host=host)
    with pytest.raises(ConfigurationError, match="set PARAMEDIC_API_TOKEN"):
        ConsoleService(platform.settings, platform)


def test_with_a_token_it_listens_and_asks_for_it(tmp_path: Path, broker: KafkaBroker) -> None:
    with Running(tmp_path, broker, console_host="0.0.0.0", api_token="s3cret") as started:
        url = started.service.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/").headers["location"] == "/login?next=%2F"


def test_a_port_that_is_taken_is_named(running: Running, tmp_path: Path) -> None:
    platform = a_platform(tmp_path, console_port=int(running.service.url.rsplit(":", 1)[1]))
    with pytest.raises(ConfigurationError, match="PARAMEDIC_CONSOLE_PORT"):
        ConsoleService(platform.settings, platform)
    platform.incidents.close()


def test_the_switches_that_remediation_writes_are_the_ones_that_the_console_reads() -> None:
    assert (healing.HALT_KEY, healing.MODES_KEY) == (switches.HALT_KEY, switches.MODES_KEY)
    halt = switches.Halt(halted=True, actor="eva", reason="migration", at=filled.NOW, command_id="c")
    read = from_json(to_json(halt), healing.Halt)
    assert (read.halted, read.actor, read.reason, read.at) == (True, "eva", "migration", filled.NOW)
    modes = switches.Modes(by_pattern={"p": switches.SetMode(mode=Mode.AUTO, actor="eva", at=filled.NOW)})
    assert from_json(to_json(modes), healing.Modes).by_pattern["p"] == healing.SetMode(
        mode=Mode.AUTO, actor="eva", at=filled.NOW
    )


def test_the_page_offers_what_ticketing_allows() -> None:
    from services.console.pages.incident import ALLOWED

    assert {kind: states for kind, states in ALLOWED.items() if kind in TICKETING_ALLOWED} == TICKETING_ALLOWED
