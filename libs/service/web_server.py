"""An ASGI application served in a thread of its own beside a service's loop."""

import socket
import threading
from typing import Any, Final

import uvicorn

from libs.errors import ConfigurationError

_START_S: Final = 10.0
_THREAD_S: Final = 1.5  # what uvicorn needs to end after its own grace


class WebServer:
    """Uvicorn in a thread; `start` returns when it answers, `stop` when it has ended.

    Args:
        app: The application.
        bound: A bound socket; closed by `stop`.
        name: What it is, for the thread and for errors ("the console").
        stop_s: How long requests in hand may take after `stop`, whole seconds.
    """

    def __init__(self, app: Any, bound: socket.socket, *, name: str, stop_s: int) -> None:
        self._name = name
        self._socket = bound
        self._stop_s = stop_s
        self._server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=stop_s,
            )
        )
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)

    @property
    def is_answering(self) -> bool:
        """Whether requests are answered."""
        return self._server.answering.is_set()

    def start(self) -> None:
        """Begin to answer; `ConfigurationError` when it does not come up."""
        self._thread.start()
        if not self._server.answering.wait(_START_S):
            raise ConfigurationError(f"{self._name} did not start within {_START_S:.0f} s")

    def stop(self) -> None:
        """Finish the requests in hand and end; starts nothing that was not started."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(self._stop_s + _THREAD_S)
        self._socket.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])


class _Server(uvicorn.Server):
    """A uvicorn server that says when it answers; off the main thread it leaves signals alone."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.answering = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.answering.set()
