"""Start processes, watch them, restart what dies, and leave nothing behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from libs.errors import ParamedicError
from libs.service.health import readiness
from libs.service.run import PARENT_VARIABLE
from libs.service.settings import Settings

BACKOFF_FIRST_S: Final = 0.5
BACKOFF_LAST_S: Final = 10.0
READY_S: Final = 240.0  # the detector compiles on its first start: 20 to 40 s of one core, more on a busy machine
CONFIGURATION_EXIT: Final = 2  # run_service's exit code for a wrong setting: a restart cannot help
SERVICES: Final = (
    "intake",
    "recorder",
    "detector",
    "ticketing",
    "investigator",
    "remediation",
    "recommender",
    "console",
)


class StartFailed(ParamedicError):
    """A process did not become ready; the text holds the end of its log."""


@dataclass(slots=True, kw_only=True)
class Child:
    """One supervised process.

    Attributes:
        name: Name, also of its log file.
        command: Argument list.
        process: The running process.
        restarts: How often it was started again.
        restart_at_s: Monotonic time of the next start, 0 while it runs.
        gave_up: Whether it is left dead (a configuration error).
    """

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes]
    restarts: int = 0
    restart_at_s: float = 0.0
    gave_up: bool = False


class Supervisor:
    """Owns a set of processes; use as a context manager.

    Args:
        settings: Where run files and logs go.
        environment: Added to this process's environment for every child.
        on_event: Told one line per start, death and restart.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        environment: Mapping[str, str] | None = None,
        on_event: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._environment = {**os.environ, **(environment or {}), PARENT_VARIABLE: str(os.getpid())}
        self._on_event = on_event
        self._children: dict[str, Child] = {}

    @property
    def logs_dir(self) -> Path:
        """Folder of the children's logs."""
        return self._settings.data_dir / "logs"

    def add_environment(self, added: Mapping[str, str]) -> None:
        """Add to the environment of children started from now on."""
        self._environment.update(added)

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a process; its output goes to <data_dir>/logs/<name>.log."""
        self._children[name] = Child(name=name, command=command, process=self._spawn(name, command))

    def start_service(self, service: str) -> None:
        """Start one of the services."""
        (self._settings.run_dir / f"{service}.json").unlink(missing_ok=True)
        self.start(service, [sys.executable, "-m", f"services.{service}"])

    def start_broker(self) -> None:
        """Start the embedded broker."""
        self._settings.broker_address_file.unlink(missing_ok=True)
        self.start("broker", [sys.executable, "-m", "paramedic", "broker"])

    def pid(self, name: str) -> int:
        """Process id of a child."""
        return self._children[name].process.pid

    def wait_broker(self, timeout_s: float = 20.0) -> None:
        """Wait until the embedded broker has published its address."""
        self._wait("broker", self._settings.broker_address_file.exists, timeout_s)

    def wait_ready(self, service: str, timeout_s: float = READY_S) -> None:
        """Wait until a service's /readyz answers 200; `StartFailed` with the end of its log otherwise."""
        self._wait(service, lambda: is_ready(self._settings, service), timeout_s)

    def _wait(self, name: str, condition: Callable[[], bool], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            child = self._children[name]
            if child.process.poll() == CONFIGURATION_EXIT or time.monotonic() > deadline:
                raise StartFailed(f"{name} did not become ready; end of its log:\n{self.log_tail(name)}")
            self.tend()
            time.sleep(0.05)

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a child's log."""
        path = self.logs_dir / f"{name}.log"
        try:
            return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "(no log)"

    def tend(self) -> None:
        """Notice deaths and start again what is due, with a back-off from 0.5 s doubling to 10 s."""
        now_s = time.monotonic()
        for child in self._children.values():
            if child.gave_up or child.process.poll() is None:
                continue
            if child.restart_at_s == 0.0:
                self._on_death(child, now_s)
            elif now_s >= child.restart_at_s:
                child.process = self._spawn(child.name, child.command)
                child.restarts += 1
                child.restart_at_s = 0.0
                self._on_event(f"{child.name} started again (pid {child.process.pid})")

    def _on_death(self, child: Child, now_s: float) -> None:
        code = child.process.returncode
        if code == CONFIGURATION_EXIT:
            child.gave_up = True
            self._on_event(f"{child.name} cannot start:\n{self.log_tail(child.name, 5)}")
            return
        delay_s = min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2.0 ** min(child.restarts, 10))
        child.restart_at_s = now_s + delay_s
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._on_event(f"{child.name} died ({cause}); starting it again in {delay_s:.1f} s")

    def _spawn(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        self.logs_dir.mkdir(parents=True, exist_ok=True)
        with (self.logs_dir / f"{name}.log").open("ab") as log:
            # A session of its own: the terminal's Ctrl-C reaches only the supervisor, which stops children in order.
            return subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def stop(self, timeout_s: float = 8.0) -> None:
        """SIGTERM to every child, the broker last; SIGKILL to whoever is still there after the timeout."""
        ordered = sorted(self._children.values(), key=lambda child: child.name == "broker")
        for group in ([c for c in ordered if c.name != "broker"], [c for c in ordered if c.name == "broker"]):
            for child in group:
                if child.process.poll() is None:
                    child.process.terminate()
            deadline = time.monotonic() + timeout_s
            for child in group:
                try:
                    child.process.wait(max(0.05, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    child.process.kill()
                    child.process.wait()
        self._children.clear()
        self._settings.broker_address_file.unlink(missing_ok=True)

    def __enter__(self) -> "Supervisor":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def run_file(settings: Settings, service: str) -> dict[str, object]:
    """What a running service published about itself (pid, health, url); empty when it is not running."""
    try:
        fields = json.loads((settings.run_dir / f"{service}.json").read_text())
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}


def is_ready(settings: Settings, service: str) -> bool:
    """Whether a service's /readyz answers 200."""
    ready, _ = readiness(settings, service)
    return ready
