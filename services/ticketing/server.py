"""The API server beside the loop: one socket bound at build time, one thread, stopped with the loop."""

from collections.abc import Callable
from typing import Final

from libs.service.listening import bind, is_loopback, needs_token, url_of
from libs.service.platform import Platform
from libs.service.run import publish_address
from libs.service.settings import Settings
from libs.service.web_server import WebServer
from libs.streaming.loop import Loop
from services.ticketing.api import ApiParts, create_app
from services.ticketing.decisions import Decisions

_STOP_S: Final = 5  # above the two seconds that a request waits for its effect


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
        needs_token(settings.api_host, token, setting="PARAMEDIC_API_HOST=")
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
        bound = bind(settings.api_host, settings.api_port, remedy="set PARAMEDIC_API_PORT to a free port, 0 takes any")
        self.url = url_of(settings.api_host, bound)
        self._server = WebServer(app, bound, name="the incident API", stop_s=_STOP_S)

    def start(self) -> None:
        """Begin to answer and publish the address; `ConfigurationError` when it does not come up."""
        self._server.start()
        publish_address(self._platform, self.url)
        self._platform.log.info("api listens", url=self.url)
        self._decisions.connect()

    def stop(self) -> None:
        """Finish the requests in hand and end; starts nothing that was not started."""
        self._decisions.close()
        self._server.stop()


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
