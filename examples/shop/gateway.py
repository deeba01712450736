"""The edge of the shop: the only service that users reach. It knows who they are and where things are."""

import json
import logging
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from examples.shop.launch import parse_launch
from examples.shop.peers import Call, Peers
from examples.shop.releases import SALE_BANNER
from examples.shop.state_files import WatchedFile
from examples.shop.web import Runtime, body_object, current_user_id, run_service

logger = logging.getLogger("shop.gateway")

_CATALOG_TIMEOUT_S = 3.0
_CART_TIMEOUT_S = 3.0
_ORDERS_TIMEOUT_S = 3.0
_CHECKOUT_TIMEOUT_S = 8.0  # an order may wait in the desk's queue


class Gateway:
    """Passes each request on to the service that owns it."""

    def __init__(self, peers: Peers, flags: WatchedFile[dict[str, bool]]) -> None:
        self._peers = peers
        self._flags = flags

    async def list_products(self, request: Request) -> Response:
        """A page of a category."""
        query = dict(request.query_params)
        return await self._pass_on(
            Call(
                peer="catalog",
                method="GET",
                path="/products",
                params=query,
                timeout_s=_CATALOG_TIMEOUT_S,
            )
        )

    async def show_product(self, request: Request) -> Response:
        """One product."""
        product_id = int(request.path_params["product_id"])
        return await self._pass_on(
            Call(
                peer="catalog",
                method="GET",
                path=f"/products/{product_id}",
                template="/products/{product_id}",
                timeout_s=_CATALOG_TIMEOUT_S,
            )
        )

    async def search(self, request: Request) -> Response:
        """Products by words."""
        query = dict(request.query_params)
        return await self._pass_on(
            Call(peer="catalog", method="GET", path="/search", params=query, timeout_s=_CATALOG_TIMEOUT_S)
        )

    async def add_to_cart(self, request: Request) -> Response:
        """Put a product into the user's cart."""
        return await self._pass_on(
            Call(
                peer="cart",
                method="POST",
                path=f"/carts/{current_user_id()}/lines",
                template="/carts/{user_id}/lines",
                content=json.dumps(await body_object(request)).encode(),
                timeout_s=_CART_TIMEOUT_S,
            )
        )

    async def show_cart(self, request: Request) -> Response:
        """The user's cart with prices."""
        return await self._pass_on(
            Call(
                peer="cart",
                method="GET",
                path=f"/carts/{current_user_id()}",
                template="/carts/{user_id}",
                timeout_s=_CART_TIMEOUT_S,
            )
        )

    async def check_out(self, request: Request) -> Response:
        """Order what is in the user's cart."""
        return await self._pass_on(
            Call(peer="checkout", method="POST", path="/orders", content=b"{}", timeout_s=_CHECKOUT_TIMEOUT_S)
        )

    async def list_orders(self, request: Request) -> Response:
        """What the user has ordered lately."""
        return await self._pass_on(Call(peer="checkout", method="GET", path="/orders", timeout_s=_ORDERS_TIMEOUT_S))

    async def open_import(self, request: Request) -> Response:
        """A partner announces a file of coupons."""
        return await self._pass_on(
            Call(
                peer="cart",
                method="POST",
                path="/coupons/imports",
                content=await request.body(),
                timeout_s=_CART_TIMEOUT_S,
            )
        )

    async def import_chunk(self, request: Request) -> Response:
        """A partner sends a part of a file of coupons."""
        return await self._pass_on(
            Call(
                peer="cart",
                method="POST",
                path=f"/coupons/imports/{request.path_params['import_id']}/chunks",
                template="/coupons/imports/{import_id}/chunks",
                content=await request.body(),
                timeout_s=_CART_TIMEOUT_S,
            )
        )

    async def _pass_on(self, call: Call) -> Response:
        answer = await self._peers.send(call)
        if answer.status_code >= 400:
            logger.warning("%s refused %s %s with %d", call.peer, call.method, call.path, answer.status_code)
        elif call.method == "POST":
            logger.info("%s accepted %s %s", call.peer, call.method, call.template or call.path)
        headers = {"x-sale": "on"} if self._flags.read().get(SALE_BANNER, False) else None
        return Response(answer.content, answer.status_code, headers=headers, media_type="application/json")


def build(runtime: Runtime) -> Sequence[Route]:
    """The gateway's routes."""
    gateway = Gateway(runtime.peers, runtime.flags)
    return [
        Route("/products", gateway.list_products),
        Route("/products/{product_id:int}", gateway.show_product),
        Route("/search", gateway.search),
        Route("/cart/lines", gateway.add_to_cart, methods=["POST"]),
        Route("/cart", gateway.show_cart),
        Route("/checkout", gateway.check_out, methods=["POST"]),
        Route("/orders", gateway.list_orders),
        Route("/partners/coupons", gateway.open_import, methods=["POST"]),
        Route("/partners/coupons/{import_id}", gateway.import_chunk, methods=["POST"]),
    ]


if __name__ == "__main__":
    run_service(parse_launch("gateway"), build)
