"""The API server beside the loop: one socket bound at build time, one thread, stopped with the loop."""

import ipaddress
import socket
import threading
from collections.abc import Callable
from typing import Final

import uvicorn

from libs.errors import ConfigurationError
from libs.service.platform import Platform
from libs.service.run import publish_address
from libs.service.settings import Settings
from libs.streaming.loop import Loop
from services.ticketing.api import ApiParts, create_app
from services.ticketing.decisions import Decisions

_START_S: Final = 10.0
_STOP_S: Final = 5.0  # above the two seconds that a request waits for its effect


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ApiServer:
    """Serves the incident API in its own thread.

    Args:
        settings: Address and token.
        platform: Stores, broker, codec.
        state: What the loop beside it is doing.
    Raises:
        ConfigurationError: the address is taken, or open to others without a token.
    """

    def __init__(self, settings: Settings, platform: Platform, state: Callable[[], str]) -> None:
        local = is_loopback(settings.api_host)
        token = settings.api_token.get_secret_value() if settings.api_token else None
        if not local and not token:
            raise ConfigurationError(
                f"PARAMEDIC_API_HOST={settings.api_host} is reachable by others; set PARAMEDIC_API_TOKEN, "
                "or listen on 127.0.0.1"
            )
        self._platform = platform
        self._decisions = Decisions(platform.incidents, platform.broker.producer, platform.codec, clock=platform.clock)
        app = create_app(
            ApiParts(
                incidents=platform.incidents,
                telemetry=platform.telemetry,
                decisions=self._decisions,
                state=state,
                token=token,
                local=local,
            )
        )
        self._socket = _bind(settings.api_host, settings.api_port)
        port = self._socket.getsockname()[1]
        host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
        self.url = f"http://{host}:{port}"
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=int(_STOP_S),
            )
        )
        self._thread = threading.Thread(target=self._serve, name="api", daemon=True)

    def start(self) -> None:
        """Begin to answer and publish the address; `ConfigurationError` when it does not come up."""
        self._thread.start()
        if not self._server.ready.wait(_START_S):
            raise ConfigurationError(f"the incident API did not start on {self.url} within {_START_S:.0f} s")
        publish_address(self._platform, self.url)
        self._platform.log.info("api listens", url=self.url)

    def stop(self) -> None:
        """Finish the requests in hand and end; starts nothing that was not started."""
        self._decisions.close()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_S + 1.0)
        self._socket.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


class _Server(uvicorn.Server):
    """A uvicorn server that says when it answers, and leaves signals to the service."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


class TicketingService:
    """The loop and the API as one.

    Args:
        loop: Runs in the calling thread.
        api: Runs in its own.
    """

    def __init__(self, loop: Loop, api: ApiServer) -> None:
        self._loop = loop
        self.api = api

    def run(self) -> None:
        """Serve and loop until `stop`."""
        self.api.start()
        try:
            self._loop.run()
        finally:
            self.api.stop()

    def stop(self) -> None:
        """Ask both to end; safe from signal handlers."""
        self._loop.stop()

    @property
    def state(self) -> str:
        """What the loop is doing."""
        return self._loop.state

    @property
    def reason(self) -> str:
        """Why the loop is held."""
        return self._loop.reason


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"the incident API cannot listen on {host}:{port} ({error.strerror or error}); "
            "set PARAMEDIC_API_PORT to a free port, 0 takes any"
        ) from error
    return bound
