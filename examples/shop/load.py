"""The users of the shop: open-loop arrivals at a rate, whatever the shop does, and a count of what they saw.

A visit begins when the Poisson process says so, not when an earlier answer has come, and its latency counts from
that moment; so a slow shop gets no less work, and its queueing is measured in full.
"""

import argparse
import asyncio
import logging
import random
import time
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.announcing_server import READY_PATH, AnnouncingServer
from examples.shop.journeys import (
    BUYERS_RATIO,
    PARTNER,
    REQUESTS_PER_SESSION,
    Session,
    Step,
    draw_sale_session,
    draw_session,
    import_chunk,
    open_import,
)
from examples.shop.parent import follow_parent
from examples.shop.state_files import WatchedFile, watch_endpoints
from examples.shop.tally import NO_ANSWER, Seen, Tally

logger = logging.getLogger("shop.load")

_MAX_SESSIONS = 400  # under way at once; a visit takes 3 s when all is well
_TIMEOUT_S = 10.0
_POOL = httpx.Limits(max_connections=_MAX_SESSIONS, max_keepalive_connections=50)


class Plan(BaseModel):
    """What the users do from now on; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    rate_per_s: float | None = Field(default=None, ge=0.0, le=500.0)
    sale_factor: float | None = Field(default=None, ge=1.0, le=20.0)
    import_chunks: int | None = Field(default=None, ge=0, le=1000)


@dataclass(slots=True, kw_only=True)
class Current:
    """The plan in force.

    Attributes:
        rate_per_s: Requests of ordinary visits.
        sale_factor: Checkouts per second over the ordinary ones; 1 when there is no sale.
    """

    rate_per_s: float
    sale_factor: float = 1.0

    @property
    def sessions_per_s(self) -> float:
        """Arrivals of ordinary visits."""
        return self.rate_per_s / REQUESTS_PER_SESSION

    @property
    def sales_per_s(self) -> float:
        """Arrivals of visits through the sale."""
        return self.sessions_per_s * BUYERS_RATIO * (self.sale_factor - 1.0)


class Users:
    """All users at once."""

    def __init__(self, plan: Current, gateways: WatchedFile[dict[str, list[str]]], seed: int) -> None:
        self.plan = plan
        self.tally = Tally(time.monotonic)
        self._gateways = gateways
        self._draw = random.Random(seed)
        self._turn = 0
        self._visits: set[asyncio.Task[None]] = set()
        self._import: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._client = httpx.AsyncClient(limits=_POOL, timeout=_TIMEOUT_S, trust_env=False)

    async def arrive(self) -> None:
        """Begin visits for ever."""
        due_s = time.monotonic()
        while True:
            total = self.plan.sessions_per_s + self.plan.sales_per_s
            if total <= 0:
                await self._changed.wait()
                self._changed.clear()
                due_s = time.monotonic()
                continue
            due_s += self._draw.expovariate(total)
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            sale = self._draw.random() < self.plan.sales_per_s / total
            session = draw_sale_session(self._draw) if sale else draw_session(self._draw)
            if len(self._visits) >= _MAX_SESSIONS:
                self.tally.shed += 1
                continue
            self._begin(self._visit(session, due_s))

    def change(self, plan: Plan) -> None:
        """Follow a new plan from the next arrival on."""
        if plan.rate_per_s is not None:
            self.plan.rate_per_s = plan.rate_per_s
        if plan.sale_factor is not None:
            self.plan.sale_factor = plan.sale_factor
        self._changed.set()
        if plan.import_chunks is None:
            return
        if self._import is not None:
            self._import.cancel()
        if plan.import_chunks > 0:
            self._import = asyncio.create_task(self._import_coupons(plan.import_chunks))

    def _begin(self, visit: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(visit)
        self._visits.add(task)
        task.add_done_callback(self._visits.discard)
        self.tally.sessions += 1

    async def _visit(self, session: Session, due_s: float) -> None:
        self.tally.in_flight += 1
        try:
            for number, step in enumerate(session.steps):
                if number:
                    await asyncio.sleep(session.pauses_s[number - 1])
                    due_s = time.monotonic()
                status, _ = await self._take(step, session.user, due_s)
                if status == NO_ANSWER or status >= 400:
                    return  # a user who meets an error leaves
        finally:
            self.tally.in_flight -= 1

    async def _take(self, step: Step, user: str, due_s: float) -> tuple[int, httpx.Response | None]:
        headers = {"x-user-id": user}
        if step.body:
            headers["content-type"] = "application/json"
        answer = None
        gateways = self._gateways.read().get("gateway", [])
        if gateways:
            self._turn += 1
            url = gateways[self._turn % len(gateways)] + step.path
            try:
                answer = await self._client.request(step.method, url, headers=headers, content=step.body or None)
            except httpx.TransportError as error:
                logger.info("%s of %s got no answer: %s", step.name, user, type(error).__name__)
        now_s = time.monotonic()
        status = NO_ANSWER if answer is None else answer.status_code
        self.tally.add(Seen(at_s=now_s, step=step.name, user_id=user, status=status, latency_s=now_s - due_s))
        return status, answer

    async def _import_coupons(self, chunks: int) -> None:
        """A partner's import that is never completed; the partner gives up at the first refusal."""
        status, answer = await self._take(open_import(), PARTNER, time.monotonic())
        if answer is None or status != 201:
            return
        import_id = str(answer.json()["import_id"])
        for _ in range(chunks):
            status, _ = await self._take(import_chunk(import_id, self._draw), PARTNER, time.monotonic())
            if status != 202:
                logger.info("the partner gives its import up: status %d", status)
                return
            await asyncio.sleep(_CHUNK_PAUSE_S)


_CHUNK_PAUSE_S = 0.45  # two parts a second with the time that one takes: 5 MB/s


class Admin:
    """The endpoints that steer and question the users."""

    def __init__(self, users: Users) -> None:
        self._users = users

    async def ready(self, request: Request) -> Response:
        """Whether the generator runs."""
        return JSONResponse({"ready": True})

    async def stats(self, request: Request) -> Response:
        """What users saw in the last `window_s` seconds."""
        try:
            window_s = float(request.query_params.get("window_s", "10"))
        except ValueError:
            return JSONResponse({"error": "window_s must be a number"}, 422)
        return JSONResponse(asdict(self._users.tally.stats(window_s)))

    async def change_plan(self, request: Request) -> Response:
        """Set the rate, the sale, the import."""
        try:
            plan = Plan.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"error": error.errors(include_url=False)[0]["msg"]}, 422)
        self._users.change(plan)
        return JSONResponse(asdict(self._users.plan))


async def run_load(directory: Path, port: int, rate_per_s: float, seed: int) -> None:
    """Send users until SIGTERM."""
    users = Users(Current(rate_per_s=rate_per_s), watch_endpoints(directory), seed)
    admin = Admin(users)
    app = Starlette(
        routes=[
            Route(READY_PATH, admin.ready),
            Route("/stats", admin.stats),
            Route("/plan", admin.change_plan, methods=["POST"]),
        ]
    )
    arrivals = asyncio.create_task(users.arrive())
    try:
        await AnnouncingServer(app, port=port).serve_announced()
    finally:
        arrivals.cancel()


def main() -> None:
    """Send users to the gateways that the registry in the directory names."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop.load", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="of the admin API; 0 for any free port")
    parser.add_argument("--rate", type=float, default=12.0, help="requests per second")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--parent-pid", type=int, default=0, help="end when this parent has ended")
    told = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if told.parent_pid:
        follow_parent(told.parent_pid)
    asyncio.run(run_load(told.directory, told.port, told.rate, told.seed))


if __name__ == "__main__":
    main()
