"""Payments: asks the bank, a third party, for the money of one order."""

import json
import logging
from collections.abc import Sequence

from opentelemetry import context
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.failures import Refused
from examples.shop.launch import parse_launch
from examples.shop.peers import Call, Peers
from examples.shop.telemetry import without_baggage
from examples.shop.web import Runtime, body_object, run_service

logger = logging.getLogger("shop.payments")

_BANK_TIMEOUT_S = 1.0  # the bank's 99th percentile is 0.54 s


class Payments:
    """The endpoint of the payments."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def charge(self, request: Request) -> Response:
        """Charge an order to the user's card; never retried, since a lost answer may have been a yes."""
        body = await body_object(request)
        order_id, cents = body.get("order_id"), body.get("cents")
        if not isinstance(order_id, str) or type(cents) is not int or cents < 0:
            raise Refused(422, "order_id and cents are needed")
        answer = await self._authorise(order_id, cents)
        if answer == 402:
            logger.warning("the bank declined order %s", order_id)
            raise Refused(402, "declined")
        logger.info("order %s charged: %.2f EUR", order_id, cents / 100)
        return JSONResponse({"order_id": order_id, "charged": True}, status_code=201)

    async def _authorise(self, order_id: str, cents: int) -> int:
        content = json.dumps({"reference": order_id, "cents": cents}).encode()
        # who the user is is not the bank's business: the baggage stays in the house
        token = context.attach(without_baggage(context.get_current()))
        try:
            answer = await self._peers.send(
                Call(
                    peer="bank",
                    method="POST",
                    path="/v1/authorisations",
                    content=content,
                    timeout_s=_BANK_TIMEOUT_S,
                    retries=0,
                )
            )
        finally:
            context.detach(token)
        return answer.status_code


def build(runtime: Runtime) -> Sequence[Route]:
    """The route of the payments."""
    return [Route("/charges", Payments(runtime.peers).charge, methods=["POST"])]


if __name__ == "__main__":
    run_service(parse_launch("payments"), build)
