"""Fill the shop's databases: the same seed gives the same shop."""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from examples.shop.schema import indexes, tables

CATALOG_FILE = "catalog.sqlite"
INVENTORY_FILE = "inventory.sqlite"
CART_FILE = "cart.sqlite"
CHECKOUT_FILE = "checkout.sqlite"

PRODUCTS = 60_000
REVIEWS = 65_000  # a search that joins all of them takes 0.2 s of one core
USERS = 600
PAST_ORDERS = 250_000  # 420 a user; a query that reads them all takes 25 ms of one core
STOCK_PER_PRODUCT = 1_000_000  # a demo of hours at 5 orders/s sells 18,000 pieces of everything together
NO_PHONE_RATIO = 0.25
NO_LOYALTY_RATIO = 0.3
NO_TIER_RATIO = 0.25  # with one or two products in a cart, every third cart holds one of these

NOUNS = (
    "lamp",
    "chair",
    "kettle",
    "jacket",
    "tent",
    "bottle",
    "knife",
    "rug",
    "table",
    "backpack",
    "helmet",
    "mug",
)
ADJECTIVES = (
    "red",
    "blue",
    "light",
    "warm",
    "sturdy",
    "quiet",
    "small",
    "large",
    "classic",
    "modern",
    "folding",
    "oak",
)
_CITIES = ("Lyon", "Turin", "Porto", "Graz", "Ghent", "Brno", "Malmo", "Cork")

# one minute after the other, users in a fixed shuffle: 7919 is a prime that 600 does not share
_PAST_ORDERS = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :orders)
INSERT INTO orders SELECT printf('past-%06d', i), printf('u-%04d', 1 + (i * 7919) % :users), 500 + (i * 37) % 40000,
    :now - 60.0 * (:orders - i) FROM n
"""


def fill_stock_room(directory: Path, seed: int) -> None:
    """Create the four databases, replacing what is there; takes about two seconds."""
    draw = random.Random(seed)
    bodies = [_words(draw, 20) for _ in range(500)]
    with _fresh(directory / CATALOG_FILE) as catalog:
        catalog.executemany(
            "INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_product(number, draw) for number in range(PRODUCTS)),
        )
        catalog.executemany(
            "INSERT INTO reviews VALUES (?, ?, ?)",
            ((draw.randrange(PRODUCTS), draw.randrange(1, 6), draw.choice(bodies)) for _ in range(REVIEWS)),
        )
    with _fresh(directory / INVENTORY_FILE) as inventory:
        inventory.executemany(
            "INSERT INTO stock (product_id, available) VALUES (?, ?)",
            ((number, STOCK_PER_PRODUCT) for number in range(PRODUCTS)),
        )
    with _fresh(directory / CART_FILE):
        pass
    with _fresh(directory / CHECKOUT_FILE) as checkout:
        checkout.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?, ?)",
            (_customer(user_id(n), draw) for n in range(1, USERS + 1)),
        )
        checkout.execute(_PAST_ORDERS, {"orders": PAST_ORDERS, "users": USERS, "now": time.time()})


def user_id(number: int) -> str:
    """`u-0001` for 1."""
    return f"u-{number:04d}"


def _product(number: int, draw: random.Random) -> tuple[int, str, str, str, int, str | None, str]:
    noun, colour, kind = draw.choice(NOUNS), draw.choice(ADJECTIVES), draw.choice(ADJECTIVES)
    tier = None if draw.random() < NO_TIER_RATIO else draw.choice("abc")
    name, price_cents = f"{noun} {colour} {kind} {number}", draw.randrange(300, 20000)
    return number, f"SKU-{number:06d}", name, noun, price_cents, tier, _words(draw, 30)


def _words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(ADJECTIVES + NOUNS, k=count))


def _customer(user: str, draw: random.Random) -> tuple[str, str, str | None, str, str | None]:
    phone = None if draw.random() < NO_PHONE_RATIO else f"+{draw.randrange(30, 50)} {draw.randrange(10**8, 10**9)}"
    loyalty = None if draw.random() < NO_LOYALTY_RATIO else f"gold:{draw.randrange(1, 4)}"
    return user, f"{user}@example.org", phone, draw.choice(_CITIES), loyalty


@contextmanager
def _fresh(path: Path) -> Iterator[sqlite3.Connection]:
    for stale in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        stale.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    try:
        # nothing here is worth a disk flush: a machine that fails now starts the shop anew
        connection.executescript(f"PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; {tables(path.stem)}")
        yield connection
        connection.executescript(indexes(path.stem))
    finally:
        connection.close()
