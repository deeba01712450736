"""Orders: price the cart, reserve the goods, take the money, write it down."""

import json
import logging
import sqlite3
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry import metrics
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.database import Database
from examples.shop.failures import Refused, ShopError
from examples.shop.launch import parse_launch
from examples.shop.order_desk import OrderDesk
from examples.shop.peers import Call, Peers
from examples.shop.releases import CHECKOUT_PHONE
from examples.shop.stock_room import CHECKOUT_FILE
from examples.shop.web import Runtime, current_user_id, run_service

logger = logging.getLogger("shop.checkout")

_DB_WORKERS = 2
_ORDERS_AT_ONCE = 2  # 0.43 s an order, most of it the bank: 4.6 orders/s for one instance
_LONGEST_QUEUE = 60
_ORDERS_SHOWN = 10
_CART_TIMEOUT_S = 2.0
_INVENTORY_TIMEOUT_S = 0.8
_PAYMENTS_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """What the shop knows of a user; `phone` and `loyalty` are optional."""

    id: str
    mail: str
    phone: str | None
    loyalty: str | None


def customer_by_id(connection: sqlite3.Connection, user_id: str) -> Customer | None:
    """A customer, or None."""
    cursor = connection.cursor()
    cursor.execute("SELECT id, mail, phone, loyalty FROM customers WHERE id = ?", (user_id,))
    row = cursor.fetchone()
    return None if row is None else Customer(id=row[0], mail=row[1], phone=row[2], loyalty=row[3])


def write_order(connection: sqlite3.Connection, order_id: str, user_id: str, total_cents: int) -> None:
    """Keep a paid order."""
    with connection:
        connection.cursor().execute(
            "INSERT INTO orders VALUES (?, ?, ?, ?)", (order_id, user_id, total_cents, time.time())
        )


def orders_of(connection: sqlite3.Connection, user_id: str) -> list[dict[str, Any]]:
    """A user's last orders, newest first."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT id, total_cents, placed_at FROM orders WHERE user_id = ? ORDER BY placed_at DESC LIMIT ?",
        (user_id, _ORDERS_SHOWN),
    )
    return [
        {"order_id": order_id, "total_cents": total_cents, "placed_at": placed_at}
        for order_id, total_cents, placed_at in cursor.fetchall()
    ]


def confirm_by_mail(customer: Customer) -> str:
    """Where the confirmation goes."""
    return f"mail:{customer.mail}"


def confirm_by_text_message(customer: Customer) -> str:
    """Where the confirmation goes: the number in international form, without blanks."""
    number = customer.phone.replace(" ", "")  # type: ignore[union-attr] # the release's defect: a phone is optional
    return f"sms:{number}"


def loyalty_points(customer: Customer, total_cents: int) -> int:
    """Points for an order; the level is written as `gold:2`."""
    level = int(str(customer.loyalty).split(":")[1])
    return level * total_cents // 100


class Checkout:
    """The checkout's endpoints."""

    def __init__(self, database: Database, peers: Peers, confirm: Callable[[Customer], str]) -> None:
        self._database = database
        self._peers = peers
        self._confirm = confirm
        self.desk = OrderDesk(_ORDERS_AT_ONCE, longest_queue=_LONGEST_QUEUE)
        meter = metrics.get_meter("shop.checkout")
        self._placed = meter.create_counter("shop.orders.placed", unit="{order}")
        self._revenue = meter.create_counter("shop.orders.revenue", unit="EUR")

    async def order(self, request: Request) -> Response:
        """Order what is in the user's cart."""
        user_id = current_user_id()
        async with self.desk.place():
            order_id, total_cents = await self._place(user_id)
        self._placed.add(1)
        self._revenue.add(total_cents / 100)
        return JSONResponse({"order_id": order_id, "total_cents": total_cents}, status_code=201)

    async def list_orders(self, request: Request) -> Response:
        """What the user has ordered lately."""
        return JSONResponse({"orders": await self._database.run(orders_of, current_user_id())})

    async def _place(self, user_id: str) -> tuple[str, int]:
        customer = await self._database.run(customer_by_id, user_id)
        if customer is None:
            raise Refused(403, f"{user_id} is not a customer")
        cart = await self._cart(user_id)
        if not cart["lines"]:
            raise Refused(409, "the cart is empty")
        order_id = uuid.uuid4().hex
        confirmation = self._confirm(customer)
        await self._reserve(order_id, cart["lines"])
        await self._charge(order_id, int(cart["total_cents"]))
        await self._database.run(write_order, order_id, user_id, int(cart["total_cents"]))
        await self._peers.send(
            Call(
                peer="cart",
                method="DELETE",
                path=f"/carts/{user_id}",
                template="/carts/{user_id}",
                idempotent=True,
            )
        )
        self._award(customer, int(cart["total_cents"]))
        logger.info(
            "order %s placed by %s: %d lines, %.2f EUR, confirmed to %s",
            order_id,
            user_id,
            len(cart["lines"]),
            int(cart["total_cents"]) / 100,
            confirmation.partition(":")[0],
        )
        return order_id, int(cart["total_cents"])

    async def _cart(self, user_id: str) -> dict[str, Any]:
        answer = await self._peers.send(
            Call(
                peer="cart",
                method="GET",
                path=f"/carts/{user_id}",
                template="/carts/{user_id}",
                timeout_s=_CART_TIMEOUT_S,
                idempotent=True,
            )
        )
        cart: dict[str, Any] = answer.json()
        return cart

    async def _reserve(self, order_id: str, lines: Sequence[dict[str, Any]]) -> None:
        wanted = [{"product_id": line["product_id"], "quantity": line["quantity"]} for line in lines]
        answer = await self._peers.send(
            Call(
                peer="inventory",
                method="PUT",
                path=f"/reservations/{order_id}",
                template="/reservations/{order_id}",
                content=json.dumps({"lines": wanted}).encode(),
                timeout_s=_INVENTORY_TIMEOUT_S,
                idempotent=True,
            )
        )
        if answer.status_code == 409:
            raise Refused(409, "sold out")

    async def _charge(self, order_id: str, cents: int) -> None:
        try:
            answer = await self._peers.send(
                Call(
                    peer="payments",
                    method="POST",
                    path="/charges",
                    content=json.dumps({"order_id": order_id, "cents": cents}).encode(),
                    timeout_s=_PAYMENTS_TIMEOUT_S,
                )
            )
        except ShopError:
            await self._release(order_id)
            raise
        if answer.status_code == 402:
            await self._release(order_id)
            raise Refused(402, "the card was declined")

    async def _release(self, order_id: str) -> None:
        await self._peers.send(
            Call(
                peer="inventory",
                method="DELETE",
                path=f"/reservations/{order_id}",
                template="/reservations/{order_id}",
                timeout_s=_INVENTORY_TIMEOUT_S,
                idempotent=True,
            )
        )

    def _award(self, customer: Customer, total_cents: int) -> None:
        try:
            points = loyalty_points(customer, total_cents)
        except IndexError:
            logger.warning("loyalty points not awarded to %s", customer.id, exc_info=True)
            return
        logger.debug("%d loyalty points for %s", points, customer.id)


def build(runtime: Runtime) -> Sequence[Route]:
    """The checkout's routes; the release decides how orders are confirmed."""
    database = Database(runtime.launch.directory / CHECKOUT_FILE, size=_DB_WORKERS)
    confirm = confirm_by_text_message if runtime.launch.version == CHECKOUT_PHONE else confirm_by_mail
    checkout = Checkout(database, runtime.peers, confirm)
    runtime.pools.add("order-desk", checkout.desk.occupancy)
    runtime.pools.add("checkout-db", database.occupancy, connections=True)
    return [Route("/orders", checkout.list_orders), Route("/orders", checkout.order, methods=["POST"])]


if __name__ == "__main__":
    run_service(parse_launch("checkout"), build)
