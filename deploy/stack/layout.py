"""Where the stack keeps its files and which loopback ports it takes; PARAMEDIC_STACK_ variables change them."""

import os
import random
import socket
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from libs.errors import ConfigurationError, Unavailable

HOST: Final = "127.0.0.1"
VERSIONS: Final = Path(__file__).resolve().parent.parent / "versions.toml"
FIRST_OUTGOING: Final = 32_768  # Linux takes the ports of outgoing connections from here on (ip_local_port_range)
_FIRST_FREE: Final = 20_000  # above the ports of the stack that is started by hand
_PREFIX: Final = "PARAMEDIC_STACK_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Loopback TCP ports, each settable as PARAMEDIC_STACK_<NAME>_PORT.

    Attributes:
        kafka: Broker, no encryption, no login.
        kafka_controller: KRaft controller.
        kafka_sasl: Broker behind SASL/PLAIN.
        kafka_tls: Broker behind TLS and SASL/SCRAM-SHA-512.
        elasticsearch: REST.
        elasticsearch_transport: Node to node.
        registry: Schema Registry REST.
        collector: OTLP/HTTP.
    """

    kafka: int = 19092
    kafka_controller: int = 19093
    kafka_sasl: int = 19094
    kafka_tls: int = 19095
    elasticsearch: int = 19200
    elasticsearch_transport: int = 19300
    registry: int = 18081
    collector: int = 14318


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Folders and ports of one stack.

    Attributes:
        cache_dir: Downloads, one folder a server and version; shared by every stack of this machine.
        data_dir: Configuration, data, logs and the addresses of one stack.
        ports: Where its servers listen.
        user: System user that Elasticsearch runs as when the stack is started by root.
    """

    cache_dir: Path
    data_dir: Path
    ports: Ports
    user: str = "nobody"

    @property
    def addresses_file(self) -> Path:
        """JSON of the addresses of the servers that are up."""
        return self.data_dir / "addresses.json"

    @property
    def logs_dir(self) -> Path:
        """One log a server, kept over restarts."""
        return self.data_dir / "logs"


def layout_from_environment(environment: Mapping[str, str] | None = None) -> Layout:
    """Folders and ports from PARAMEDIC_STACK_* variables; `ConfigurationError` names a wrong one.

    Root's home is closed to the user that Elasticsearch runs as, so root's defaults are below /var.
    """
    given = os.environ if environment is None else environment
    home = Path(given.get("HOME", "/"))
    root = os.geteuid() == 0
    cache = Path("/var/cache") if root else Path(given.get("XDG_CACHE_HOME") or home / ".cache")
    state = Path("/var/lib") if root else Path(given.get("XDG_STATE_HOME") or home / ".local" / "state")
    return Layout(
        cache_dir=Path(given.get(f"{_PREFIX}CACHE") or cache / "paramedic" / "stack").absolute(),
        data_dir=Path(given.get(f"{_PREFIX}DATA") or state / "paramedic" / "stack").absolute(),
        ports=Ports(**{name: _port(given, name) for name in _PORT_DEFAULTS}),
        user=given.get(f"{_PREFIX}USER") or "nobody",
    )


def free_ports() -> Ports:
    """Ports that nobody listens on now, and that no outgoing connection is given while their server is down."""
    candidates = iter(random.sample(range(_FIRST_FREE, FIRST_OUTGOING), FIRST_OUTGOING - _FIRST_FREE))
    with ExitStack() as held:
        return Ports(**{name: _first_free(candidates, held) for name in _PORT_DEFAULTS})


def _first_free(candidates: Iterator[int], held: ExitStack) -> int:
    """The first port that can be bound; it stays bound until `held` ends, so that nobody takes it meanwhile."""
    for port in candidates:
        probe = socket.socket()
        held.callback(probe.close)
        try:
            probe.bind((HOST, port))
        except OSError:
            continue
        return port
    raise Unavailable(f"no port between {_FIRST_FREE} and {FIRST_OUTGOING - 1} is free on {HOST}")


def port_variables(ports: Ports) -> dict[str, str]:
    """The variables that choose these ports."""
    return {f"{_PREFIX}{name.upper()}_PORT": str(getattr(ports, name)) for name in _PORT_DEFAULTS}


def versions() -> dict[str, str]:
    """Version of each server of the stack, from deploy/versions.toml."""
    return {name: str(version) for name, version in tomllib.loads(VERSIONS.read_text())["stack"].items()}


def _port(given: Mapping[str, str], name: str) -> int:
    variable = f"{_PREFIX}{name.upper()}_PORT"
    text = given.get(variable) or str(_PORT_DEFAULTS[name])
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigurationError(f"{variable}: {text!r} is not a port between 1 and 65535")
    return int(text)


_PORT_DEFAULTS: Final[dict[str, int]] = {field.name: getattr(Ports(), field.name) for field in fields(Ports)}
