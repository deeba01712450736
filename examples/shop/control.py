"""The control API of the shop: what a deployment system, a flag service and an orchestrator offer, in one process."""

import argparse
import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.announcing_server import READY_PATH, AnnouncingServer
from examples.shop.changes import ChangeFeed
from examples.shop.fleet import BANK, Conflict, Fleet, NotAccepted, Unknown
from examples.shop.idempotency import KeyReused, Once
from examples.shop.operations import Operations, Outcome
from examples.shop.parent import follow_parent
from examples.shop.processes import NotReady
from examples.shop.release_folder import ReleaseFolder
from examples.shop.stock_room import fill_stock_room

logger = logging.getLogger("shop.control")

DEFAULT_PORT = 8090
DEFAULT_OTLP_ENDPOINT = "http://127.0.0.1:4318"
_MAX_BODY_BYTES = 64 * 1024
_OPERATION_TIMEOUT_S = 45.0  # twice the time that a start may take

Body = TypeVar("Body", bound=BaseModel)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DeployBody(_Strict):
    """What to deploy; `source` is the folder of a version that is not known yet."""

    version: str = Field(min_length=1, max_length=80, pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]*$")
    source: str | None = Field(default=None, min_length=1, max_length=1000)


class RestartBody(_Strict):
    """What to restart; all instances when none is named."""

    instance: str | None = Field(default=None, max_length=120)


class ScaleBody(_Strict):
    """How many instances to run."""

    replicas: StrictInt


class FlagBody(_Strict):
    """Where to put the switch."""

    enabled: StrictBool


class NothingBody(_Strict):
    """No parameters."""


class Control:
    """The endpoints."""

    def __init__(self, fleet: Fleet, operations: Operations) -> None:
        self._fleet = fleet
        self._operations = operations
        self._once: Once[Outcome] = Once()

    async def health(self, request: Request) -> Response:
        """Whether all services are ready."""
        waiting = [state.spec.name for state in self._fleet.services() if not state.as_json()["ready"]]
        return JSONResponse({"ready": not waiting, "waiting_for": waiting}, 503 if waiting else 200)

    async def list_services(self, request: Request) -> Response:
        """All services."""
        return JSONResponse({"services": [state.as_json() for state in self._fleet.services()]})

    async def show_service(self, request: Request) -> Response:
        """One service."""
        return JSONResponse(self._fleet.service(request.path_params["name"]).as_json())

    async def list_external(self, request: Request) -> Response:
        """Third parties that run here only because a demo has no others."""
        bank = self._fleet.bank
        return JSONResponse({"external": [] if bank is None else [{"name": BANK, **bank.as_json()}]})

    async def list_flags(self, request: Request) -> Response:
        """All flags."""
        return JSONResponse({"flags": self._operations.flags()})

    async def deploy(self, request: Request) -> Response:
        """Make a version live."""
        body, name = await _body(request, DeployBody), request.path_params["name"]
        actor, dry_run = _asked(request)
        return await self._answer(
            request,
            body,
            lambda: self._operations.deploy(name, body.version, source=body.source, actor=actor, dry_run=dry_run),
        )

    async def roll_back(self, request: Request) -> Response:
        """Go back one version."""
        body, name = await _body(request, NothingBody), request.path_params["name"]
        actor, dry_run = _asked(request)
        return await self._answer(request, body, lambda: self._operations.roll_back(name, actor=actor, dry_run=dry_run))

    async def restart(self, request: Request) -> Response:
        """Replace instances by fresh ones."""
        body, name = await _body(request, RestartBody), request.path_params["name"]
        actor, dry_run = _asked(request)
        return await self._answer(
            request, body, lambda: self._operations.restart(name, body.instance, actor=actor, dry_run=dry_run)
        )

    async def scale(self, request: Request) -> Response:
        """Run a number of instances."""
        body, name = await _body(request, ScaleBody), request.path_params["name"]
        actor, dry_run = _asked(request)
        return await self._answer(
            request, body, lambda: self._operations.scale(name, body.replicas, actor=actor, dry_run=dry_run)
        )

    async def set_flag(self, request: Request) -> Response:
        """Switch a flag."""
        body, name = await _body(request, FlagBody), request.path_params["name"]
        actor, dry_run = _asked(request)
        return await self._answer(
            request,
            body,
            lambda: self._operations.set_flag(name, enabled=body.enabled, actor=actor, dry_run=dry_run),
        )

    async def _answer(self, request: Request, body: BaseModel, act: Callable[[], Awaitable[Outcome]]) -> Response:
        dry_run = _asked(request)[1]
        key = "" if dry_run else request.headers.get("idempotency-key", "")[:200]
        fingerprint = f"{request.url.path} {body.model_dump_json()}"
        outcome, repeated = await asyncio.wait_for(self._once.do(key, fingerprint, act), _OPERATION_TIMEOUT_S)
        return JSONResponse(
            {
                "changed": outcome.changed,
                "dry_run": dry_run,
                "plan": list(outcome.plan),
                "state": outcome.state,
            },
            headers={"idempotency-replayed": "true"} if repeated else None,
        )


def build(fleet: Fleet, operations: Operations) -> Starlette:
    """The control API."""
    control = Control(fleet, operations)
    return Starlette(
        routes=[
            Route(READY_PATH, control.health),
            Route("/services", control.list_services),
            Route("/services/{name}", control.show_service),
            Route("/services/{name}/deploy", control.deploy, methods=["POST"]),
            Route("/services/{name}/rollback", control.roll_back, methods=["POST"]),
            Route("/services/{name}/restart", control.restart, methods=["POST"]),
            Route("/services/{name}/scale", control.scale, methods=["POST"]),
            Route("/flags", control.list_flags),
            Route("/flags/{name}", control.set_flag, methods=["POST"]),
            Route("/external", control.list_external),
        ],
        exception_handlers={
            Unknown: _error_with(404),
            Conflict: _error_with(409),
            NotAccepted: _error_with(422),
            KeyReused: _error_with(422),
            NotReady: _error_with(502),
            TimeoutError: _error_with(504),
            HTTPException: _http_error,
        },
    )


async def _body(request: Request, model: type[Body]) -> Body:
    content = await request.body()
    if len(content) > _MAX_BODY_BYTES:
        raise HTTPException(413, "the body is larger than 64 KiB")
    try:
        return model.model_validate_json(content or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise NotAccepted(f"{where}: {first['msg']}") from error


def _asked(request: Request) -> tuple[str, bool]:
    """Who asks, and whether only a plan is wanted."""
    wish = request.query_params.get("dry_run", "false").lower()
    if wish not in ("true", "false", "1", "0"):
        raise NotAccepted("dry_run must be true or false")
    return request.headers.get("x-actor", "deploy-bot")[:80], wish in ("true", "1")


def _error_with(status: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def answer(request: Request, error: Exception) -> Response:
        logger.warning("%s %s: %s", request.method, request.url.path, error)
        return JSONResponse({"error": str(error) or "it took too long; ask for the state"}, status_code=status)

    return answer


async def _http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else str(error)
    return JSONResponse({"error": detail}, status_code=status)


async def run_control(told: argparse.Namespace, directory: Path) -> None:
    """Start the fleet, serve the API until SIGTERM, end the fleet."""
    async with httpx.AsyncClient(trust_env=False) as client:
        fleet = Fleet(directory)
        feed = ChangeFeed(told.endpoint, client)
        posting = asyncio.create_task(feed.run())
        try:
            operations = Operations(fleet, feed, directory, ReleaseFolder(told.releases, directory))
            await asyncio.gather(asyncio.to_thread(fill_stock_room, directory, told.seed), fleet.start())
            # the fleet ends inside the server's own end: after it the signal is raised again and ends this process
            server = AnnouncingServer(build(fleet, operations), host=told.host, port=told.port, at_end=fleet.close)
            await server.serve_announced()
        finally:
            posting.cancel()
            await fleet.close()


def main() -> None:
    """Run the control API and the shop's services."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop.control", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="databases, logs and state of the shop")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; the API asks for no password")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 for any free port")
    parser.add_argument("--endpoint", default=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", DEFAULT_OTLP_ENDPOINT))
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--releases", type=Path, default=None, help="folders below this one may be deployed: runs code")
    parser.add_argument("--parent-pid", type=int, default=0, help="end when this parent has ended")
    told = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if told.parent_pid:
        follow_parent(told.parent_pid)
    directory = told.directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = told.endpoint  # inherited by the services
    asyncio.run(run_control(told, directory))


if __name__ == "__main__":
    main()
