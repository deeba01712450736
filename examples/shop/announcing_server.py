"""An HTTP server on a port of the system's choice that tells its parent where it is."""

import json
import os
import socket
from collections.abc import Awaitable, Callable

import uvicorn
from starlette.types import ASGIApp

READY_PATH = "/healthz"

_GRACE_S = 3  # most answers take under one second; what hangs is cut off
_KEEP_ALIVE_S = 30


class AnnouncingServer(uvicorn.Server):
    """A server on a port of the system's choice, which it announces on stdout; `at_end` runs after the last answer."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        at_end: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )
        self._at_end = at_end
        # with the protocol left at 0 asyncio does not switch Nagle off, and every answer waits 40 ms for an ACK
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((host, port))

    @property
    def port(self) -> int:
        """The bound port."""
        return int(self._socket.getsockname()[1])

    async def serve_announced(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        await self.serve(sockets=[self._socket])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then announce."""
        await super().startup(sockets)
        print(json.dumps({"port": self.port, "pid": os.getpid()}), flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is open, then run `at_end`: after this the signal is raised again and ends the process."""
        await super().shutdown(sockets)
        if self._at_end is not None:
            await self._at_end()
