"""The servers as one: up, down, kill and start of each, and the addresses that they publish."""

import json
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.stack import processes
from deploy.stack.apicurio import Apicurio
from deploy.stack.artifacts import Say, locked
from deploy.stack.collector import Collector
from deploy.stack.elasticsearch import Elasticsearch
from deploy.stack.kafka import Kafka
from deploy.stack.layout import HOST, Layout, versions
from deploy.stack.processes import Group
from deploy.stack.server import Server
from libs.errors import ConfigurationError, Unavailable

SERVERS: Final = ("kafka", "elasticsearch", "registry", "collector")  # the Collector writes to Kafka: it comes last
_LOG_LINES: Final = 15
_RELEASE_S: Final = 20.0  # a JVM that is killed gives half a gigabyte of memory back before its sockets


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How one server is.

    Attributes:
        name: Server.
        version: Its version.
        state: up, starting, down or cannot run.
        detail: Addresses, or why it cannot run.
        pid: Its process group, 0 when it is down.
        resident_mib: Memory of the whole group.
    """

    name: str
    version: str
    state: str
    detail: str
    pid: int = 0
    resident_mib: float = 0.0


class Stack:
    """The servers of one layout.

    Args:
        layout: Folders and ports.
        say: Told one line per step.
    """

    def __init__(self, layout: Layout, say: Say = lambda _: None) -> None:
        self._layout = layout
        self._say = say
        made: tuple[Server, ...] = (
            Kafka(layout, versions()),
            Elasticsearch(layout, versions()),
            Apicurio(layout, versions()),
            Collector(layout, versions()),
        )
        self._servers = {server.name: server for server in made}

    def up(self, names: Sequence[str] = SERVERS) -> Mapping[str, str]:
        """Start what is not running and wait until it answers; the addresses of all that run.

        Raises:
            Unavailable: A server that was asked for cannot run, did not become ready, or its port is taken.
        """
        chosen = [self._server(name) for name in names]
        self._layout.data_dir.mkdir(parents=True, exist_ok=True)
        with locked(self._layout.data_dir / "lock"):
            for server in chosen:
                if self._group(server.name) is None:
                    server.fetch(self._say)
            started = {server.name: self._start(server) for server in chosen if server.name != "collector"}
            self._wait(started)
            if any(server.name == "collector" for server in chosen):
                self._wait({"collector": self._start(self._server("collector"))})
            return self._publish()

    def fetch(self, names: Sequence[str] = SERVERS) -> None:
        """Only download and build; `Unavailable` when one could not run here anyway."""
        for name in names:
            server = self._server(name)
            _require_possible(server)
            self._say(f"{name}: {server.fetch(self._say)}")

    def down(self, names: Sequence[str] = SERVERS) -> None:
        """Stop by process group, the Collector first: SIGTERM, then SIGKILL."""
        with locked(self._layout.data_dir / "lock"):
            for name in reversed([name for name in SERVERS if name in names]):
                group = self._group(name)
                if group is None:
                    continue
                clean = processes.stop(group)
                released(self._server(name).listens_on())
                self._file(name).unlink(missing_ok=True)
                self._say(f"{name} stopped" + ("" if clean else " by SIGKILL: it did not end within 15 s"))
            self._publish()

    def kill(self, name: str) -> None:
        """kill -9 one server, as a crash would; it can be started again at once."""
        server = self._server(name)
        group = self._group(name)
        if group is None:
            raise Unavailable(f"{name} is not running")
        processes.kill(group)
        released(server.listens_on())

    def obstacles(self, names: Sequence[str] = SERVERS) -> dict[str, str]:
        """Why servers cannot run on this machine; empty when all can."""
        found = {name: self._server(name).obstacle() for name in names}
        return {name: obstacle for name, obstacle in found.items() if obstacle}

    def conditions(self) -> list[Condition]:
        """How each server is."""
        return [self._condition(server) for server in self._servers.values()]

    def log(self, name: str) -> Path:
        """A server's log, kept over restarts."""
        return self._layout.logs_dir / f"{name}.log"

    def _condition(self, server: Server) -> Condition:
        group = self._group(server.name)
        if group is None:
            obstacle = server.obstacle()
            state = "cannot run" if obstacle else "down"
            return Condition(name=server.name, version=server.version, state=state, detail=obstacle)
        resident = sum(process.memory_info().rss for process in processes.members(group)) / (1 << 20)
        return Condition(
            name=server.name, version=server.version, state="up" if server.is_ready() else "starting",
            detail=next(iter(server.addresses.values())), pid=group.pid, resident_mib=resident,
        )  # fmt: skip

    def _start(self, server: Server) -> Group:
        """Start a server unless it runs already."""
        running = self._group(server.name)
        if running is not None:
            self._say(f"{server.name} is already running (pid {running.pid})")
            return running
        _require_possible(server)
        for port in server.listens_on():
            if _taken(port):
                raise Unavailable(
                    f"{server.name}: port {port} is taken by a process that this stack did not start; stop it, or "
                    "choose another port (PARAMEDIC_STACK_*_PORT, see docs/stack.md)"
                )
        group = processes.start(server.configure(), self.log(server.name))
        processes.remember(group, self._file(server.name))
        return group

    def _wait(self, started: Mapping[str, Group]) -> None:
        began_s = time.monotonic()
        for name, group in started.items():
            server = self._server(name)
            within_s = max(1.0, server.ready_within_s - (time.monotonic() - began_s))
            dead = [False]

            def settled(server: Server = server, group: Group = group, dead: list[bool] = dead) -> bool:
                dead[0] = not processes.members(group)
                return dead[0] or server.is_ready()

            in_time = processes.wait_until(settled, within_s)
            if dead[0] or not in_time:
                processes.kill(group)
                self._file(name).unlink(missing_ok=True)
                what = "ended at once" if dead[0] else f"was not ready within {server.ready_within_s:.0f} s"
                raise Unavailable(f"{name} {what}; end of {self.log(name)}:\n{self._tail(name)}")
            ready_s = time.monotonic() - began_s
            self._say(f"{name} {server.version} is up after {ready_s:.1f} s: {next(iter(server.addresses.values()))}")

    def _publish(self) -> Mapping[str, str]:
        running = [server for server in self._servers.values() if self._group(server.name) is not None]
        addresses = {key: address for server in running for key, address in server.addresses.items()}
        partial = self._layout.addresses_file.with_suffix(".partial")
        partial.write_text(json.dumps(addresses, indent=2))
        partial.replace(self._layout.addresses_file)
        return addresses

    def _server(self, name: str) -> Server:
        try:
            return self._servers[name]
        except KeyError:
            raise ConfigurationError(f"there is no server {name}; there are {', '.join(SERVERS)}") from None

    def _group(self, name: str) -> Group | None:
        return processes.recall(self._file(name))

    def _file(self, name: str) -> Path:
        return self._layout.data_dir / "run" / f"{name}.json"

    def _tail(self, name: str) -> str:
        try:
            return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-_LOG_LINES:])
        except FileNotFoundError:
            return "(no log)"


def variables(addresses: Mapping[str, str]) -> dict[str, str]:
    """Addresses as environment variables PARAMEDIC_STACK_<KEY>."""
    return {f"PARAMEDIC_STACK_{key.upper()}": address for key, address in addresses.items()}


def settings_of(addresses: Mapping[str, str]) -> dict[str, str]:
    """Paramedic's settings for what runs, and where OpenTelemetry's exporters send to when the Collector does."""
    chosen = {
        "PARAMEDIC_BROKER": addresses.get("kafka"),
        "PARAMEDIC_SCHEMA_REGISTRY": addresses.get("registry"),
        "PARAMEDIC_INCIDENT_STORE": addresses.get("elasticsearch"),
        "PARAMEDIC_TELEMETRY_STORE": addresses.get("elasticsearch"),
    }
    if "collector" in addresses:
        for signal in ("traces", "metrics", "logs"):
            chosen[f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"] = f"{addresses['collector']}/v1/{signal}"
    return {name: value for name, value in chosen.items() if value}


def released(ports: Sequence[int], within_s: float = _RELEASE_S) -> bool:
    """Wait until nobody listens on ports; whether that came true in time.

    A killed process is a zombie as soon as its first thread is gone; its sockets stay until the last one is.
    """
    return processes.wait_until(lambda: not any(map(_taken, ports)), within_s)


def _require_possible(server: Server) -> None:
    obstacle = server.obstacle()
    if obstacle:
        raise Unavailable(f"{server.name} cannot run: {obstacle}")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False
