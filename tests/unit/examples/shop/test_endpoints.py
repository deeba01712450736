"""What carts and orders answer, with the other services and the bank played by fakes: quick tests for any change."""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from opentelemetry import baggage, context
from starlette.requests import Request

from examples.shop import catalog, gateway, inventory, payments, stock_room
from examples.shop.cart import Carts
from examples.shop.checkout import Checkout, confirm_by_mail
from examples.shop.database import Database
from examples.shop.failures import Refused
from examples.shop.peers import Call, Peers
from examples.shop.stock_room import CART_FILE, CHECKOUT_FILE, user_id
from examples.shop.telemetry import USER_ID

USER = user_id(1)


class PlayedPeers:
    """Answers calls from a table and remembers them."""

    def __init__(self, answers: Callable[[Call], tuple[int, Any]]) -> None:
        self._answers = answers
        self.calls: list[Call] = []

    async def send(self, call: Call) -> Any:
        self.calls.append(call)
        await asyncio.sleep(0)
        status, body = self._answers(call)
        return SimpleNamespace(status_code=status, json=lambda: body)


def product(call: Call) -> tuple[int, Any]:
    number = int(call.path.rpartition("/")[2])
    return (200, {"id": number, "price_cents": 100 * number, "tier": "a"}) if number < 100 else (404, {})


def request(method: str = "GET", body: object = None, **path: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    return Request({"type": "http", "method": method, "path": "/", "headers": [], "path_params": path}, receive)


@contextmanager
def acting(user: str) -> Iterator[None]:
    token = context.attach(baggage.set_baggage(USER_ID, user))
    try:
        yield
    finally:
        context.detach(token)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("stock")
    with pytest.MonkeyPatch.context() as patched:
        for size in ("PRODUCTS", "REVIEWS", "PAST_ORDERS"):  # the tables matter here, not their size
            if hasattr(stock_room, size):
                patched.setattr(stock_room, size, 100)
        stock_room.fill_stock_room(made, seed=7)
    return made


def carts(folder: Path, peers: PlayedPeers) -> Carts:
    flags = cast(Any, SimpleNamespace(read=dict))
    return Carts(Database(folder / CART_FILE, size=2), cast(Peers, peers), flags)


def checkout(folder: Path, peers: PlayedPeers) -> Checkout:
    return Checkout(Database(folder / CHECKOUT_FILE, size=2), cast(Peers, peers), confirm_by_mail)


def body_of(response: Any) -> Any:
    return json.loads(response.body)


def test_a_cart_shows_its_lines_in_order_with_prices_and_their_sum(folder: Path) -> None:
    peers = PlayedPeers(product)

    async def live() -> Any:
        shop = carts(folder, peers)
        for number in (7, 3, 5):
            await shop.put(request("POST", {"product_id": number, "quantity": 2}, user_id="a"))
        return body_of(await shop.show(request(user_id="a")))

    shown = asyncio.run(live())
    assert shown["lines"] == [{"product_id": n, "quantity": 2, "cents": 200 * n} for n in (3, 5, 7)]
    assert shown["total_cents"] == 3000


def test_an_empty_cart_asks_for_no_product(folder: Path) -> None:
    peers = PlayedPeers(product)
    shown = body_of(asyncio.run(carts(folder, peers).show(request(user_id="nobody"))))
    assert shown["lines"] == []
    assert peers.calls == []


def test_a_product_that_is_not_sold_is_refused_and_not_put(folder: Path) -> None:
    peers = PlayedPeers(product)

    async def live() -> Any:
        shop = carts(folder, peers)
        with pytest.raises(Refused) as refused:
            await shop.put(request("POST", {"product_id": 200}, user_id="b"))
        return refused.value.status, body_of(await shop.show(request(user_id="b")))

    status, shown = asyncio.run(live())
    assert status == 422
    assert shown["lines"] == []


def partners(call: Call) -> tuple[int, Any]:
    if call.peer == "cart" and call.method == "GET":
        return 200, {"lines": [{"product_id": 3, "quantity": 2, "cents": 600}], "total_cents": 600}
    return {"payments": 201, "inventory": 200}.get(call.peer, 200), {}


def test_an_order_reserves_charges_is_written_down_and_empties_the_cart(folder: Path) -> None:
    peers = PlayedPeers(partners)

    async def live() -> Any:
        with acting(USER):
            return body_of(await checkout(folder, peers).order(request("POST")))

    order = asyncio.run(live())
    assert order["total_cents"] == 600
    assert [(call.peer, call.method) for call in peers.calls] == [
        ("cart", "GET"), ("inventory", "PUT"), ("payments", "POST"), ("cart", "DELETE"),
    ]  # fmt: skip
    with sqlite3.connect(folder / CHECKOUT_FILE) as connection:
        written = connection.execute("SELECT user_id, total_cents FROM orders WHERE id = ?", (order["order_id"],))
        assert written.fetchone() == (USER, 600)


def test_a_declined_card_gives_the_goods_back(folder: Path) -> None:
    peers = PlayedPeers(lambda call: (402, {}) if call.peer == "payments" else partners(call))

    async def live() -> None:
        with acting(USER), pytest.raises(Refused) as refused:
            await checkout(folder, peers).order(request("POST"))
        assert refused.value.status == 402

    asyncio.run(live())
    assert [(call.peer, call.method) for call in peers.calls][-1] == ("inventory", "DELETE")


def test_who_is_no_customer_buys_nothing(folder: Path) -> None:
    peers = PlayedPeers(partners)

    async def live() -> None:
        with acting("stranger"), pytest.raises(Refused) as refused:
            await checkout(folder, peers).order(request("POST"))
        assert refused.value.status == 403

    asyncio.run(live())
    assert {call.method for call in peers.calls} <= {"GET"}


def test_every_service_has_its_routes() -> None:
    assert all(callable(service.build) for service in (catalog, gateway, inventory, payments))
