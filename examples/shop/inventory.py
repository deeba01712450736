"""Stock: what can still be sold and what is reserved for whom; writes one SQLite file."""

import logging
import sqlite3
import threading
import time
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.database import Database
from examples.shop.failures import Refused
from examples.shop.launch import parse_launch
from examples.shop.stock_room import INVENTORY_FILE
from examples.shop.web import Runtime, body_object, run_service

logger = logging.getLogger("shop.inventory")

_WORKERS = 4


class StockBook:
    """Changes of the stock, one at a time: a count of the shelves must not see half a reservation."""

    def __init__(self) -> None:
        self._turn = threading.Lock()

    def reserve(self, connection: sqlite3.Connection, order_id: str, lines: Sequence[tuple[int, int]]) -> bool:
        """Reserve all lines or none; False when something is sold out. Harmless twice."""
        with self._turn, connection:
            cursor = connection.cursor()
            cursor.execute("SELECT 1 FROM reservations WHERE order_id = ?", (order_id,))
            if cursor.fetchone() is not None:
                return True
            for product_id, quantity in lines:
                cursor.execute(
                    "UPDATE stock SET available = available - ?, reserved = reserved + ?"
                    " WHERE product_id = ? AND available >= ?",
                    (quantity, quantity, product_id, quantity),
                )
                if cursor.rowcount == 0:
                    connection.rollback()
                    return False
                cursor.execute("INSERT INTO reservations VALUES (?, ?, ?)", (order_id, product_id, quantity))
            return True

    def release(self, connection: sqlite3.Connection, order_id: str) -> None:
        """Give reserved goods back. Harmless twice."""
        with self._turn, connection:
            cursor = connection.cursor()
            cursor.execute("SELECT product_id, quantity FROM reservations WHERE order_id = ?", (order_id,))
            for product_id, quantity in cursor.fetchall():
                cursor.execute(
                    "UPDATE stock SET available = available + ?, reserved = reserved - ? WHERE product_id = ?",
                    (quantity, quantity, product_id),
                )
            cursor.execute("DELETE FROM reservations WHERE order_id = ?", (order_id,))

    def recount(self, connection: sqlite3.Connection, product_id: int) -> int:
        """Note that the shelf was counted; returns what should lie there."""
        self._turn.acquire()
        cursor = connection.cursor()
        cursor.execute("SELECT available + reserved FROM stock WHERE product_id = ?", (product_id,))
        on_shelf = int(cursor.fetchone()[0])
        with connection:
            cursor.execute("UPDATE stock SET counted_at = ? WHERE product_id = ?", (time.time(), product_id))
        self._turn.release()
        return on_shelf


class Inventory:
    """The inventory's endpoints."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._book = StockBook()

    async def reserve(self, request: Request) -> Response:
        """Reserve goods for an order."""
        order_id = str(request.path_params["order_id"])
        lines = _lines(await body_object(request))
        if not await self._database.run(self._book.reserve, order_id, lines):
            raise Refused(409, "sold out")
        logger.info("%d lines reserved for order %s", len(lines), order_id)
        return JSONResponse({"order_id": order_id, "reserved": len(lines)})

    async def release(self, request: Request) -> Response:
        """Give an order's goods back."""
        order_id = str(request.path_params["order_id"])
        await self._database.run(self._book.release, order_id)
        logger.info("reservation of order %s released", order_id)
        return JSONResponse({"order_id": order_id, "reserved": 0})

    async def recount(self, request: Request) -> Response:
        """The warehouse has counted a shelf."""
        product_id = (await body_object(request)).get("product_id")
        if not isinstance(product_id, int) or not 0 <= product_id < 2**31:
            raise Refused(422, "product_id must be a whole number")
        logger.info("recount of product %d started", product_id)
        return JSONResponse({"on_shelf": await self._database.run(self._book.recount, product_id)})


def build(runtime: Runtime) -> Sequence[Route]:
    """The inventory's routes."""
    database = Database(runtime.launch.directory / INVENTORY_FILE, size=_WORKERS)
    runtime.pools.add("inventory-db", database.occupancy, connections=True)
    inventory = Inventory(database)
    return [
        Route("/reservations/{order_id}", inventory.reserve, methods=["PUT"]),
        Route("/reservations/{order_id}", inventory.release, methods=["DELETE"]),
        Route("/recounts", inventory.recount, methods=["POST"]),
    ]


def _lines(body: dict[str, Any]) -> list[tuple[int, int]]:
    lines = body.get("lines")
    if not isinstance(lines, list) or not lines:
        raise Refused(422, "`lines` is not a list of lines")
    found = []
    for line in lines:
        if (
            not isinstance(line, dict)
            or type(line.get("product_id")) is not int
            or type(line.get("quantity")) is not int
        ):
            raise Refused(422, "a line needs product_id and quantity")
        if not 0 <= line["product_id"] < 2**31 or not 0 < line["quantity"] < 2**31:
            raise Refused(422, "product_id or quantity out of range")
        found.append((line["product_id"], line["quantity"]))
    return found


if __name__ == "__main__":
    run_service(parse_launch("inventory"), build)
