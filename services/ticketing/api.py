"""The incident API: search, read and decide over HTTP, described by OpenAPI."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from libs.stores.incidents import IncidentStore
from libs.stores.telemetry import TelemetryReader
from services.ticketing import api_decide, api_read
from services.ticketing.api_docs import page
from services.ticketing.api_problems import RESPONSES, install
from services.ticketing.decisions import Decisions

PREFIX: Final = "/api/v1"
# "[" is what the middleware sees of an IPv6 address; only names can be pointed elsewhere.
_LOCAL_HOSTS: Final = ("127.0.0.1", "localhost", "[", "[::1]")
_DESCRIPTION: Final = (
    "Incidents of Paramedic: search and read them, and decide. Decisions are written to Kafka before they are "
    "confirmed, carry the name of who decided, and end in the ticket and in its audit trail. Errors are problem "
    "details (RFC 9457)."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """What the API works with.

    Attributes:
        incidents: The incident store.
        telemetry: The telemetry store.
        decisions: Writes commands.
        state: What the loop beside the API is doing.
        token: Bearer token that every request must carry; None asks for none.
        local: Whether only this machine is served: then other Host headers are refused, as a page of another site
            that points its own name at loopback would send.
    """

    incidents: IncidentStore
    telemetry: TelemetryReader
    decisions: Decisions
    state: Callable[[], str]
    token: str | None
    local: bool


def create_app(parts: ApiParts) -> FastAPI:
    """Build the application."""
    app = FastAPI(title="Paramedic incidents", version="1", description=_DESCRIPTION, docs_url=None, redoc_url=None)
    install(app)
    if parts.local:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(_LOCAL_HOSTS))
    guarded = APIRouter(prefix=PREFIX, dependencies=[Depends(_guard(parts.token))], responses=RESPONSES)
    api_read.add_routes(guarded, parts.incidents, parts.telemetry)
    api_decide.add_routes(guarded, parts.decisions)
    # A router that is included describes every route again, and a third time at the first request: 0.7 s of a start and
    # 0.3 s of the first decision. These know their prefix and their guard already.
    app.router.routes.extend(guarded.routes)

    @app.get("/healthz", summary="Whether the API answers, and what the loop beside it does", tags=["operation"])
    def healthz() -> dict[str, str]:
        return {"status": "ok", "loop": parts.state()}

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(page(app.openapi()))

    return app


def _guard(token: str | None) -> Callable[..., None]:
    scheme = HTTPBearer(auto_error=False, description="PARAMEDIC_API_TOKEN, when it is set.")

    def check(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(scheme)]) -> None:
        if token is None:
            return
        given = credentials.credentials if credentials else ""
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise HTTPException(
                401,
                "send Authorization: Bearer with the token in PARAMEDIC_API_TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    return check
