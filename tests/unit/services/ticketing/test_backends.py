"""The ticket log, the webhook, and the laws of every ticket backend."""

import importlib
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.document import LinkedTicket, Section
from libs.errors import ConfigurationError, InvalidMessage, Unavailable
from libs.observability.log import Logger
from libs.service.settings import Settings
from services.ticketing.backends import backend_names, open_backends
from services.ticketing.backends.jsonl import TicketLog
from services.ticketing.backends.webhook import Webhook
from services.ticketing.decide import decide
from services.ticketing.delivery import ATTEMPTS, Delivery
from services.ticketing.ticket import Change, State, Surroundings, Tracked

ROOT = Path(__file__).resolve().parents[4]
World = Any


@pytest.fixture
def opened(anomaly: Callable[..., AnomalyDetected], around: Surroundings) -> Change:
    _, (change,) = decide(State(), anomaly("catalog", 0), around)
    return change


class Receiver:
    """Another ticket system: answers what it is told to and keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.answer = b'{"key": "OPS-7", "url": "https://tickets.example/OPS-7"}'
        self.got: list[tuple[str, dict[str, Any]]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.headers["Idempotency-Key"], json.loads(body)))
                self.send_response(receiver.status)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", str(len(receiver.answer)))
                self.end_headers()
                self.wfile.write(receiver.answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    built = Receiver()
    yield built
    built.close()


def settings(folder: Path, **more: Any) -> Settings:
    return Settings(data_dir=folder, _env_file=None, **more)  # type: ignore[call-arg]  # pydantic-settings


@pytest.mark.parametrize("name", backend_names())
def test_every_backend_opens_from_settings_and_is_documented(name: str) -> None:
    module = importlib.import_module(f"services.ticketing.backends.{name}")
    assert list(inspect.signature(module.open_backend).parameters) == ["settings"]
    assert f"`{name}`" in (ROOT / "docs" / "incidents.md").read_text()


def test_only_what_the_settings_ask_for_is_opened(tmp_path: Path) -> None:
    assert list(open_backends(settings(tmp_path))) == ["jsonl"]
    both = open_backends(settings(tmp_path, ticket_webhook_url="http://127.0.0.1:1/x"))
    assert sorted(both) == ["jsonl", "webhook"]


@pytest.mark.parametrize("url", ["ftp://x/y", "tickets", "file:///etc/passwd", "http://"])
def test_a_webhook_that_is_no_web_address_is_a_configuration_error(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError, match="PARAMEDIC_TICKET_WEBHOOK_URL"):
        open_backends(settings(tmp_path, ticket_webhook_url=url))


def test_every_backend_takes_the_same_change_twice(tmp_path: Path, opened: Change, receiver: Receiver) -> None:
    for backend in open_backends(settings(tmp_path, ticket_webhook_url=receiver.url)).values():
        assert backend.sync(opened) == backend.sync(opened)
    assert len({key for key, _ in receiver.got}) == 1
    assert len((tmp_path / "logs" / "tickets.jsonl").read_text().splitlines()) == 1


def test_a_line_cut_off_by_a_kill_does_not_spoil_the_next(tmp_path: Path, opened: Change) -> None:
    path = tmp_path / "tickets.jsonl"
    TicketLog(path).write((opened,))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    later = replace(opened, core=replace(opened.core, version=2))
    TicketLog(path).write((opened, later))
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert [json.loads(lines[place])["version"] for place in (0, 2)] == [1, 2]


def test_a_log_that_cannot_be_written_is_held(tmp_path: Path, opened: Change) -> None:
    (tmp_path / "logs").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="ticket log"):
        TicketLog(tmp_path / "logs" / "tickets.jsonl").write((opened,))


def test_the_webhook_posts_the_core_with_its_reason_and_keeps_the_link(opened: Change, receiver: Receiver) -> None:
    link = Webhook(receiver.url).sync(opened)
    assert link == LinkedTicket(system="webhook", key="OPS-7", url="https://tickets.example/OPS-7")
    ((key, body),) = receiver.got
    assert key == opened.id
    assert (body["incident"]["title"], body["why"]) == (opened.core.title, opened.why)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", None),
        (b"thanks", None),
        (b"[1]", None),
        (b'{"key": 7}', None),
        (b'{"key": "A", "url": "javascript:alert(1)"}', LinkedTicket(system="webhook", key="A")),
        (b"\xff\xfe", None),
    ],
)
def test_an_odd_answer_is_no_link(
    opened: Change, receiver: Receiver, answer: bytes, expected: LinkedTicket | None
) -> None:
    receiver.answer = answer
    assert Webhook(receiver.url).sync(opened) == expected


@pytest.mark.parametrize(
    ("status", "error"), [(500, Unavailable), (429, Unavailable), (400, InvalidMessage), (302, InvalidMessage)]
)
def test_refusals_and_outages_are_told_apart(
    opened: Change, receiver: Receiver, status: int, error: type[Exception]
) -> None:
    receiver.status = status
    with pytest.raises(error, match=str(status)):
        Webhook(receiver.url).sync(opened)


def test_nobody_listening_is_an_outage(opened: Change) -> None:
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.server_close()
    with pytest.raises(Unavailable):
        Webhook(f"http://127.0.0.1:{server.server_port}/").sync(opened)


def test_delivery_retries_with_back_off_and_gives_up_in_the_end(
    world: World, opened: Change, receiver: Receiver
) -> None:
    receiver.status = 503
    log = StringIO()
    delivery = Delivery({"webhook": Webhook(receiver.url)}, world.platform.incidents, Logger("t", stream=log))
    delivery.note([opened])
    tracked, now = Tracked(core=opened.core), world.now
    for second in range(600):
        delivery.attempt([tracked], now + timedelta(seconds=second))
    assert len(receiver.got) == ATTEMPTS
    assert "ticket not delivered" in log.getvalue()
    receiver.status = 200
    newer = replace(tracked, core=replace(opened.core, version=2))
    delivery.attempt([newer], now + timedelta(seconds=601))
    assert receiver.got[-1][1]["incident"]["version"] == 2
    links, _ = world.platform.incidents.section(opened.core.id, Section.TICKETS)
    assert links == (LinkedTicket(system="webhook", key="OPS-7", url="https://tickets.example/OPS-7"),)


def test_delivery_goes_on_after_a_restart_without_doubling(world: World, opened: Change, receiver: Receiver) -> None:
    for _ in range(2):
        delivery = Delivery(
            {"webhook": Webhook(receiver.url)}, world.platform.incidents, Logger("t", stream=StringIO())
        )
        delivery.attempt([Tracked(core=opened.core)], world.now)
        delivery.attempt([Tracked(core=opened.core)], world.now)
    assert len(receiver.got) == 1
