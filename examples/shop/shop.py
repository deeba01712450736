"""The whole shop in one object: for a demo, a test, or the command line."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from examples.shop.faults import FAULTS, Fault, World
from examples.shop.tally import LoadStats, StepStats

_READY_WITHIN_S = 40.0
_END_WITHIN_S = 12.0
_CALL_TIMEOUT_S = 60.0
_ROOT = Path(__file__).resolve().parents[2]


class ShopNotReady(Exception):
    """A process of the shop has not come up; the logs in its directory say why."""


@dataclass(slots=True, kw_only=True)
class _Process:
    """One child of this object, and where it listens."""

    name: str
    handle: subprocess.Popen[bytes]
    port: int = 0


class Shop:
    """The shop's control and its users, each in a process of its own; what they need they start themselves.

    Not safe between threads. The processes end with this one, however it ends.
    """

    def __init__(self, directory: Path, control: _Process, load: _Process) -> None:
        self._directory = directory
        self._control = control
        self._load = load
        self._client = httpx.Client(timeout=_CALL_TIMEOUT_S, trust_env=False)
        self._world = World(control_url=self.control_url, load_url=self.load_url, client=self._client)

    @classmethod
    def start(
        cls,
        otlp_endpoint: str,
        directory: Path,
        *,
        rate_per_s: float = 12.0,
        seed: int = 7,
        control_host: str = "127.0.0.1",
        control_port: int = 0,
        releases: Path | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> "Shop":
        """Start everything and return when all services are ready and users arrive.

        Args:
            otlp_endpoint: Base URL; telemetry goes to `/v1/traces|metrics|logs`, changes to `/v1/changes`.
            directory: Databases, logs and state; made when missing, its databases are replaced.
            rate_per_s: Requests of users per second.
            seed: Of the goods and of the users.
            control_host: Address of the control API, which asks for no password.
            control_port: Port of the control API; 0 for any free one.
            releases: Folders below this one may be deployed, which runs their code; None allows none.
            progress: Told what is ready.
        Raises:
            ShopNotReady: something does not come up within forty seconds.
        """
        directory = directory.resolve()
        (directory / "logs").mkdir(parents=True, exist_ok=True)
        tell = progress or (lambda _: None)
        options = {
            "--host": control_host,
            "--port": str(control_port),
            "--endpoint": otlp_endpoint,
            "--seed": str(seed),
        }
        if releases is not None:
            options["--releases"] = str(releases.resolve())
        control = _spawn(directory, "control", options)
        started = [control]
        try:
            tell("starting the services")
            _await_port(directory, control)
            tell(f"services ready, control API at http://127.0.0.1:{control.port}")
            load = _spawn(directory, "load", {"--rate": str(rate_per_s), "--seed": str(seed)})
            started.append(load)
            _await_port(directory, load)
            tell(f"users arriving, {rate_per_s:g} requests/s")
        except BaseException:
            for process in started:
                _end(process)
            raise
        return cls(directory, control, load)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def directory(self) -> Path:
        """Databases, logs and state."""
        return self._directory

    @property
    def control_url(self) -> str:
        """Base URL of the control API."""
        return f"http://127.0.0.1:{self._control.port}"

    @property
    def load_url(self) -> str:
        """Base URL of the load generator's admin API."""
        return f"http://127.0.0.1:{self._load.port}"

    @property
    def pids(self) -> dict[str, int]:
        """Processes of this object's own; the services' are in `services()`."""
        return {"control": self._control.handle.pid, "load": self._load.handle.pid}

    def ready(self) -> bool:
        """Whether every service has its instances and users arrive."""
        try:
            return all(
                self._client.get(f"{url}/healthz", timeout=2.0).status_code == 200
                for url in (self.control_url, self.load_url)
            )
        except httpx.TransportError:
            return False

    def services(self) -> dict[str, Mapping[str, Any]]:
        """The control API's view of each service."""
        return {one["name"]: one for one in self._world.get("/services")["services"]}

    def inject(self, fault: str) -> Fault:
        """Make a fault happen.

        Raises:
            KeyError: there is none of that name.
            WorldError: the shop did not let it happen.
        """
        FAULTS[fault].inject(self._world)
        return FAULTS[fault]

    def clear(self, fault: str) -> Fault:
        """Undo a fault as the world would, which is also its right fix where there is one."""
        FAULTS[fault].clear(self._world)
        return FAULTS[fault]

    def set_rate(self, rate_per_s: float) -> None:
        """Change how many requests the users make per second."""
        self._world.plan(rate_per_s=rate_per_s)

    def control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call the control API.

        Raises:
            WorldError: it refused.
        """
        return self._world.call(method, path, body)

    def load_stats(self, window_s: float = 10.0) -> LoadStats:
        """What users saw in the last seconds."""
        raw = self._client.get(f"{self.load_url}/stats", params={"window_s": window_s}).raise_for_status().json()
        return LoadStats(
            **{
                **raw,
                "total": StepStats(**raw["total"]),
                "by_step": {step: StepStats(**stats) for step, stats in raw["by_step"].items()},
                "users_affected": tuple(raw["users_affected"]),
            }
        )

    def stop(self) -> None:
        """End users, then services; twice is harmless."""
        _end(self._load)
        _end(self._control)
        self._client.close()


def _spawn(directory: Path, module: str, options: Mapping[str, str]) -> _Process:
    arguments = ["--directory", str(directory), "--parent-pid", str(os.getpid())]
    arguments += [word for pair in options.items() for word in pair]
    with (directory / "logs" / f"{module}.log").open("ab") as log:
        handle = subprocess.Popen(
            [sys.executable, "-m", f"examples.shop.{module}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=_ROOT,
            start_new_session=True,
        )
    return _Process(name=module, handle=handle)


def _await_port(directory: Path, process: _Process) -> None:
    """Read the line that the process announces itself with."""
    line: list[bytes] = []
    stdout = process.handle.stdout
    if stdout is None:
        raise ShopNotReady(process.name)
    reader = threading.Thread(target=lambda: line.append(stdout.readline()), daemon=True)
    reader.start()
    reader.join(_READY_WITHIN_S)
    try:
        process.port = int(json.loads(line[0])["port"])
    except (IndexError, ValueError, KeyError) as error:
        raise ShopNotReady(f"{process.name} did not come up: see {directory / 'logs'}") from error


def _end(process: _Process) -> None:
    handle = process.handle
    if handle.poll() is None:
        handle.send_signal(signal.SIGTERM)
        try:
            handle.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            handle.kill()
            handle.wait()
    if handle.stdout is not None:
        handle.stdout.close()
