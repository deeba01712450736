"""Where forms arrive: check, write the command, wait for its effect, and lead back to the page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from libs.contracts.command import CommandKind
from libs.contracts.document import IncidentDocument
from libs.contracts.recommendation import STATE_PREFIX
from libs.contracts.remediation import FINAL_STATES, RemediationChanged, RunState
from libs.errors import Conflict, NotFound
from libs.observability.log import Logger
from libs.stores.incidents import IncidentStore
from services.console.csrf import Signer
from services.console.decisions import Decision, Decisions
from services.console.forms import CommentForm, Form, ModeForm, ReasonedForm, RootCauseForm, checked, read_form
from services.console.frame import ACTOR_COOKIE, actor_cookie
from services.console.pages.healing import HALT_KEY, MODES_KEY
from services.console.pages.incident import ALLOWED
from services.console.pages.runs_view import seen_of
from services.console.security import set_cookie
from services.console.wording import plain

_YEAR_S: Final = 365 * 24 * 3600
ON_INCIDENTS: Final[Mapping[str, tuple[CommandKind, type[Form]]]] = {
    "acknowledge": (CommandKind.ACKNOWLEDGE, Form),
    "hold": (CommandKind.HOLD, Form),
    "resolve": (CommandKind.RESOLVE, Form),
    "cancel": (CommandKind.CANCEL, ReasonedForm),
    "investigate": (CommandKind.INVESTIGATE, Form),
    "comment": (CommandKind.COMMENT, CommentForm),
    "root-cause": (CommandKind.CONFIRM_ROOT_CAUSE, RootCauseForm),
}
ON_RUNS: Final[Mapping[str, tuple[CommandKind, type[Form]]]] = {
    "approve": (CommandKind.APPROVE, Form),
    "reject": (CommandKind.REJECT, ReasonedForm),
}
ON_PLATFORM: Final[Mapping[str, CommandKind]] = {"halt": CommandKind.HALT, "resume": CommandKind.RESUME}
ON_RECOMMENDATIONS: Final[Mapping[str, tuple[CommandKind, type[Form]]]] = {
    "accept": (CommandKind.ACCEPT_RECOMMENDATION, Form),
    "dismiss": (CommandKind.DISMISS_RECOMMENDATION, ReasonedForm),
}
Fields = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Writes a checked decision and answers.

    Attributes:
        decisions: Writes commands.
        log: Canonical log.
    """

    decisions: Decisions
    log: Logger

    def decide(
        self,
        request: Request,
        form: Form,
        kind: CommandKind,
        target: str,
        *,
        told: str,
        back: str,
        effect: Callable[[], bool],
    ) -> Response:
        """Write the command, wait for its effect, lead back; `Unavailable` when the broker does not acknowledge."""
        decision = Decision(
            kind=kind, target=target, actor=form.actor, reason=form.reason, arguments=form.arguments(), seen=form.seen
        )
        command = self.decisions.send(decision)
        shows = self.decisions.wait(effect)
        self.log.info("decision", command=command, kind=kind.value, target=target, actor=form.actor, effect=shows)
        path, _, place = back.partition("#")
        answer = RedirectResponse(
            f"{path}?told={told if shows else 'written'}" + (f"#{place}" if place else ""), status_code=303
        )
        secure = request.url.scheme == "https"
        cookie = set_cookie(ACTOR_COOKIE, actor_cookie(form.actor), secure=secure, max_age_s=_YEAR_S)
        answer.headers.append("set-cookie", cookie)
        return answer


def read_incident(incidents: IncidentStore, reference: str) -> IncidentDocument:
    """The document by id or number; `NotFound` says where to look."""
    document = incidents.get(reference)
    if document is None:
        raise NotFound(f"There is no incident {reference!r}; the search on the page Now finds what there is.")
    return document


def back_to(request: Request) -> str:
    """The page that a form belongs to."""
    parts = request.url.path.split("/")
    if parts[1] == "incidents" and len(parts) > 3:
        return f"/incidents/{parts[2]}"
    return f"/{parts[1]}" if parts[1] in ("healing", "recommendations") and len(parts) > 2 else "/"


def add_routes(app: FastAPI, incidents: IncidentStore, decisions: Decisions, signer: Signer, log: Logger) -> None:
    """Add every route that decides."""
    door = Door(decisions=decisions, log=log)

    async def fields(request: Request) -> Fields:
        return await read_form(request, signer)

    checked_fields = Depends(fields)
    _on_incidents(app, incidents, door, checked_fields)
    _on_runs(app, incidents, door, checked_fields)
    _on_platform(app, incidents, door, checked_fields)
    _on_recommendations(app, incidents, door, checked_fields)


def _on_incidents(app: FastAPI, incidents: IncidentStore, door: Door, checked_fields: Any) -> None:
    @app.post("/incidents/{reference}/{name}")
    def decide(request: Request, reference: str, name: str, fields: Annotated[Fields, checked_fields]) -> Response:
        kind, shape = _route(ON_INCIDENTS, name)
        core = read_incident(incidents, reference).incident
        form = checked(shape, fields)
        if core.state not in ALLOWED[kind]:
            raise Conflict(f"{core.number} is {plain(core.state.value)}; somebody was faster. Look at it again.")

        def effect() -> bool:
            newest = incidents.get(core.id)
            return kind is CommandKind.INVESTIGATE or (newest is not None and newest.incident.version > core.version)

        back = f"/incidents/{core.number}"
        return door.decide(request, form, kind, core.id, told=name, back=back, effect=effect)


def _on_runs(app: FastAPI, incidents: IncidentStore, door: Door, checked_fields: Any) -> None:
    @app.post("/incidents/{reference}/runs/{run_id}/{name}")
    def decide(
        request: Request, reference: str, run_id: str, name: str, fields: Annotated[Fields, checked_fields]
    ) -> Response:
        kind, shape = _route(ON_RUNS, name)
        document = read_incident(incidents, reference)
        run = _run(document, run_id)
        form = checked(shape, fields)
        if run.state in FINAL_STATES:
            raise Conflict(f"This run is {plain(run.state.value)}; there is nothing left to decide.")
        if kind is CommandKind.APPROVE:
            _check_still_asked(run, form)

        def effect() -> bool:
            newest = incidents.get(document.incident.id)
            return newest is not None and any(
                one.id == run_id and one.version > run.version for one in newest.remediation
            )

        back = f"/incidents/{document.incident.number}#run-{run_id}"
        return door.decide(request, form, kind, run_id, told=name, back=back, effect=effect)


def _on_platform(app: FastAPI, incidents: IncidentStore, door: Door, checked_fields: Any) -> None:
    @app.post("/healing/modes/{pattern}")
    def set_mode(request: Request, pattern: str, fields: Annotated[Fields, checked_fields]) -> Response:
        form = checked(ModeForm, fields)
        effect = _state_moves(incidents, MODES_KEY)
        back = "/healing#patterns"
        return door.decide(request, form, CommandKind.SET_MODE, pattern, told="mode", back=back, effect=effect)

    @app.post("/healing/{name}")
    def switch(request: Request, name: str, fields: Annotated[Fields, checked_fields]) -> Response:
        kind = _route(ON_PLATFORM, name)
        form = checked(ReasonedForm, fields)
        effect = _state_moves(incidents, HALT_KEY)
        return door.decide(request, form, kind, "", told=name, back="/healing#halt", effect=effect)


def _on_recommendations(app: FastAPI, incidents: IncidentStore, door: Door, checked_fields: Any) -> None:
    @app.post("/recommendations/{identity}/{name}")
    def decide(request: Request, identity: str, name: str, fields: Annotated[Fields, checked_fields]) -> Response:
        kind, shape = _route(ON_RECOMMENDATIONS, name)
        form = checked(shape, fields)
        if incidents.state(STATE_PREFIX + identity) is None:
            raise NotFound(f"There is no recommendation {identity!r}.")
        effect = _state_moves(incidents, STATE_PREFIX + identity)
        back = f"/recommendations#recommendation-{identity}"
        return door.decide(request, form, kind, identity, told=name, back=back, effect=effect)


def _route(known: Mapping[str, Any], name: str) -> Any:
    if name not in known:
        raise NotFound(f"There is no decision {name!r}; there are {', '.join(known)}.")
    return known[name]


def _run(document: IncidentDocument, run_id: str) -> RemediationChanged:
    for run in document.remediation:
        if run.id == run_id:
            return run
    raise NotFound(f"{document.incident.number} has no run {run_id!r}.")


def _check_still_asked(run: RemediationChanged, form: Form) -> None:
    """An approval is of a plan that somebody read, never of one that took its place meanwhile."""
    if run.state is not RunState.AWAITING_APPROVAL:
        raise Conflict(f"This run is {plain(run.state.value)}; it does not wait for an approval any more.")
    if form.seen != seen_of(run):
        raise Conflict("The plan has changed since you opened the page. Nothing was approved; read it again.")


def _state_moves(incidents: IncidentStore, key: str) -> Callable[[], bool]:
    before = incidents.state(key)

    def effect() -> bool:
        newest = incidents.state(key)
        return newest is not None and newest.version > (before.version if before else 0)

    return effect
