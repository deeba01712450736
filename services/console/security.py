"""What every answer carries and every request must pass: headers, host, size and form of bodies, access."""

import hmac
from collections.abc import Callable
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from libs.errors import ParamedicError
from services.console.csrf import COOKIE, Session, Signer

BODY_BYTES: Final = 131_072  # a comment of 10,000 characters, each percent-encoded as four bytes, is 120 kB
LOCAL_HOSTS: Final = frozenset({"127.0.0.1", "localhost", "::1"})
OPEN_PATHS: Final = ("/login", "/static/", "/healthz")
_NO_PAGES: Final = ("/static/", "/live", "/healthz")  # asked for beside a page: a cookie here would replace the page's
HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Forbidden(ParamedicError):
    """The request does not come from a page of this console; the text says what to do."""


class Guard:
    """Checks every request before a page sees it.

    Args:
        app: What to protect.
        local: Whether only this machine is served: then other Host headers are refused, as a page of another site
            that points its own name at loopback would send.
        token: Access token; None when none is asked for.
        signer: Reads sessions.
    """

    def __init__(self, app: ASGIApp, *, local: bool, token: str | None, signer: Signer) -> None:
        self._app = app
        self._local = local
        self._token = token
        self._signer = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if "Cache-Control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if self._local and host_name(headers.get("host", "")) not in LOCAL_HOSTS:
            return PlainTextResponse("this console serves 127.0.0.1 and localhost only", status_code=400)
        if self._token is None or any(scope["path"].startswith(path) for path in OPEN_PATHS):
            return None
        session = scope["state"].get("session")
        if isinstance(session, Session) and session.signed_in:
            return None
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("sign in first: open the console and give its token", status_code=401)
        wanted = scope["path"] + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else "")
        return RedirectResponse(f"/login?next={quote(wanted, safe='')}", status_code=303)


class Sessions:
    """Gives every browser a session, in `request.state.session`.

    Args:
        app: What needs it.
        signer: Makes and reads sessions.
        now: Wall clock.
    """

    def __init__(self, app: ASGIApp, *, signer: Signer, now: Callable[[], datetime]) -> None:
        self._app = app
        self._signer = signer
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the cookie, or set one with the answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        session = self._signer.read(request.cookies.get(COOKIE, ""), self._now())
        cookie = ""
        if session is None:
            session, cookie = self._signer.open(self._now(), signed_in=False)
        request.state.session = session

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("set-cookie", set_cookie(COOKIE, cookie, secure=scope["scheme"] == "https"))
            await send(message)

        page = scope["method"] == "GET" and not scope["path"].startswith(_NO_PAGES)
        await self._app(scope, receive, send_with_cookie if cookie and page else send)


def host_name(host: str) -> str:
    """Name of a Host header without its port: [::1]:8081 becomes ::1."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def set_cookie(name: str, value: str, *, secure: bool, max_age_s: int | None = None) -> str:
    """A Set-Cookie line that no script reads and no other site sends along."""
    lasting = "" if max_age_s is None else f"; Max-Age={max_age_s}"
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Strict{lasting}{'; Secure' if secure else ''}"


def check_origin(request: Request) -> None:
    """`Forbidden` when a browser says that another site sent the form."""
    site = request.headers.get("sec-fetch-site", "same-origin")
    origin = request.headers.get("origin", "")
    foreign = origin and origin != "null" and urlsplit(origin).netloc != request.headers.get("host", "")
    if site not in ("same-origin", "none") or foreign or origin == "null":
        raise Forbidden("this decision was sent by a page of another site; nothing was done")


def token_matches(given: str, token: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), token.encode())


def local_path(wanted: str) -> str:
    """A path of this console to go on to after signing in; / for anything that leads elsewhere."""
    if not wanted.startswith("/") or wanted.startswith(("//", "/\\")) or any(ord(c) < 0x20 for c in wanted):
        return "/"
    return wanted
