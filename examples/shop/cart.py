"""Carts: what each user wants to buy and what it costs today."""

import logging
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.coupons import CouponDesk
from examples.shop.database import Database
from examples.shop.failures import Refused
from examples.shop.launch import parse_launch
from examples.shop.peers import Call, Peers
from examples.shop.releases import NEW_PRICING
from examples.shop.state_files import WatchedFile
from examples.shop.stock_room import CART_FILE
from examples.shop.web import Runtime, body_object, run_service

logger = logging.getLogger("shop.cart")

_WORKERS = 2
_MAX_LINES = 50
TIER_PERCENT = {"a": 0, "b": 5, "c": 10}


def lines_of(connection: sqlite3.Connection, user_id: str) -> list[tuple[int, int]]:
    """Product ids and quantities in a user's cart."""
    cursor = connection.cursor()
    cursor.execute("SELECT product_id, quantity FROM lines WHERE user_id = ? ORDER BY product_id", (user_id,))
    return [(int(product_id), int(quantity)) for product_id, quantity in cursor.fetchall()]


def put_line(connection: sqlite3.Connection, user_id: str, product_id: int, quantity: int) -> None:
    """Set a product's quantity in a user's cart."""
    with connection:
        connection.cursor().execute("INSERT OR REPLACE INTO lines VALUES (?, ?, ?)", (user_id, product_id, quantity))


def clear_lines(connection: sqlite3.Connection, user_id: str) -> None:
    """Empty a user's cart."""
    with connection:
        connection.cursor().execute("DELETE FROM lines WHERE user_id = ?", (user_id,))


def list_price(product: Mapping[str, Any], quantity: int) -> int:
    """Cents for a line at the list price."""
    return int(product["price_cents"]) * quantity


def tier_price(product: Mapping[str, Any], quantity: int) -> int:
    """Cents for a line with the discount of the product's price tier."""
    percent = TIER_PERCENT[product["tier"]]
    return int(product["price_cents"]) * quantity * (100 - percent) // 100


class Carts:
    """The cart's endpoints."""

    def __init__(self, database: Database, peers: Peers, flags: WatchedFile[dict[str, bool]]) -> None:
        self._database = database
        self._peers = peers
        self._flags = flags
        self._coupons = CouponDesk()

    async def show(self, request: Request) -> Response:
        """A user's cart with today's prices."""
        user_id = str(request.path_params["user_id"])
        lines = await self._database.run(lines_of, user_id)
        price = tier_price if self._flags.read().get(NEW_PRICING, False) else list_price
        total_cents = 0
        shown = []
        for product_id, quantity in lines:
            product = await self._product(product_id)
            cents = price(product, quantity)
            total_cents += cents
            shown.append({"product_id": product_id, "quantity": quantity, "cents": cents})
        percent = self._coupons.best_percent(user_id, datetime.now(UTC).date().isoformat())
        return JSONResponse({"lines": shown, "total_cents": total_cents * (100 - percent) // 100, "coupon": percent})

    async def put(self, request: Request) -> Response:
        """Put a product into a user's cart."""
        user_id = str(request.path_params["user_id"])
        body = await body_object(request)
        product_id = _count(body.get("product_id"), 2**31)
        quantity = _count(body.get("quantity", 1), 100)
        lines = await self._database.run(lines_of, user_id)
        if len(lines) >= _MAX_LINES:
            raise Refused(409, "the cart is full")
        await self._product(product_id)
        await self._database.run(put_line, user_id, product_id, quantity)
        logger.info("product %d put into the cart of %s", product_id, user_id)
        return JSONResponse({"lines": len(lines) + 1}, status_code=201)

    async def clear(self, request: Request) -> Response:
        """Empty a user's cart."""
        await self._database.run(clear_lines, str(request.path_params["user_id"]))
        return JSONResponse({"lines": 0})

    async def open_import(self, request: Request) -> Response:
        """Start a partner's import of coupons."""
        partner = str((await body_object(request)).get("partner", ""))[:80]
        import_id = uuid.uuid4().hex
        self._coupons.open_import(import_id, partner)
        logger.info("coupon import %s opened by %s", import_id, partner)
        return JSONResponse({"import_id": import_id}, status_code=201)

    async def import_chunk(self, request: Request) -> Response:
        """Take a part of a partner's import."""
        coupons = (await body_object(request)).get("coupons")
        if not isinstance(coupons, list):
            raise Refused(422, "`coupons` is not a list")
        import_id = str(request.path_params["import_id"])
        total = self._coupons.add_chunk(import_id, coupons)
        logger.info("coupon import %s holds %d coupons", import_id, total)
        return JSONResponse({"coupons": total}, status_code=202)

    async def _product(self, product_id: int) -> dict[str, Any]:
        answer = await self._peers.send(
            Call(
                peer="catalog",
                method="GET",
                path=f"/products/{product_id}",
                template="/products/{product_id}",
                timeout_s=None,
            )
        )
        if answer.status_code != 200:
            raise Refused(422, f"product {product_id} is not sold")
        product: dict[str, Any] = answer.json()
        return product


def build(runtime: Runtime) -> Sequence[Route]:
    """The cart's routes."""
    database = Database(runtime.launch.directory / CART_FILE, size=_WORKERS)
    runtime.pools.add("cart-db", database.occupancy, connections=True)
    carts = Carts(database, runtime.peers, runtime.flags)
    return [
        Route("/carts/{user_id}", carts.show),
        Route("/carts/{user_id}", carts.clear, methods=["DELETE"]),
        Route("/carts/{user_id}/lines", carts.put, methods=["POST"]),
        Route("/coupons/imports", carts.open_import, methods=["POST"]),
        Route("/coupons/imports/{import_id}/chunks", carts.import_chunk, methods=["POST"]),
    ]


def _count(number: object, below: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < below:
        raise Refused(422, "product_id and quantity must be small whole numbers")
    return number


if __name__ == "__main__":
    run_service(parse_launch("cart"), build)
