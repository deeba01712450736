"""Build the console: the pages on one socket, and the feed of live events beside them."""

import ipaddress
import socket
import threading
from typing import Final

import uvicorn

from libs.errors import ConfigurationError, Unavailable
from libs.runbooks import load_runbooks
from libs.service.platform import Platform
from libs.service.run import Runnable, publish_address
from libs.service.settings import Settings
from services.console.app import Parts, create_app
from services.console.csrf import Signer, secret_key
from services.console.decisions import Decisions
from services.console.live import Feed, Hub, LiveEvent
from services.console.pages.healing import Policies
from services.console.runs import RunIndex

_START_S: Final = 10.0
_STOP_S: Final = 3.0  # above the second and a half that a decision waits for its effect


def build(settings: Settings, platform: Platform) -> Runnable:
    """The running service; `ConfigurationError` when the address is taken, or open to others without a token."""
    return ConsoleService(settings, platform)


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class ConsoleService:
    """Serves pages in the calling thread and reads live events in another.

    Args:
        settings: Address, token, runbooks, modes.
        platform: Stores, broker, codec.
    Raises:
        ConfigurationError: the address is taken, or open to others without a token.
    """

    def __init__(self, settings: Settings, platform: Platform) -> None:
        local = is_loopback(settings.console_host)
        token = settings.api_token.get_secret_value() if settings.api_token else None
        if not local and not token:
            raise ConfigurationError(
                f"PARAMEDIC_CONSOLE_HOST={settings.console_host} is reachable by others; set PARAMEDIC_API_TOKEN, "
                "or listen on 127.0.0.1"
            )
        self._platform = platform
        self._hub = Hub()
        self._runs = RunIndex(platform.incidents)
        self._feed = Feed(lambda: platform.broker, platform.codec, self._told, platform.log)
        self._decisions = Decisions(lambda: platform.broker.producer(), platform.codec, clock=platform.clock)
        self._ended = False
        app = create_app(
            Parts(
                incidents=platform.incidents,
                telemetry=platform.telemetry,
                decisions=self._decisions,
                hub=self._hub,
                runs=self._runs,
                policies=Policies(
                    runbooks=tuple(load_runbooks(settings.runbooks_dir)),
                    settings=settings.modes,
                    applies=bool(settings.executor_url),
                ),
                signer=Signer(secret_key(settings.data_dir / "console.key"), token),
                token=token,
                local=local,
                state=lambda: self.state,
                clock=platform.clock,
                log=platform.log,
            )
        )
        self._socket = _bind(settings.console_host, settings.console_port)
        port = self._socket.getsockname()[1]
        host = f"[{settings.console_host}]" if ":" in settings.console_host else settings.console_host
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
        self._thread = threading.Thread(target=self._serve, name="console", daemon=True)
        self._stop = threading.Event()

    def run(self) -> None:
        """Serve until `stop`."""
        self._thread.start()
        try:
            if not self._server.ready.wait(_START_S):
                raise ConfigurationError(f"the console did not start on {self.url} within {_START_S:.0f} s")
            publish_address(self._platform, self.url)
            self._platform.log.info("console listens", url=self.url)
            self._feed.start()
            self._warm_up()
            self._stop.wait()
        finally:
            self._end()

    def stop(self) -> None:
        """Ask it to end; safe from signal handlers."""
        self._stop.set()

    @property
    def state(self) -> str:
        """Starting until pages are served and live events are listened to."""
        if self._ended:
            return "stopped"
        return "ready" if self._server.ready.is_set() and self._feed.listening.is_set() else "starting"

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        if self._server.ready.is_set() and not self._feed.listening.is_set():
            return "the broker has not given out the topics of live events; pages are served, but do not move"
        return ""

    def _told(self, event: LiveEvent) -> None:
        self._runs.told(event.incident)
        self._hub.publish(event)

    def _warm_up(self) -> None:
        """Read the runs of history now rather than under the first visitor's eyes."""
        try:
            self._runs.runs()
        except Unavailable as error:
            self._platform.log.warning("runs not read yet", reason=str(error))

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def _end(self) -> None:
        self._hub.close()
        self._decisions.close()
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(_STOP_S + 2.0)
        self._feed.stop()
        self._socket.close()
        self._ended = True


class _Server(uvicorn.Server):
    """A uvicorn server that says when it answers, and leaves signals to the service."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


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
            f"the console cannot listen on {host}:{port} ({error.strerror or error}); "
            "set PARAMEDIC_CONSOLE_PORT to a free port, 0 takes any"
        ) from error
    return bound
