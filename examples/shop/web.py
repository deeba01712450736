"""Serve one service over HTTP: spans, errors, user ids, memory guard, readiness, clean end."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from opentelemetry import baggage, context, trace
from opentelemetry.context.context import Context
from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
from opentelemetry.trace import Status, StatusCode
from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from examples.shop.announcing_server import READY_PATH, AnnouncingServer
from examples.shop.code_places import code_place, with_code_place
from examples.shop.failures import Overloaded, Refused, ShopError
from examples.shop.launch import Launch
from examples.shop.parent import die_with_parent
from examples.shop.peers import Peers
from examples.shop.pool_gauges import PoolGauges
from examples.shop.state_files import WatchedFile, watch_flags
from examples.shop.telemetry import MEMORY_LIMIT_BYTES, USER_ID, Telemetry, resident_bytes, start_telemetry

logger = logging.getLogger("shop.web")

USER_HEADER = "x-user-id"
_MEMORY_CHECK_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a service is built from.

    Attributes:
        launch: Who it is.
        peers: The other services.
        flags: Feature flags.
        pools: Where it reports its pools.
    """

    launch: Launch
    peers: Peers
    flags: WatchedFile[dict[str, bool]]
    pools: PoolGauges


def run_service(launch: Launch, build: Callable[[Runtime], Sequence[Route]]) -> None:
    """Serve until SIGTERM; print one line `{"port": ...}` on stdout once ready."""
    if launch.parent_pid:
        die_with_parent(launch.parent_pid)
    telemetry = start_telemetry(launch)
    asyncio.run(_serve(launch, build, telemetry))


async def _serve(launch: Launch, build: Callable[[Runtime], Sequence[Route]], telemetry: Telemetry) -> None:
    runtime = Runtime(
        launch=launch, peers=Peers(launch.directory), flags=watch_flags(launch.directory), pools=PoolGauges()
    )
    flush = partial(asyncio.to_thread, telemetry.shutdown)
    await AnnouncingServer(traced(build(runtime)), at_end=flush).serve_announced()


def traced(routes: Sequence[Route]) -> ASGIApp:
    """The application: server spans outside, then the request's context, then errors, then the routes."""
    ready = Route(READY_PATH, _ready)
    handled = ExceptionMiddleware(
        Router([*routes, ready]), handlers={ShopError: _failed, HTTPException: _refused, Exception: _crashed}
    )

    def describe(scope: Scope) -> tuple[str, dict[str, Any]]:
        for route in routes:
            if route.matches(scope)[0] is Match.FULL:
                scope["shop.endpoint"] = route.endpoint
                attributes = {
                    "http.route": route.path_format,
                    "server.address": scope["server"][0],  # the instrumentation would write host:port
                    **code_place(route.endpoint),
                }
                return f"{scope['method']} {route.path_format}", attributes
        return str(scope["method"]), {}

    instrumented: ASGIApp = OpenTelemetryMiddleware(
        RequestContext(handled),
        excluded_urls=READY_PATH,
        default_span_details=describe,
        exclude_spans=["receive", "send"],
    )
    return FreshContext(instrumented)


class FreshContext:
    """Begins every request with an empty trace context.

    The web server starts a request that waited on its connection inside the task of the one before; with that task's
    span still current, the instrumentation would take the request for an internal step of it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        token = context.attach(Context())
        try:
            await self._app(scope, receive, send)
        finally:
            context.detach(token)


class RequestContext:
    """Carries the user's id and the place in the code to the spans of a request; sheds load above the memory limit."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._checked_at = 0.0
        self._over_limit = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        endpoint = scope.get("shop.endpoint")
        within = context.get_current()
        user_id = dict(scope["headers"]).get(USER_HEADER.encode())
        if user_id is not None:  # set at the edge only; inside, the baggage has it
            name = user_id.decode("latin-1")[:64]
            trace.get_current_span().set_attribute(USER_ID, name)
            within = baggage.set_baggage(USER_ID, name, within)
        if endpoint is not None:
            within = with_code_place(within, endpoint)
        token = context.attach(within)
        try:
            if endpoint is not None and self._is_over_limit():
                await _error_answer(503, "memory limit reached")(scope, receive, send)
                return
            await self._app(scope, receive, send)
        finally:
            context.detach(token)

    def _is_over_limit(self) -> bool:
        now = time.monotonic()
        if now - self._checked_at > _MEMORY_CHECK_S:
            self._checked_at = now
            resident = resident_bytes()
            self._over_limit = resident > MEMORY_LIMIT_BYTES
            if self._over_limit:
                logger.error(
                    "memory limit reached: %d of %d MiB resident, refusing requests",
                    resident >> 20,
                    MEMORY_LIMIT_BYTES >> 20,
                )
        return self._over_limit


def current_user_id() -> str:
    """The user on whose behalf this request runs.

    Raises:
        Refused: nobody is named.
    """
    user_id = baggage.get_baggage(USER_ID)
    if not isinstance(user_id, str) or not user_id:
        raise Refused(401, "no user")
    return user_id


async def body_object(request: Request) -> dict[str, Any]:
    """The JSON object in the request's body.

    Raises:
        Refused: the body is something else.
    """
    try:
        content = json.loads(await request.body())
    except ValueError as error:
        raise Refused(422, f"the body is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Refused(422, "the body is not a JSON object")
    return content


async def _ready(_: Request) -> Response:
    return JSONResponse({"ready": True})


async def _failed(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, ShopError) else 500
    if isinstance(error, Refused):
        return _error_answer(status, str(error))
    if isinstance(error, Overloaded):
        logger.warning("%s %s refused: %s", request.method, request.url.path, error)
    else:
        logger.error("%s %s failed: %s", request.method, request.url.path, error)
    trace.get_current_span().record_exception(error)
    return _error_answer(status, str(error))


async def _refused(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return _error_answer(status, str(error))


async def _crashed(request: Request, error: Exception) -> Response:
    span = trace.get_current_span()
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
    span.set_attribute("error.type", type(error).__qualname__)
    logger.error("unhandled exception in %s %s", request.method, request.url.path, exc_info=error)
    return _error_answer(500, "internal error")


def _error_answer(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status)
