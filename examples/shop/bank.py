"""The bank: a third party with its own clock and no telemetry for us. It answers in about 0.4 s."""

import asyncio
import math
import random

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.announcing_server import READY_PATH, AnnouncingServer
from examples.shop.launch import parse_launch
from examples.shop.parent import die_with_parent

_MEDIAN_S = 0.38
_SPREAD = 0.15  # of the logarithm: the 99th percentile is 0.54 s
_DECLINED_RATIO = 0.01


class Bank:
    """The bank's endpoint."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    async def authorise(self, request: Request) -> Response:
        """Say yes to most cards."""
        await request.body()
        await asyncio.sleep(_MEDIAN_S * math.exp(self._draw.gauss(0.0, _SPREAD)))
        if self._draw.random() < _DECLINED_RATIO:
            return JSONResponse({"authorised": False}, status_code=402)
        return JSONResponse({"authorised": True}, status_code=201)


async def _ready(_: Request) -> Response:
    return JSONResponse({"ready": True})


def main() -> None:
    """Serve until SIGTERM."""
    launch = parse_launch("bank")
    if launch.parent_pid:
        die_with_parent(launch.parent_pid)
    bank = Bank(random.Random(launch.instance))
    app = Starlette(routes=[Route("/v1/authorisations", bank.authorise, methods=["POST"]), Route(READY_PATH, _ready)])
    asyncio.run(AnnouncingServer(app).serve_announced())


if __name__ == "__main__":
    main()
