"""Intake as a service: the HTTP server and the loop over the Collector's topics in one process."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn

from libs.errors import ParamedicError
from libs.service.listening import bind, url_of
from libs.service.platform import Platform
from libs.service.run import publish_address
from libs.service.settings import Settings
from libs.streaming.loop import Loop, LoopOptions, LoopState
from services.intake.counters import IntakeCounters
from services.intake.handler import CollectorHandler
from services.intake.http_app import IntakeApp
from services.intake.http_body import InFlight
from services.intake.normalise.normaliser import Normaliser
from services.intake.signals import RECORDING_PAST_NS
from services.intake.writer import FLUSH_S, RequestWriter

_GRACE_S: Final = 10  # a request in hand may wait FLUSH_S for the broker
_KEEP_ALIVE_S: Final = 75  # longer than the usual export intervals (5, 10, 30, 60 s): no connection per export


def normaliser(_settings: Settings) -> Normaliser:
    """A normaliser of its own for live telemetry."""
    return Normaliser()


def recording_normaliser(_settings: Settings) -> Normaliser:
    """A normaliser for `paramedic replay`: a recording may reach back further than live telemetry."""
    return Normaliser(past_ns=RECORDING_PAST_NS)


def handler(settings: Settings, platform: Platform) -> CollectorHandler:
    """The handler of the Collector's topics."""
    return _handler(settings, platform, IntakeCounters(platform.metrics.registry))


def _handler(settings: Settings, platform: Platform, counters: IntakeCounters) -> CollectorHandler:
    return CollectorHandler(normaliser(settings), platform.clock, counters, platform.log)


def build(settings: Settings, platform: Platform) -> "IntakeService":
    """The HTTP server and the loop; `ConfigurationError` when the port is taken."""
    return IntakeService(settings, platform)


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers of its own: `run_service` has them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class IntakeService:
    """Runs both until `stop`.

    Args:
        settings: Host and port; port 0 takes a free one.
        platform: Broker, codec, clock, log, metrics.
        flush_s: Longest wait for the broker's acknowledgement of a request.
    """

    def __init__(self, settings: Settings, platform: Platform, *, flush_s: float = FLUSH_S) -> None:
        self._platform = platform
        counters = IntakeCounters(platform.metrics.registry)
        self._loop = Loop(
            _handler(settings, platform, counters),
            platform.broker,
            platform.codec,
            LoopOptions(group="intake", batch_messages=100),  # a Collector message holds 8,192 items by default
            log=platform.log,
            metrics=platform.metrics,
        )
        self._writer = RequestWriter(
            normaliser(settings), platform.broker, platform.codec, platform.clock, platform.metrics, flush_s
        )
        app = IntakeApp(self._writer, InFlight(), counters, platform.log).asgi()
        self._socket = bind(
            settings.intake_host, settings.intake_port, remedy="set PARAMEDIC_INTAKE_PORT to a free port, 0 takes any"
        )
        self._url = url_of(settings.intake_host, self._socket)
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._loop_error: ParamedicError | None = None

    @property
    def url(self) -> str:
        """Address that it listens on."""
        return self._url

    def run(self) -> None:
        """Serve until `stop`; raises what stopped the loop over the Collector's topics."""
        topics = threading.Thread(target=self._run_loop, name="intake-loop")
        topics.start()
        try:
            asyncio.run(self._serve())
        finally:
            self._loop.stop()
            topics.join()
            self._writer.close()
            self._socket.close()
        if self._loop_error is not None:
            raise self._loop_error

    def stop(self) -> None:
        """Finish the requests in hand and end; safe from signal handlers and other threads."""
        self._server.should_exit = True
        self._loop.stop()

    @property
    def state(self) -> str:
        """Held when either half waits for the broker; ready when both work."""
        if self._loop.state is LoopState.STOPPED or not self._server.started:
            return LoopState.STOPPED if self._server.should_exit else LoopState.STARTING
        return LoopState.HELD if self._writer.down else self._loop.state

    @property
    def reason(self) -> str:
        """Why it is held, "" otherwise."""
        return self._writer.down or self._loop.reason

    def _run_loop(self) -> None:
        try:
            self._loop.run()
        except ParamedicError as error:
            self._loop_error = error
        finally:
            self._server.should_exit = True

    async def _serve(self) -> None:
        stop = asyncio.Event()
        probe = asyncio.create_task(self._writer.probe_while_down(stop))
        publish_address(self._platform, self.url)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            stop.set()
            await probe
