import sqlite3
import threading
from collections.abc import Iterator

import pytest

from examples.shop.inventory import StockBook


@pytest.fixture
def stock() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.executescript(
        "CREATE TABLE stock (product_id INTEGER PRIMARY KEY, available INTEGER, reserved INTEGER, counted_at REAL);"
        "CREATE TABLE reservations"
        " (order_id TEXT, product_id INTEGER, quantity INTEGER, PRIMARY KEY (order_id, product_id));"
        "INSERT INTO stock VALUES (1, 5, 0, NULL), (2, 1, 0, NULL);"
    )
    yield connection
    connection.close()


def levels(stock: sqlite3.Connection) -> list[tuple[int, int, int]]:
    return stock.execute("SELECT product_id, available, reserved FROM stock ORDER BY product_id").fetchall()


def test_a_reservation_takes_all_lines(stock: sqlite3.Connection) -> None:
    assert StockBook().reserve(stock, "o", [(1, 2), (2, 1)])
    assert levels(stock) == [(1, 3, 2), (2, 0, 1)]


def test_a_reservation_that_cannot_be_met_takes_nothing(stock: sqlite3.Connection) -> None:
    assert not StockBook().reserve(stock, "o", [(1, 2), (2, 2)])
    assert levels(stock) == [(1, 5, 0), (2, 1, 0)]


def test_reserving_twice_for_one_order_takes_once(stock: sqlite3.Connection) -> None:
    book = StockBook()
    assert book.reserve(stock, "o", [(1, 2)])
    assert book.reserve(stock, "o", [(1, 2)])
    assert levels(stock)[0] == (1, 3, 2)


def test_a_release_gives_everything_back_once(stock: sqlite3.Connection) -> None:
    book = StockBook()
    book.reserve(stock, "o", [(1, 2)])
    book.release(stock, "o")
    book.release(stock, "o")
    assert levels(stock)[0] == (1, 5, 0)


def test_a_recount_says_what_should_lie_on_the_shelf(stock: sqlite3.Connection) -> None:
    book = StockBook()
    book.reserve(stock, "o", [(1, 2)])
    assert book.recount(stock, 1) == 5
    assert book.reserve(stock, "p", [(1, 1)])


def test_a_recount_of_an_unknown_product_keeps_the_lock(stock: sqlite3.Connection) -> None:
    """The defect behind the fault hung-instance: without it the fault would do nothing."""
    book = StockBook()
    with pytest.raises(TypeError):
        book.recount(stock, 99)
    done = threading.Event()

    def reserve() -> None:
        book.reserve(stock, "o", [(1, 1)])
        done.set()

    stuck = threading.Thread(target=reserve, daemon=True)
    stuck.start()
    assert not done.wait(0.2)
    book._turn.release()
    stuck.join(5.0)
    assert done.is_set()
