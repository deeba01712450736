"""Build the console: the pages on one socket, and the feed of live events beside them."""

import threading
from typing import Final

from libs.errors import Unavailable
from libs.runbooks import load_runbooks
from libs.service.listening import bind, is_loopback, needs_token, url_of
from libs.service.platform import Platform
from libs.service.run import Runnable, publish_address
from libs.service.settings import Settings
from libs.service.web_server import WebServer
from services.console.app import Parts, create_app
from services.console.csrf import Signer, secret_key
from services.console.decisions import Decisions
from services.console.live import Feed, Hub, LiveEvent
from services.console.pages.healing import Policies
from services.console.runs import RunIndex

_STOP_S: Final = 3  # above the second and a half that a decision waits for its effect


def build(settings: Settings, platform: Platform) -> Runnable:
    """The running service; `ConfigurationError` when the address is taken, or open to others without a token."""
    return ConsoleService(settings, platform)


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
        needs_token(settings.console_host, token, setting="PARAMEDIC_CONSOLE_HOST=")
        self._platform = platform
        self._hub = Hub()
        self._runs = RunIndex(platform.incidents)
        self._feed = Feed(lambda: platform.broker, platform.codec, self._told, platform.log, lost=self._hub.interrupt)
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
        bound = bind(
            settings.console_host,
            settings.console_port,
            remedy="set PARAMEDIC_CONSOLE_PORT to a free port, 0 takes any",
        )
        self.url = url_of(settings.console_host, bound)
        self._server = WebServer(app, bound, name="the console", stop_s=_STOP_S)
        self._stop = threading.Event()

    def run(self) -> None:
        """Serve until `stop`."""
        try:
            self._server.start()
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
        return "ready" if self._server.is_answering and self._feed.listening.is_set() else "starting"

    @property
    def reason(self) -> str:
        """Why it is not ready."""
        if self._server.is_answering and not self._feed.listening.is_set():
            return f"{self._feed.reason}; pages are served, but do not move"
        return ""

    def _told(self, event: LiveEvent) -> None:
        self._runs.told(event.incident)
        self._hub.publish(event)

    def _warm_up(self) -> None:
        """Connect, and read the runs of history, now rather than under the first visitor's eyes."""
        self._decisions.connect()
        try:
            self._runs.runs()
        except Unavailable as error:
            self._platform.log.warning("runs not read yet", reason=str(error))

    def _end(self) -> None:
        self._hub.close()
        self._decisions.close()
        self._server.stop()
        self._feed.stop()
        self._ended = True
