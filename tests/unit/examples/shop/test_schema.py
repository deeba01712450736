"""Schemas as files: a fresh database, a database that catches up, and the query that waits for its index."""

import sqlite3
from pathlib import Path

import pytest

from examples.shop import schema, stock_room
from examples.shop.checkout import orders_of
from examples.shop.schema import bring_up, has_schema, indexes, statements, tables


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, count in (("PRODUCTS", 50), ("REVIEWS", 50), ("PAST_ORDERS", 3000)):
        monkeypatch.setattr(stock_room, name, count)
    stock_room.fill_stock_room(tmp_path, 1)
    return tmp_path / stock_room.CHECKOUT_FILE


def plan_of_orders(path: Path) -> str:
    connection = sqlite3.connect(path)
    try:
        said: list[str] = []
        connection.set_trace_callback(said.append)
        assert len(orders_of(connection, "u-0007")) == 5
        connection.set_trace_callback(None)
        return " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {said[0]}"))
    finally:
        connection.close()


@pytest.mark.parametrize("database", ["cart", "catalog", "checkout", "inventory"])
def test_a_schema_is_whole_statements_that_can_be_run_again(database: str) -> None:
    connection = sqlite3.connect(":memory:")
    for _ in range(2):
        connection.executescript(tables(database))
        connection.executescript(indexes(database))
    assert all("IF NOT EXISTS" in one for one in statements(database))
    connection.close()


def test_the_orders_of_a_user_are_found_by_reading_every_order(checkout: Path) -> None:
    assert "SCAN orders" in plan_of_orders(checkout)


def test_an_index_that_the_schema_gains_reaches_the_database(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(schema.__file__).parent / "sql" / "checkout.sql").read_text()
    (tmp_path / "checkout.sql").write_text(text + "CREATE INDEX IF NOT EXISTS by_user ON orders (user_id);\n")
    monkeypatch.setattr(schema, "_FOLDER", tmp_path)
    for _ in range(2):
        bring_up(checkout, "checkout")
    assert "USING INDEX by_user" in plan_of_orders(checkout)


def test_no_database_is_made_where_none_is(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        bring_up(tmp_path / "checkout.sqlite", "checkout")
    assert not list(tmp_path.iterdir())


def test_a_service_without_a_database_has_no_schema() -> None:
    assert not has_schema("gateway")
