"""A console on real stores in a temporary folder, asked over ASGI; commands land in a list instead of a broker."""

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from io import StringIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from libs.contracts.codec import Codec
from libs.contracts.command import Command
from libs.contracts.topics import COMMANDS
from libs.errors import Unavailable
from libs.observability.log import Logger
from libs.runbooks import load_runbooks
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from services.console.app import Parts, create_app
from services.console.csrf import Signer
from services.console.decisions import Decisions
from services.console.live import Hub
from services.console.pages.healing import Policies
from services.console.runs import RunIndex
from tests.unit.services.console import filled


@dataclass(slots=True)
class Told:
    """A producer that keeps what it is given; `down` makes it fail as a broker that is away does."""

    commands: list[Command] = field(default_factory=list)
    down: bool = False

    def connect(self, topic: str, timeout_s: float) -> None:
        """It is connected."""

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        assert topic == COMMANDS
        command = Codec().decode(topic, value)
        assert isinstance(command, Command)
        assert key == command.target.encode()
        if not self.down:
            self.commands.append(command)

    def flush(self, timeout_s: float = 30.0) -> None:
        if self.down:
            raise Unavailable("the broker does not answer")

    def close(self) -> None:
        """Nothing to let go of."""


class Console:
    """The application, its stores, and a browser without scripts."""

    def __init__(self, folder: Path, *, token: str | None = None, local: bool = True, effect_s: float = 0.0) -> None:
        self.incidents = SqliteIncidentStore(folder / "incidents.sqlite")
        self.telemetry = SqliteTelemetryStore(folder / "telemetry.sqlite")
        self.told = Told()
        self.hub = Hub()
        self.now: datetime = filled.NOW
        self.log = StringIO()
        self.signer = Signer(b"k" * 32, token)
        self.app = create_app(
            Parts(
                incidents=self.incidents,
                telemetry=self.telemetry,
                decisions=Decisions(lambda: self.told, Codec(), clock=lambda: self.now, effect_s=effect_s),
                hub=self.hub,
                runs=RunIndex(self.incidents),
                policies=Policies(runbooks=tuple(load_runbooks()), settings={"scale-out": "observe"}, applies=True),
                signer=self.signer,
                token=token,
                local=local,
                state=lambda: "ready",
                clock=lambda: self.now,
                log=Logger("console", stream=self.log),
            )
        )
        self.browser = self.new_browser()

    def new_browser(self) -> TestClient:
        """Another browser, without cookies."""
        return TestClient(
            self.app, base_url="http://127.0.0.1:8081", follow_redirects=False, raise_server_exceptions=False
        )

    def page(self, path: str, status: int = 200) -> str:
        """HTML of a page."""
        answer = self.browser.get(path)
        assert answer.status_code == status, answer.text
        return answer.text

    def fields(self, path: str, action: str) -> dict[str, str]:
        """Hidden fields of the form that has an address as its action or as that of one of its buttons."""
        for form in re.findall(r"<form.*?</form>", self.page(path), re.DOTALL):
            if f'action="{action}"' in form:
                return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
        raise AssertionError(f"no form for {action} on {path}")

    def decide(self, path: str, action: str, **given: str) -> tuple[int, str]:
        """Send a form as a browser does; status and where it leads, or the text of the refusal."""
        answer = self.browser.post(action, data={**self.fields(path, action), "actor": "ada", **given})
        return answer.status_code, answer.headers.get("location") or answer.text

    def close(self) -> None:
        self.incidents.close()
        self.telemetry.close()


@pytest.fixture(scope="session")
def filled_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog's incident and a history in a file: every write is synced, and each test would pay for sixty."""
    path = tmp_path_factory.mktemp("filled") / "incidents.sqlite"
    store = SqliteIncidentStore(path)
    filled.put(store, filled.a_document())
    filled.put_history(store)
    store.close()
    return path


@pytest.fixture
def console(tmp_path: Path, filled_store: Path) -> Iterator[Console]:
    """A console with the catalog's incident and a history."""
    shutil.copy(filled_store, tmp_path / "incidents.sqlite")
    opened = Console(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Console]:
    """A console that others can reach."""
    opened = Console(tmp_path, token="s3cret", local=False)
    yield opened
    opened.close()
