"""Products: categories, details, search; reads one SQLite file with a fixed number of workers."""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.shop.database import Database
from examples.shop.failures import Refused
from examples.shop.launch import parse_launch
from examples.shop.releases import CATALOG_RANKED
from examples.shop.stock_room import CATALOG_FILE, NOUNS
from examples.shop.web import Runtime, run_service

logger = logging.getLogger("shop.catalog")

_WORKERS = 3
_PAGE = 20
_SLOW_S = 0.2

Product = dict[str, Any]
Search = Callable[[sqlite3.Connection, str], list[Product]]


def products_of_category(connection: sqlite3.Connection, category: str, after: int) -> list[Product]:
    """A page of a category, by the index on (category, id)."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT id, sku, name, price_cents, tier FROM products WHERE category = ? AND id > ? ORDER BY id LIMIT ?",
        (category, after, _PAGE),
    )
    return [_product(row) for row in cursor.fetchall()]


def product_by_id(connection: sqlite3.Connection, product_id: int) -> Product | None:
    """One product by its primary key."""
    cursor = connection.cursor()
    cursor.execute("SELECT id, sku, name, price_cents, tier FROM products WHERE id = ?", (product_id,))
    row = cursor.fetchone()
    return None if row is None else _product(row)


def search_by_name(connection: sqlite3.Connection, words: str) -> list[Product]:
    """Products whose name begins with the words, by the index on the name."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT id, sku, name, price_cents, tier FROM products WHERE name >= ? AND name < ? ORDER BY name LIMIT ?",
        (words, words + "\uffff", _PAGE),
    )
    return [_product(row) for row in cursor.fetchall()]


def search_ranked(connection: sqlite3.Connection, words: str) -> list[Product]:
    """Products that mention the words anywhere, best rated first. No index serves `lower(...) LIKE '%...%'`."""
    cursor = connection.cursor()
    cursor.execute(
        "SELECT p.id, p.sku, p.name, p.price_cents, p.tier"
        " FROM products p JOIN reviews r ON r.product_id = p.id"
        " WHERE lower(p.name || ' ' || p.description || ' ' || r.body) LIKE '%' || replace(?, ' ', '%') || '%'"
        " GROUP BY p.id ORDER BY avg(r.stars) DESC, lower(p.name) LIMIT ?",
        (words, _PAGE),
    )
    return [_product(row) for row in cursor.fetchall()]


class Catalog:
    """The catalog's endpoints."""

    def __init__(self, database: Database, search: Search) -> None:
        self._database = database
        self._search = search

    async def list_products(self, request: Request) -> Response:
        """A page of a category."""
        category = request.query_params.get("category", "")
        if category not in NOUNS:
            raise Refused(404, f"no category {category[:40]!r}")
        after = request.query_params.get("after", "0")
        if not after.isdecimal() or len(after) > 9:
            raise Refused(422, "`after` is not a product id")
        return JSONResponse({"products": await self._database.run(products_of_category, category, int(after))})

    async def show_product(self, request: Request) -> Response:
        """One product."""
        product_id = int(request.path_params["product_id"])
        if product_id >= 2**63:  # SQLite's integers end there
            raise Refused(404, "no such product")
        product = await self._database.run(product_by_id, product_id)
        if product is None:
            raise Refused(404, f"no product {product_id}")
        return JSONResponse(product)

    async def search(self, request: Request) -> Response:
        """Products by words."""
        words = request.query_params.get("q", "").strip().lower()[:80]
        if not words:
            raise Refused(422, "nothing to search for")
        started = time.perf_counter()
        found = await self._database.run(self._search, words)
        took_s = time.perf_counter() - started
        if took_s > _SLOW_S:
            logger.warning("slow search: %d ms for %r, %d found", int(took_s * 1000), words, len(found))
        else:
            logger.info("search for %r found %d products", words, len(found))
        return JSONResponse({"products": found})


def build(runtime: Runtime) -> Sequence[Route]:
    """The catalog's routes; the release decides how it searches."""
    database = Database(runtime.launch.directory / CATALOG_FILE, size=_WORKERS)
    runtime.pools.add("catalog-db", database.occupancy, connections=True)
    catalog = Catalog(database, search_ranked if runtime.launch.version == CATALOG_RANKED else search_by_name)
    return [
        Route("/products", catalog.list_products),
        Route("/products/{product_id:int}", catalog.show_product),
        Route("/search", catalog.search),
    ]


def _product(row: Sequence[Any]) -> Product:
    return dict(zip(("id", "sku", "name", "price_cents", "tier"), row, strict=True))


if __name__ == "__main__":
    run_service(parse_launch("catalog"), build)
