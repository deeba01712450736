"""Serve an MCP application over HTTP: a socket bound at start, a Bearer token where others can reach it."""

import hmac
import ipaddress
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import uvicorn
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from libs.errors import ConfigurationError
from libs.service.listening import bind, is_loopback, needs_token

_LOCAL_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
_STOP_S: Final = 2
_MOST_CONNECTIONS: Final = 64
_BACKLOG: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen.

    Attributes:
        host: Address; a loopback one unless a token is set.
        port: 0 takes a free one.
        names: Further names that clients call this machine by, without port.
        token: Bearer token that every request must carry; None asks for none, on loopback only.
    """

    host: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)

    def allowed_hosts(self) -> tuple[str, ...]:
        """Names that requests may be addressed to.

        Raises:
            ConfigurationError: others could reach it without a token, or nobody could because no name is known.
        """
        if is_loopback(self.host):
            return (*_LOCAL_NAMES, *self.names)
        needs_token(self.host, self.token, setting="--host ")
        if not _is_any(self.host):
            return (_bracketed(self.host), *self.names)
        if not self.names:
            raise ConfigurationError(
                f"--host {self.host} listens on every address; name what clients call this machine with --allow-host"
            )
        return self.names


class TokenGuard:
    """Asks every HTTP request for the Bearer token before anything of it is read.

    Args:
        app: What is guarded.
        token: The token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it through, or answer 401."""
        if scope["type"] == "http":
            scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token):
                refusal = PlainTextResponse(
                    "send Authorization: Bearer with the token in PARAMEDIC_API_TOKEN\n",
                    status_code=401,
                    headers={"WWW-Authenticate": "Bearer"},
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def serve_http(app: ASGIApp, address: Address, *, on_listening: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ConfigurationError` when the address is taken.

    Args:
        app: What to serve.
        address: Where.
        on_listening: Told the base URL once the socket is bound.
    """
    bound = bind(address.host, address.port, remedy="choose another --port, 0 takes any")
    with bound:
        bound.listen(_BACKLOG)  # from now on a client waits instead of being refused
        on_listening(f"http://{_bracketed(address.host)}:{bound.getsockname()[1]}")
        server = uvicorn.Server(
            uvicorn.Config(
                TokenGuard(app, address.token) if address.token else app,
                log_config=None,
                access_log=False,
                server_header=False,
                lifespan="on",
                limit_concurrency=_MOST_CONNECTIONS,
                timeout_graceful_shutdown=_STOP_S,
            )
        )
        # uvicorn raises the signal again after a clean stop; by then it has been answered.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        server.run(sockets=[bound])


def _is_any(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
