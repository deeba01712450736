"""Faults of the shop, made to happen by what the world does: a deploy, a flag, a partner, a sale, a bank that stops."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from examples.shop.journeys import PARTNER
from examples.shop.releases import CATALOG_RANKED, CHECKOUT_PHONE, NEW_PRICING

ACTOR = "operator"
SALE_FACTOR = 4.0  # 5.7 orders/s at the default rate, where one checkout makes 4.6
IMPORT_CHUNKS = 120  # one minute of them; 3 MB each, so the limit is met after some sixty
NO_SUCH_PRODUCT = 999_999_999


class WorldError(Exception):
    """The shop refused what the world wanted to do to it."""


class World:
    """Hands on the shop: an operator's control API, the users, the warehouse, the bank's machine room."""

    def __init__(self, *, control_url: str, load_url: str, client: httpx.Client) -> None:
        self._control_url = control_url
        self._load_url = load_url
        self._client = client

    def get(self, path: str) -> dict[str, Any]:
        """Ask the control API.

        Raises:
            WorldError: it does not answer or refuses.
        """
        return self.call("GET", path, None)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """Have the control API do something.

        Raises:
            WorldError: it does not answer or refuses.
        """
        return self._send(method, self._control_url + path, body, {"x-actor": ACTOR})

    def plan(self, **wishes: float) -> None:
        """Tell the users what to do from now on.

        Raises:
            WorldError: they do not listen.
        """
        self._send("POST", f"{self._load_url}/plan", wishes, {})

    def bank_pid(self) -> int:
        """The bank's process."""
        return int(self.get("/external")["external"][0]["pid"])

    def recount(self, product_id: int) -> None:
        """The warehouse counts a shelf and tells the first instance of the inventory; it ignores the answer."""
        port = self.get("/services/inventory")["instances"][0]["port"]
        self._client.post(f"http://127.0.0.1:{port}/recounts", json={"product_id": product_id}, timeout=5.0)

    def _send(
        self, method: str, url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        try:
            answer = self._client.request(method, url, json=body, headers=dict(headers))
        except httpx.TransportError as error:
            raise WorldError(f"{method} {url}: {type(error).__name__}") from error
        if answer.is_error:
            raise WorldError(f"{method} {url}: {answer.status_code} {answer.text[:300]}")
        content: dict[str, Any] = answer.json()
        return content


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        name: Unique name.
        description: What happens, for people.
        service: Where the cause lies.
        cause: deploy, flag, memory_leak, dependency, traffic or deadlock: for judging a diagnosis, never shown to it.
        fix: What a good operator does: rollback, restart, flag_off, scale_out, or none when waiting is all there is.
        inject: Makes it happen.
        clear: Ends it.
    """

    name: str
    description: str
    service: str
    cause: str
    fix: str
    inject: Callable[[World], None]
    clear: Callable[[World], None]


def _deploy(service: str, version: str) -> Callable[[World], None]:
    def deploy(world: World) -> None:
        world.call("POST", f"/services/{service}/deploy", {"version": version})

    return deploy


def _undo_deploy(service: str, version: str) -> Callable[[World], None]:
    def undo(world: World) -> None:
        if world.get(f"/services/{service}")["version"] == version:  # somebody may have rolled it back already
            world.call("POST", f"/services/{service}/rollback", {})

    return undo


def _restart(world: World, service: str) -> None:
    world.call("POST", f"/services/{service}/restart", {})


def _switch(flag: str, *, enabled: bool) -> Callable[[World], None]:
    def switch(world: World) -> None:
        world.call("POST", f"/flags/{flag}", {"enabled": enabled})

    return switch


def _start_import(world: World) -> None:
    world.plan(import_chunks=IMPORT_CHUNKS)


def _stop_import(world: World) -> None:
    world.plan(import_chunks=0)
    _restart(world, "cart")


def _stop_bank(world: World) -> None:
    os.kill(world.bank_pid(), signal.SIGSTOP)


def _continue_bank(world: World) -> None:
    os.kill(world.bank_pid(), signal.SIGCONT)


def _start_sale(world: World) -> None:
    world.plan(sale_factor=SALE_FACTOR)


def _end_sale(world: World) -> None:
    world.plan(sale_factor=1.0)
    world.call("POST", "/services/checkout/scale", {"replicas": 1})


def _count_a_shelf_that_is_not_there(world: World) -> None:
    world.recount(NO_SUCH_PRODUCT)


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(
            name="slow-query",
            description=f"catalog {CATALOG_RANKED} searches with a query that no index serves",
            service="catalog",
            cause="deploy",
            fix="rollback",
            inject=_deploy("catalog", CATALOG_RANKED),
            clear=_undo_deploy("catalog", CATALOG_RANKED),
        ),
        Fault(
            name="throwing-deploy",
            description=f"checkout {CHECKOUT_PHONE} raises for customers without a phone number",
            service="checkout",
            cause="deploy",
            fix="rollback",
            inject=_deploy("checkout", CHECKOUT_PHONE),
            clear=_undo_deploy("checkout", CHECKOUT_PHONE),
        ),
        Fault(
            name="memory-leak",
            description=f"{PARTNER} never completes its coupon import, and cart keeps every part of it",
            service="cart",
            cause="memory_leak",
            fix="restart",
            inject=_start_import,
            clear=_stop_import,
        ),
        Fault(
            name="hung-dependency",
            description="the bank, a third party, stops answering",
            service="bank",
            cause="dependency",
            fix="none",
            inject=_stop_bank,
            clear=_continue_bank,
        ),
        Fault(
            name="bad-flag",
            description=f"flag {NEW_PRICING} makes cart fail for products without a price tier",
            service="cart",
            cause="flag",
            fix="flag_off",
            inject=_switch(NEW_PRICING, enabled=True),
            clear=_switch(NEW_PRICING, enabled=False),
        ),
        Fault(
            name="traffic-surge",
            description=f"a sale brings {SALE_FACTOR:g} times the orders, more than one checkout can take",
            service="checkout",
            cause="traffic",
            fix="scale_out",
            inject=_start_sale,
            clear=_end_sale,
        ),
        Fault(
            name="hung-instance",
            description="one instance of inventory keeps its lock for ever after a failed recount",
            service="inventory",
            cause="deadlock",
            fix="restart",
            inject=_count_a_shelf_that_is_not_there,
            clear=lambda world: _restart(world, "inventory"),
        ),
    )
}
