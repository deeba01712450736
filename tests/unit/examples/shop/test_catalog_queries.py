"""The two searches on real tables: the released one uses its index, its successor cannot."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.shop import stock_room
from examples.shop.catalog import product_by_id, products_of_category, search_by_name, search_ranked


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlite3.Connection]:
    monkeypatch.setattr(stock_room, "PRODUCTS", 500)
    monkeypatch.setattr(stock_room, "REVIEWS", 600)
    stock_room.fill_stock_room(tmp_path, 1)
    connection = sqlite3.connect(tmp_path / stock_room.CATALOG_FILE)
    yield connection
    connection.close()


def plan_of(connection: sqlite3.Connection, work: object, words: str) -> str:
    """The query plan of the one statement that a search executes."""
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    work(connection, words)  # type: ignore[operator]
    connection.set_trace_callback(None)
    return " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}"))


def test_the_released_search_goes_by_the_index(catalog: sqlite3.Connection) -> None:
    assert "USING INDEX products_by_name" in plan_of(catalog, search_by_name, "lamp")


def test_the_ranked_search_reads_a_whole_table(catalog: sqlite3.Connection) -> None:
    plan = plan_of(catalog, search_ranked, "lamp")
    assert "SCAN" in plan
    assert "products_by_name" not in plan


def test_both_searches_find_products(catalog: sqlite3.Connection) -> None:
    for search in (search_by_name, search_ranked):
        found = search(catalog, "lamp")
        assert found
        assert set(found[0]) == {"id", "sku", "name", "price_cents", "tier"}


def test_a_page_of_a_category_goes_on_where_the_last_one_ended(catalog: sqlite3.Connection) -> None:
    first = products_of_category(catalog, "lamp", 0)
    second = products_of_category(catalog, "lamp", first[-1]["id"])
    assert first[-1]["id"] < second[0]["id"]


def test_a_product_that_is_not_sold_is_none(catalog: sqlite3.Connection) -> None:
    assert product_by_id(catalog, 10**9) is None


def test_the_same_seed_fills_the_same_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_room, "PRODUCTS", 50)
    monkeypatch.setattr(stock_room, "REVIEWS", 50)
    rows = []
    for name in ("a", "b"):
        directory = tmp_path / name
        directory.mkdir()
        stock_room.fill_stock_room(directory, 9)
        connection = sqlite3.connect(directory / stock_room.CHECKOUT_FILE)
        rows.append(connection.execute("SELECT * FROM customers ORDER BY id").fetchall())
        connection.close()
    assert rows[0] == rows[1]
