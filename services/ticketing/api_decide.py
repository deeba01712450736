"""The deciding half of the incident API: commands with an actor, acknowledged by the broker before the answer."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header
from fastapi.responses import JSONResponse, Response

from libs.contracts.command import CommandKind
from libs.contracts.document import IncidentDocument
from libs.contracts.recommendation import CodeChangeRecommended
from services.ticketing.api_models import Accepted, Comment, Decision, Problem, RootCauseConfirmation
from services.ticketing.api_read import json_of
from services.ticketing.decisions import Decisions, Outcome, Request

Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description="A decision sent again with the same key by the same actor is carried out once.",
    ),
]
_DECIDED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": IncidentDocument, "description": "Carried out; the document with its effect."},
    202: {"model": Accepted, "description": "Written; its effect is not visible yet."},
    409: {"model": Problem, "description": "The incident's state does not allow it."},
}
_DECIDED_RECOMMENDATION: Final[dict[int | str, dict[str, Any]]] = {
    **_DECIDED,
    200: {"model": CodeChangeRecommended, "description": "Carried out; the recommendation with its effect."},
    409: {"model": Problem, "description": "The recommendation is superseded."},
}
_ACCEPTED: Final[dict[int | str, dict[str, Any]]] = {202: {"model": Accepted, "description": "Written."}}
_PLAIN: Final = (
    ("acknowledge", CommandKind.ACKNOWLEDGE, "Take an incident; it is in progress from then on"),
    ("hold", CommandKind.HOLD, "Put an incident on hold; it does not resolve by itself while it is"),
    ("resolve", CommandKind.RESOLVE, "Resolve an incident"),
    ("cancel", CommandKind.CANCEL, "Cancel an incident that is none"),
    ("investigate", CommandKind.INVESTIGATE, "Investigate again"),
)


def add_routes(router: APIRouter, decisions: Decisions) -> None:
    """Deciding routes."""
    for name, kind, summary in _PLAIN:
        _plain_route(router, decisions, name, kind, summary)
    _worded_routes(router, decisions)
    for name, kind in (("approve", CommandKind.APPROVE), ("reject", CommandKind.REJECT)):
        _run_route(router, decisions, name, kind)
    for name, kind in (
        ("accept", CommandKind.ACCEPT_RECOMMENDATION),
        ("dismiss", CommandKind.DISMISS_RECOMMENDATION),
    ):
        _recommendation_route(router, decisions, name, kind)
    for name, kind, summary in (
        ("halt", CommandKind.HALT, "Stop everything that changes production, at once"),
        ("resume", CommandKind.RESUME, "Allow changes to production again"),
    ):
        _platform_route(router, decisions, name, kind, summary)


def _plain_route(router: APIRouter, decisions: Decisions, name: str, kind: CommandKind, summary: str) -> None:
    @router.post(
        f"/incidents/{{reference}}/{name}",
        summary=summary,
        responses=_DECIDED,
        name=name,
        tags=["decisions"],
    )
    def decide(reference: str, body: Decision, key: Key = "") -> Response:
        return _answer(decisions.on_incident(reference, _request(kind, body, key)))


def _worded_routes(router: APIRouter, decisions: Decisions) -> None:
    @router.post(
        "/incidents/{reference}/comment", summary="Comment on an incident", responses=_DECIDED, tags=["decisions"]
    )
    def comment(reference: str, body: Comment, key: Key = "") -> Response:
        return _answer(decisions.on_incident(reference, _request(CommandKind.COMMENT, body, key)))

    @router.post(
        "/incidents/{reference}/root-cause",
        summary="Confirm the root cause; similar incidents will quote it",
        responses=_DECIDED,
        tags=["decisions"],
    )
    def root_cause(reference: str, body: RootCauseConfirmation, key: Key = "") -> Response:
        return _answer(decisions.on_incident(reference, _request(CommandKind.CONFIRM_ROOT_CAUSE, body, key)))


def _run_route(router: APIRouter, decisions: Decisions, name: str, kind: CommandKind) -> None:
    @router.post(
        f"/remediations/{{run_id}}/{name}",
        summary=f"{name.capitalize()} a proposed remediation run",
        responses=_DECIDED,
        name=name,
        tags=["decisions"],
    )
    def decide(run_id: str, body: Decision, key: Key = "") -> Response:
        return _answer(decisions.on_run(run_id, _request(kind, body, key)))


def _recommendation_route(router: APIRouter, decisions: Decisions, name: str, kind: CommandKind) -> None:
    @router.post(
        f"/recommendations/{{identity}}/{name}",
        summary=f"{name.capitalize()} a recommended code change; nothing is merged by it",
        responses=_DECIDED_RECOMMENDATION,
        name=f"{name}_recommendation",
        tags=["decisions"],
    )
    def decide(identity: str, body: Decision, key: Key = "") -> Response:
        return _answer(decisions.on_recommendation(identity, _request(kind, body, key)))


def _platform_route(router: APIRouter, decisions: Decisions, name: str, kind: CommandKind, summary: str) -> None:
    @router.post(f"/{name}", summary=summary, responses=_ACCEPTED, status_code=202, name=name, tags=["decisions"])
    def decide(body: Decision, key: Key = "") -> Response:
        return _answer(decisions.on_platform(_request(kind, body, key)))


def _request(kind: CommandKind, body: Decision, key: str) -> Request:
    return Request(kind=kind, actor=body.actor, reason=body.reason, arguments=body.arguments(), key=key)


def _answer(outcome: Outcome) -> Response:
    if outcome.document is not None:
        return json_of(outcome.document)
    if outcome.recommendation is not None:
        return json_of(outcome.recommendation)
    accepted = Accepted(
        command_id=outcome.command_id, detail="written to the topic commands; its effect is not visible yet"
    )
    return JSONResponse(accepted.model_dump(), status_code=202)
