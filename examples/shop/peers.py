"""Call the other services: client-side balancing, a timeout for each call, a retry where it is safe."""

import itertools
import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor, RequestInfo
from opentelemetry.trace import Span

from examples.shop.code_places import caller_place, caller_stack
from examples.shop.failures import PeerTimeout, PeerUnavailable
from examples.shop.state_files import watch_endpoints

logger = logging.getLogger("shop.peers")

# no semantic convention names it yet; the value is what httpx itself was told, so any instrumentation could write it
TIMEOUT = "http.client.timeout"
_NO_TIMEOUT = 0.0  # as curl and Go's http.Client write it

_POOL = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=20.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of another service.

    Attributes:
        peer: Name of the callee in the registry.
        method: HTTP method.
        path: Path to call.
        template: The path with its parameters' names, for the span's name; "" when it is the path.
        timeout_s: Seconds to wait for each read; None waits for ever.
        retries: Further instances to try when one cannot be reached, or is slow and the call is safe to repeat.
        idempotent: Whether repeating the call after a timeout or a broken connection is harmless.
        params: Query parameters.
        content: JSON body as bytes; None for none.
    """

    peer: str
    method: str
    path: str
    template: str = ""
    timeout_s: float | None = 3.0
    retries: int = 1
    idempotent: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


class Peers:
    """Calls services by name, round robin over the instances that the registry names."""

    def __init__(self, directory: Path) -> None:
        self._endpoints = watch_endpoints(directory)
        self._turns: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)
        self._client = httpx.AsyncClient(limits=_POOL, trust_env=False)
        HTTPXClientInstrumentor.instrument_client(self._client, request_hook=_describe_span)

    async def send(self, call: Call) -> httpx.Response:
        """Call and return the answer, whatever its status below 500.

        Raises:
            PeerTimeout: no instance has answered in time.
            PeerUnavailable: no instance could be reached, or the answer was a 5xx.
        """
        place = {**caller_place(1), "code.stacktrace": caller_stack(1)}
        for attempt in range(call.retries + 1):
            last = attempt == call.retries
            try:
                response = await self._once(call, attempt, place)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if last:
                    raise PeerUnavailable(f"{call.peer} cannot be reached: {type(error).__name__}") from error
            except httpx.TimeoutException as error:
                if last or not call.idempotent:
                    raise PeerTimeout(f"{call.peer} has not answered within {call.timeout_s} s") from error
            except httpx.TransportError as error:
                if last or not call.idempotent:
                    raise PeerUnavailable(f"{call.peer} broke the connection: {type(error).__name__}") from error
            else:
                if response.status_code >= 500:
                    raise PeerUnavailable(f"{call.peer} answered {response.status_code}: {_reason(response)}")
                return response
            logger.warning("retrying %s %s at another instance of %s", call.method, call.template, call.peer)
        raise AssertionError("the last attempt returns or raises")

    async def _once(self, call: Call, attempt: int, place: Mapping[str, str | int]) -> httpx.Response:
        bases = self._endpoints.read().get(call.peer, [])
        if not bases:
            raise PeerUnavailable(f"no instance of {call.peer} is registered")
        return await self._client.request(
            call.method,
            bases[next(self._turns[call.peer]) % len(bases)] + call.path,
            params=call.params or None,
            content=call.content,
            headers={"content-type": "application/json"} if call.content is not None else None,
            timeout=httpx.Timeout(call.timeout_s, connect=1.0),
            extensions={"peer": call.peer, "template": call.template or call.path, "resent": attempt, "place": place},
        )


async def _describe_span(span: Span, request: RequestInfo) -> None:
    told: Mapping[str, Any] = request.extensions or {}
    template = str(told.get("template", ""))
    span.update_name(f"{request.method.decode('ascii')} {template}")
    span.set_attribute("peer.service", str(told.get("peer", "")))
    span.set_attribute("url.template", template)
    span.set_attributes(told.get("place", {}))
    span.set_attribute(TIMEOUT, (told.get("timeout") or {}).get("read") or _NO_TIMEOUT)
    if told.get("resent"):
        span.set_attribute("http.request.resend_count", int(told["resent"]))
    if isinstance(request.url, httpx.URL):
        span.set_attribute("url.path", request.url.path)


def _reason(response: httpx.Response) -> str:
    """The peer's own words, short enough for a log line."""
    return response.text[:200]
