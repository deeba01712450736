"""Patchers on small sources and on the shop itself: what they change, and what they leave alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from services.recommender.configuration import Repository
from services.recommender.patch import Declined, Patch, load_patchers
from services.recommender.rule import Benefit, Finding
from services.recommender.scene import CodePlace
from services.recommender.source import Source, open_source

ROOT = Path(__file__).resolve().parents[4]
HEAD = "import logging\n\n\nclass Carts:\n"


def finding(patcher: str, place: CodePlace, **hints: str) -> Finding:
    return Finding(
        rule="r", service="cart", version="1", operation="GET /", subject="s", place=place, title="t", evidence=(),
        benefit=Benefit(words="w", value=1, unit="u"), confidence=0.0, advice="a", patcher=patcher, hints=hints,
    )  # fmt: skip


def source_of(folder: Path, files: Mapping[str, str], **settings: Any) -> Source:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return open_source(Repository(name="r", path=folder, services=("*",), **settings), "1")


def patched(made: Patch | Declined) -> str:
    assert isinstance(made, Patch), made
    [text] = made.files.values()
    compile(text, "patched.py", "exec")
    return text


def declined(made: Patch | Declined) -> Declined:
    assert isinstance(made, Declined), made
    return made


# --- loops that become a fan-out ----------------------------------------------------------------------------------


def fan_out(folder: Path, body: str, *, line: int = 0, reads: str = "yes", most: str = "5") -> Patch | Declined:
    source = source_of(folder, {"shop/cart.py": HEAD + body})
    asked = finding(
        "fan_out", CodePlace(path="shop/cart.py", line=line, function="shop.cart.Carts._product"),
        endpoint="shop.cart.Carts.show", endpoint_path="shop/cart.py", reads=reads, most=most,
    )  # fmt: skip
    return load_patchers().get("fan_out")(asked, source)


HELPER = "\n    async def _product(self, number):\n        return await self._peers.get(number)\n"


def test_a_loop_of_awaits_becomes_one_gather_in_the_same_order(tmp_path: Path) -> None:
    text = patched(
        fan_out(
            tmp_path,
            "    async def show(self, lines: list[tuple[int, int]]):\n        total = 0\n"
            "        for number, count in lines:\n            product = await self._product(number)\n"
            "            total += product.price * count\n        return total\n" + HELPER,
        )
    )
    assert "products = await asyncio.gather(*(self._product(number) for number, _ in lines))" in text
    assert "for (number, count), product in zip(lines, products, strict=True):" in text
    assert text.startswith("import asyncio\nimport logging\n")


def test_what_may_be_an_iterator_is_gone_through_once(tmp_path: Path) -> None:
    text = patched(
        fan_out(
            tmp_path,
            "    async def show(self, numbers):\n        for number in numbers:\n"
            "            product = await self._product(number)\n            print(product)\n" + HELPER,
        )
    )
    assert "elements = list(numbers)" in text
    assert "for number in elements))" in text


def test_blocking_calls_run_in_threads_with_their_context(tmp_path: Path) -> None:
    text = patched(
        fan_out(
            tmp_path,
            "    def show(self, numbers: list[int]):\n        for number in numbers:\n"
            "            product = self._product(number)\n            print(product)\n"
            "\n    def _product(self, number):\n        return self._peers.get(number)\n",
        )
    )
    assert "with ThreadPoolExecutor(max_workers=8) as pool:" in text
    assert "pool.submit(copy_context().run, self._product, number) for number in numbers" in text
    assert "from concurrent.futures import ThreadPoolExecutor\nfrom contextvars import copy_context\n" in text


@pytest.mark.parametrize(
    ("loop", "why"),
    [
        (
            "            product = await self._product(number)\n            if product:\n                break\n",
            "stop half-way",
        ),
        (
            "            product = await self._product(number + seen)\n            seen += 1\n",
            "needs what the loop computes",
        ),
        ("            product = await self._product(number)\n            return product\n", "stop half-way"),
    ],
)
def test_a_loop_that_needs_its_order_stays(tmp_path: Path, loop: str, why: str) -> None:
    body = f"    async def show(self, numbers: list[int], seen: int):\n        for number in numbers:\n{loop}"
    made = declined(fan_out(tmp_path, body + HELPER))
    assert why in made.why
    assert not made.refuted


def test_calls_that_write_and_bursts_stay(tmp_path: Path) -> None:
    body = (
        "    async def show(self, numbers: list[int]):\n        for number in numbers:\n"
        "            product = await self._product(number)\n            print(product)\n"
    )
    assert "order may matter" in declined(fan_out(tmp_path, body + HELPER, reads="")).why
    assert "burst" in declined(fan_out(tmp_path, body + HELPER, most="60")).why


def test_the_stack_leads_to_the_loop_in_another_file(tmp_path: Path) -> None:
    source = source_of(
        tmp_path,
        {
            "shop/pages.py": "from shop import peers\n\n\nasync def page(ids: list[int]):\n    found = []\n"
            "    for one in ids:\n        item = await peers.fetch(one)\n        found.append(item)\n"
            "    return found\n",
            "shop/peers.py": "async def fetch(one):\n    return await send(one)\n",
        },
    )
    stack = '  File "/app/shop/pages.py", line 7, in page\n  File "/app/shop/peers.py", line 2, in fetch'
    asked = finding("fan_out", CodePlace(path="shop/peers.py", line=2, function="fetch"), stack=stack, reads="yes")
    made = load_patchers().get("fan_out")(asked, source)
    assert "items = await asyncio.gather(*(peers.fetch(one) for one in ids))" in patched(made)
    assert isinstance(made, Patch)
    assert made.place == CodePlace(path="shop/pages.py", line=6, function="page")


def test_the_shops_own_loop_is_patched() -> None:
    made = load_patchers().get("fan_out")(
        finding(
            "fan_out",
            CodePlace(path="examples/shop/cart.py", function="examples.shop.cart.Carts._product"),
            endpoint="examples.shop.cart.Carts.show",
            endpoint_path="examples/shop/cart.py",
            reads="yes",
            most="4",
        ),
        shop_source(),
    )
    assert "products = await asyncio.gather(*(self._product(product_id) for product_id, _ in lines))" in patched(made)


def shop_source() -> Source:
    return Source(repository=Repository(name="shop", path=ROOT, services=("*",)), commit="")


# --- sequences that become one gather -----------------------------------------------------------------------------


def run_together(folder: Path, body: str) -> Patch | Declined:
    source = source_of(folder, {"shop/cart.py": HEAD + body})
    asked = finding(
        "run_together", CodePlace(path="shop/cart.py", function="shop.cart.Carts._offers"),
        first_path="shop/cart.py", first_function="shop.cart.user_by_id", first_line="0",
        endpoint="shop.cart.Carts.show", endpoint_path="shop/cart.py",
    )  # fmt: skip
    return load_patchers().get("run_together")(asked, source)


OFFERS = "\n    async def _offers(self, user_id):\n        return await self._peers.get(user_id)\n"


def test_two_independent_reads_are_gathered_and_the_check_between_them_stays(tmp_path: Path) -> None:
    text = patched(
        run_together(
            tmp_path,
            "    async def show(self, user_id):\n        user = await self._db.run(user_by_id, user_id)\n"
            "        if user is None:\n            raise LookupError(user_id)\n"
            "        offers = await self._offers(user_id)\n        return user, offers\n" + OFFERS,
        )
    )
    assert "user, offers = await asyncio.gather(self._db.run(user_by_id, user_id), self._offers(user_id))" in text
    assert text.index("gather") < text.index("if user is None")


@pytest.mark.parametrize(
    ("between", "argument", "why"),
    [
        ("", "user.group", "the second needs user"),
        ("        group = user.group\n", "user_id", "something happens between them"),
        ("        await self._log(user_id)\n", "user_id", "something happens between them"),
        ("        if offers_off(user):\n            offers = None\n", "user_id", "something happens between them"),
    ],
)
def test_a_sequence_that_is_not_proven_independent_is_refuted(
    tmp_path: Path, between: str, argument: str, why: str
) -> None:
    made = declined(
        run_together(
            tmp_path,
            f"    async def show(self, user_id):\n        user = await self._db.run(user_by_id, user_id)\n{between}"
            f"        offers = await self._offers({argument})\n        return user, offers\n" + OFFERS,
        )
    )
    assert made.refuted
    assert why in made.why


def test_only_functions_of_the_operation_are_looked_at(tmp_path: Path) -> None:
    made = run_together(
        tmp_path,
        "    async def show(self, user_id):\n        return await self._offers(user_id)\n"
        "\n    async def other(self, user_id):\n        user = await self._db.run(user_by_id, user_id)\n"
        "        offers = await self._offers(user_id)\n        return user, offers\n" + OFFERS,
    )
    assert declined(made).refuted


def test_the_shops_own_sequence_is_patched() -> None:
    asked = finding(
        "run_together", CodePlace(path="examples/shop/checkout.py", function="examples.shop.checkout.Checkout._cart"),
        first_path="examples/shop/checkout.py", first_function="examples.shop.checkout.customer_by_id", first_line="0",
        endpoint="examples.shop.checkout.Checkout.order", endpoint_path="examples/shop/checkout.py",
    )  # fmt: skip
    text = patched(load_patchers().get("run_together")(asked, shop_source()))
    assert "customer, cart = await asyncio.gather(" in text


# --- timeouts -----------------------------------------------------------------------------------------------------


def add_timeout(folder: Path, call: str, line: int = 2, confidence: float = 0.0) -> Patch | Declined:
    source = source_of(folder, {"a.py": f"def fetch(client, url):\n    return {call}\n"})
    asked = finding("add_timeout", CodePlace(path="a.py", line=line, function="fetch"), timeout_s="2")
    return load_patchers().get("add_timeout")(asked, source)


@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("client.send(url, timeout_s=None)", "client.send(url, timeout_s=2.0)"),
        ("client.send(url, timeout_ms=None)", "client.send(url, timeout_ms=2000)"),
        ("client.get(url, timeout=None)", "client.get(url, timeout=2.0)"),
        ("requests.get(url)", "requests.get(url, timeout=2.0)"),
        ("urlopen(url)", "urlopen(url, timeout=2.0)"),
    ],
)
def test_a_missing_timeout_is_given(tmp_path: Path, call: str, after: str) -> None:
    assert after in patched(add_timeout(tmp_path, call))


@pytest.mark.parametrize("call", ["client.send(url, timeout_s=LIMIT_S)", "requests.get(url, timeout=3)"])
def test_a_timeout_in_the_code_refutes_the_finding(tmp_path: Path, call: str) -> None:
    assert declined(add_timeout(tmp_path, call)).refuted


def test_code_that_says_nothing_of_timeouts_confirms_nothing(tmp_path: Path) -> None:
    assert declined(add_timeout(tmp_path, "client.send(url)")).refuted


# --- indexes ------------------------------------------------------------------------------------------------------

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS orders (\n    id TEXT PRIMARY KEY,\n    user_id TEXT NOT NULL,\n"
    "    placed_at REAL NOT NULL\n);\n"
    "CREATE TABLE customers (id TEXT PRIMARY KEY, mail TEXT);\n"
)


def create_index(folder: Path, statement: str, system: str = "sqlite", schema: str = SCHEMA) -> Patch | Declined:
    source = source_of(folder, {"sql/schema.sql": schema})
    place = CodePlace(path="shop/cart.py", line=9, function="orders_of")
    return load_patchers().get("create_index")(
        finding("create_index", place, statement=statement, system=system), source
    )


def test_the_planner_says_which_index_serves(tmp_path: Path) -> None:
    made = create_index(tmp_path, "SELECT id FROM orders WHERE user_id = ? ORDER BY placed_at DESC LIMIT ?")
    assert isinstance(made, Patch)
    added = "CREATE INDEX IF NOT EXISTS idx_orders_user_id_placed_at ON orders (user_id, placed_at);"
    assert added in made.files["sql/schema.sql"]
    assert "'SCAN orders; USE TEMP B-TREE FOR ORDER BY'" in made.says


def test_a_statement_that_uses_an_index_is_refuted(tmp_path: Path) -> None:
    assert declined(create_index(tmp_path, "SELECT mail FROM customers WHERE id = ?")).refuted


def test_a_pattern_that_no_index_serves_is_kept_with_other_advice(tmp_path: Path) -> None:
    made = declined(create_index(tmp_path, "SELECT id FROM customers WHERE lower(mail) LIKE '%' || ? || '%'"))
    assert not made.refuted
    assert made.helps_less
    assert "full-text" in made.advice


def test_other_systems_get_an_index_that_is_said_to_be_unchecked(tmp_path: Path) -> None:
    made = create_index(tmp_path, "SELECT id FROM orders WHERE user_id = $1", "postgresql")
    assert isinstance(made, Patch)
    assert "Not checked by a plan" in made.says
    assert declined(create_index(tmp_path, "SELECT id FROM orders WHERE id = $1", "postgresql")).refuted


def test_a_schema_in_a_python_string_is_edited_in_place(tmp_path: Path) -> None:
    source = source_of(tmp_path, {"stock.py": f'TABLES = """\n{SCHEMA}"""\n'}, schemas=("*.py",))
    place = CodePlace(path="shop/cart.py")
    asked = finding("create_index", place, statement="SELECT id FROM orders WHERE user_id = ?", system="sqlite")
    made = load_patchers().get("create_index")(asked, source)
    assert "CREATE INDEX IF NOT EXISTS idx_orders_user_id ON orders (user_id);" in patched(made)


@pytest.mark.parametrize(
    "statement", ["SELECT FROM WHERE", "", "SELECT a FROM t; DROP TABLE t", "SELECT 1 FROM nothing"]
)
def test_statements_that_cannot_be_read_give_no_patch(tmp_path: Path, statement: str) -> None:
    declined(create_index(tmp_path, statement))
