"""Fill the shop's databases: the same seed gives the same shop."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CATALOG_FILE = "catalog.sqlite"
INVENTORY_FILE = "inventory.sqlite"
CART_FILE = "cart.sqlite"
CHECKOUT_FILE = "checkout.sqlite"

PRODUCTS = 60_000
REVIEWS = 65_000  # a search that joins all of them takes 0.2 s of one core
USERS = 600
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

_CATALOG = """
CREATE TABLE products (id INTEGER PRIMARY KEY, sku TEXT NOT NULL, name TEXT NOT NULL, category TEXT NOT NULL,
    price_cents INTEGER NOT NULL, tier TEXT, description TEXT NOT NULL);
CREATE TABLE reviews (product_id INTEGER NOT NULL, stars INTEGER NOT NULL, body TEXT NOT NULL);
"""
_CATALOG_INDEXES = """
CREATE INDEX products_by_name ON products (name);
CREATE INDEX products_by_category ON products (category, id);
CREATE INDEX reviews_by_product ON reviews (product_id);
"""
_INVENTORY = """
CREATE TABLE stock (product_id INTEGER PRIMARY KEY, available INTEGER NOT NULL, reserved INTEGER NOT NULL DEFAULT 0,
    counted_at REAL);
CREATE TABLE reservations (order_id TEXT NOT NULL, product_id INTEGER NOT NULL, quantity INTEGER NOT NULL,
    PRIMARY KEY (order_id, product_id));
"""
_CART = """
CREATE TABLE lines (user_id TEXT NOT NULL, product_id INTEGER NOT NULL, quantity INTEGER NOT NULL,
    PRIMARY KEY (user_id, product_id));
"""
_CHECKOUT = """
CREATE TABLE customers (id TEXT PRIMARY KEY, mail TEXT NOT NULL, phone TEXT, city TEXT NOT NULL, loyalty TEXT);
CREATE TABLE orders (id TEXT PRIMARY KEY, user_id TEXT NOT NULL, total_cents INTEGER NOT NULL, placed_at REAL NOT NULL);
"""


def fill_stock_room(directory: Path, seed: int) -> None:
    """Create the four databases, replacing what is there; takes about a second."""
    draw = random.Random(seed)
    bodies = [_words(draw, 20) for _ in range(500)]
    with _fresh(directory / CATALOG_FILE, _CATALOG) as catalog:
        catalog.executemany(
            "INSERT INTO products VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_product(number, draw) for number in range(PRODUCTS)),
        )
        catalog.executemany(
            "INSERT INTO reviews VALUES (?, ?, ?)",
            ((draw.randrange(PRODUCTS), draw.randrange(1, 6), draw.choice(bodies)) for _ in range(REVIEWS)),
        )
        catalog.executescript(_CATALOG_INDEXES)
    with _fresh(directory / INVENTORY_FILE, _INVENTORY) as inventory:
        inventory.executemany(
            "INSERT INTO stock (product_id, available) VALUES (?, ?)",
            ((number, STOCK_PER_PRODUCT) for number in range(PRODUCTS)),
        )
    with _fresh(directory / CART_FILE, _CART):
        pass
    with _fresh(directory / CHECKOUT_FILE, _CHECKOUT) as checkout:
        checkout.executemany(
            "INSERT INTO customers VALUES (?, ?, ?, ?, ?)",
            (_customer(user_id(n), draw) for n in range(1, USERS + 1)),
        )


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
def _fresh(path: Path, tables: str) -> Iterator[sqlite3.Connection]:
    for stale in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        stale.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    try:
        # nothing here is worth a disk flush: a machine that fails now starts the shop anew
        connection.executescript(f"PRAGMA synchronous=OFF; PRAGMA journal_mode=WAL; {tables}")
        yield connection
        connection.commit()
    finally:
        connection.close()
