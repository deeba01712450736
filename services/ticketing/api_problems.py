"""Errors of the incident API as problem details (RFC 9457)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.errors import Conflict, InvalidMessage, NotFound, ParamedicError, Unavailable
from services.ticketing.api_models import Problem

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 5
BODY_BYTES: Final = 65_536  # the longest comment, 10,000 characters, is 40 kB as escaped JSON is 60 kB
_TITLES: Final[Mapping[int, str]] = {
    400: "Bad request",
    401: "Not authenticated",
    404: "Not found",
    405: "Method not allowed",
    409: "Not possible in this state",
    413: "Body too large",
    415: "Not JSON",
    422: "Not valid",
    500: "Internal error",
    503: "A dependency is down",
}
_STATUS: Final[Mapping[type[ParamedicError], int]] = {
    NotFound: 404,
    Conflict: 409,
    InvalidMessage: 422,
    Unavailable: 503,
}
RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": Problem, "description": _TITLES[status]} for status in (401, 404, 422, 503)
}


def problem(
    status: int,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """One answer in the form of RFC 9457."""
    body = Problem(title=_TITLES.get(status, "Error"), status=status, detail=detail, errors=[dict(e) for e in errors])
    sent = {**({"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}), **(headers or {})}
    return JSONResponse(
        body.model_dump(exclude_defaults=False), status_code=status, media_type=MEDIA_TYPE, headers=sent
    )


def install(app: FastAPI) -> None:
    """Answer every error of the app as a problem."""
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(ParamedicError, _on_paramedic)
    app.add_exception_handler(Exception, _on_bug)
    app.add_middleware(BodyLimit)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if error.status_code == 404 and detail == "Not Found":
        detail = f"nothing at {request.url.path}; /docs lists what there is"
    return problem(error.status_code, detail, headers=error.headers)


async def _on_validation(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"field": ".".join(str(part) for part in one["loc"]), "message": str(one["msg"])} for one in error.errors()
    ]
    detail = "; ".join(f"{one['field']}: {one['message']}" for one in errors)
    return problem(422, detail, errors=errors)


async def _on_paramedic(_: Request, error: Exception) -> JSONResponse:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    return problem(status, str(error))


async def _on_bug(_: Request, error: Exception) -> JSONResponse:
    return problem(500, f"{type(error).__name__}; the log of the ticketing service has the traceback")


class BodyLimit:
    """Refuses bodies above 64 kB, announced or not, and bodies that are not JSON: a web page of another site can post
    plain text to loopback without asking, but not JSON.

    Args:
        app: What to protect.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with a counted body."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        if headers.get(b"content-type", b"").split(b";")[0].strip().lower() != b"application/json":
            answer = problem(415, "send Content-Type: application/json")
            await answer(scope, receive, send)
            return
        chunks: list[bytes] = []
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunks.append(message.get("body", b""))
            more = bool(message.get("more_body", False))
            if sum(map(len, chunks)) > BODY_BYTES:
                answer = problem(413, f"a body may have {BODY_BYTES} bytes", headers={"Connection": "close"})
                await answer(scope, receive, send)
                return
        await self._app(scope, _replaying(b"".join(chunks), receive), send)


def _replaying(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
