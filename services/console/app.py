"""The console's application: pages, live events, signing in; decisions are in decide.py."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from libs.contracts.incident import IncidentState, Priority
from libs.contracts.recommendation import STATE_PREFIX
from libs.errors import Conflict, InvalidMessage, NotFound, ParamedicError, Unavailable
from libs.observability.log import Logger
from libs.stores.incidents import IncidentStore
from libs.stores.telemetry import TelemetryReader
from services.console import decide
from services.console.csrf import COOKIE, LASTS_S, Signer
from services.console.decisions import Decisions
from services.console.forms import NotAForm, TooLarge, read_form
from services.console.frame import Frame, frame_of
from services.console.live import Hub
from services.console.pages.healing import Policies, healing_page, read_halt, read_modes
from services.console.pages.incident import Chosen, draw_pictures, incident_page
from services.console.pages.now import LAST_PAGE, Asked, read_now
from services.console.pages.recommendations import recommendations_page
from services.console.render import Templates, read_assets
from services.console.runs import RunIndex
from services.console.security import HEADERS, Forbidden, Guard, Sessions, local_path, set_cookie, token_matches

E = TypeVar("E", bound=StrEnum)
_RETRY_AFTER_S = 5
_TITLES = {
    400: "That cannot be read",
    401: "Sign in first",
    403: "Not from this page",
    404: "There is nothing here",
    405: "That is not possible here",
    409: "It is too late for that",
    413: "That is too large",
    415: "That is no form",
    422: "Something is missing or wrong",
    500: "Something went wrong in the console",
    503: "A part of Paramedic is down",
}
_STATUS: dict[type[ParamedicError], int] = {
    TooLarge: 413,
    NotAForm: 415,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    InvalidMessage: 422,
    Unavailable: 503,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the console works with.

    Attributes:
        incidents: The incident store.
        telemetry: The telemetry store.
        decisions: Writes commands.
        hub: Live events.
        runs: Every run.
        policies: Runbooks and settings.
        signer: Sessions and form tokens.
        token: Access token; None asks for none.
        local: Whether only this machine is served.
        state: What the process is doing.
        clock: Wall clock, aware UTC.
        log: Canonical log.
    """

    incidents: IncidentStore
    telemetry: TelemetryReader
    decisions: Decisions
    hub: Hub
    runs: RunIndex
    policies: Policies
    signer: Signer
    token: str | None
    local: bool
    state: Callable[[], str]
    clock: Callable[[], datetime]
    log: Logger


def create_app(parts: Parts) -> FastAPI:
    """Build the application."""
    app = FastAPI(
        title="Paramedic console",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(Sessions, signer=parts.signer, now=parts.clock),
            Middleware(Guard, local=parts.local, token=parts.token, signer=parts.signer),
        ],
    )
    assets = read_assets()
    templates = Templates(assets)

    def show(name: str, frame: Frame, *, status: int = 200, **shown: object) -> HTMLResponse:
        return HTMLResponse(templates.render(name, frame=frame, **shown), status_code=status)

    _errors(app, parts, show)
    _pages(app, parts, show)
    _signing_in(app, parts, show)
    decide.add_routes(app, parts.incidents, parts.decisions, parts.signer, parts.log)

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        if name not in assets:
            raise NotFound(f"there is no file {name}")
        kept = {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(assets[name].content, media_type=assets[name].media_type, headers=kept)

    @app.get("/live")
    async def live() -> StreamingResponse:
        if parts.state() != "ready":
            raise Unavailable("live events are not heard yet; the page asks again")
        stream = parts.hub.stream(parts.hub.join())
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "state": parts.state()}

    return app


Show = Callable[..., HTMLResponse]


def _pages(app: FastAPI, parts: Parts, show: Show) -> None:
    def frame(request: Request, active: str, incident: str = "") -> Frame:
        return frame_of(request, parts.signer, parts.incidents, active=active, incident=incident)

    @app.get("/")
    def now(request: Request) -> HTMLResponse:
        page = read_now(parts.incidents, _asked(request), parts.clock())
        states, priorities = [state.value for state in IncidentState], [priority.value for priority in Priority]
        return show("now.html", frame(request, "Now"), page=page, states=states, priorities=priorities)

    @app.get("/incidents/{reference}")
    def incident(request: Request, reference: str) -> HTMLResponse:
        document = decide.read_incident(parts.incidents, reference)
        chosen = Chosen(
            anomaly=request.query_params.get("anomaly", "")[:200], trace=request.query_params.get("trace", "")[:64]
        )
        pictures = draw_pictures(document, parts.telemetry, chosen)
        page = incident_page(document, pictures, chosen, parts.clock())
        return show("incident.html", frame(request, "", document.incident.id), page=page)

    @app.get("/healing")
    def healing(request: Request) -> HTMLResponse:
        page = healing_page(
            parts.runs.runs(),
            parts.runs.number,
            parts.policies,
            (read_halt(parts.incidents), read_modes(parts.incidents)),
            page=_number(request.query_params.get("page", ""), 1_000_000),
            now=parts.clock(),
        )
        return show("healing.html", frame(request, "Self-healing"), page=page)

    @app.get("/recommendations")
    def recommendations(request: Request) -> HTMLResponse:
        page = recommendations_page(parts.incidents.states(STATE_PREFIX), parts.clock())
        return show("recommendations.html", frame(request, "Recommendations"), page=page)


def _signing_in(app: FastAPI, parts: Parts, show: Show) -> None:
    def form(request: Request, wanted: str, *, wrong: bool) -> HTMLResponse:
        frame = Frame(csrf=parts.signer.form_token(request.state.session), live=False)
        return show("login.html", frame, status=401 if wrong else 200, next=local_path(wanted), wrong=wrong)

    @app.get("/login")
    def login(request: Request) -> Response:
        if parts.token is None:
            return RedirectResponse("/", status_code=303)
        return form(request, request.query_params.get("next", "/"), wrong=False)

    @app.post("/login")
    async def sign_in(request: Request) -> Response:
        fields = await read_form(request, parts.signer)
        wanted = local_path(fields.get("next", "/"))
        if parts.token is None or not token_matches(fields.get("token", ""), parts.token):
            parts.log.warning("console sign-in refused", client=request.client.host if request.client else "")
            return form(request, wanted, wrong=True)
        _, cookie = parts.signer.open(parts.clock(), signed_in=True)
        return _with_session(RedirectResponse(wanted, status_code=303), request, cookie, int(LASTS_S))

    @app.post("/logout")
    async def sign_out(request: Request) -> Response:
        await read_form(request, parts.signer)
        return _with_session(RedirectResponse("/", status_code=303), request, "", 0)


def _with_session(answer: Response, request: Request, cookie: str, max_age_s: int) -> Response:
    secure = request.url.scheme == "https"
    answer.headers.append("set-cookie", set_cookie(COOKIE, cookie, secure=secure, max_age_s=max_age_s))
    return answer


def _errors(app: FastAPI, parts: Parts, show: Show) -> None:
    def answer(request: Request, status: int, detail: str) -> HTMLResponse:
        frame = frame_of(request, parts.signer, parts.incidents)
        back = local_path(request.url.path) if request.method == "GET" and status == 503 else decide.back_to(request)
        title = _TITLES.get(status, "That did not work")
        page = show("error.html", frame, status=status, title=title, detail=detail, back=back)
        if status == 503:
            page.headers["Retry-After"] = str(_RETRY_AFTER_S)
        return page

    @app.exception_handler(HTTPException)
    def on_http(request: Request, error: HTTPException) -> HTMLResponse:
        detail = f"No page is at {request.url.path}." if error.status_code == 404 else str(error.detail)
        return answer(request, error.status_code, detail)

    @app.exception_handler(ParamedicError)
    def on_paramedic(request: Request, error: ParamedicError) -> HTMLResponse:
        status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
        return answer(request, status, str(error))

    @app.exception_handler(Exception)
    def on_bug(request: Request, error: Exception) -> HTMLResponse:
        parts.log.error("console bug", error=error, path=request.url.path)
        page = answer(request, 500, f"{type(error).__name__}; the log of the console has the traceback.")
        page.headers.update(HEADERS)  # bugs are answered outside of the guard that writes them
        return page


def _asked(request: Request) -> Asked:
    """What the search form asks; a value that no form of ours sends does not filter."""
    query = request.query_params
    return Asked(
        text=query.get("q", "")[:500],
        state=_one_of(IncidentState, query.get("state", "")),
        priority=_one_of(Priority, query.get("priority", "")),
        service=query.get("service", "").strip()[:200],
        page=_number(query.get("page", ""), LAST_PAGE),
    )


def _one_of(kind: type[E], text: str) -> E | None:
    return kind(text) if text in set(kind) else None


def _number(text: str, most: int) -> int:
    return min(max(int(text), 1), most) if text.isascii() and text.isdigit() and len(text) < 8 else 1
