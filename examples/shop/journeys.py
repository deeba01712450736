"""What users do in the shop, as sequences of steps drawn from a seeded generator."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass

from examples.shop.stock_room import ADJECTIVES, NOUNS, PRODUCTS, USERS, user_id

PARTNER = "partner-acme"
COUPONS_PER_CHUNK = 6000  # 0.8 MB on the wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One request of a user.

    Attributes:
        name: For the statistics.
        method: HTTP method.
        path: Path and query.
        body: JSON; b"" for none.
    """

    name: str
    method: str
    path: str
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One user's visit: steps with a pause before each but the first."""

    user: str
    steps: tuple[Step, ...]
    pauses_s: tuple[float, ...]


# visits: 30 % look around, 25 % search, 45 % buy, and every other buyer looks at the order; 3.775 requests in the mean
_BROWSE, _SEARCH = 0.30, 0.25
REQUESTS_PER_SESSION = 0.30 * 3 + 0.25 * 2.5 + 0.45 * 5.0
BUYERS_RATIO = 1 - _BROWSE - _SEARCH


def draw_session(draw: random.Random) -> Session:
    """An ordinary visit."""
    kind = draw.random()
    if kind < _BROWSE:
        steps = [_list(draw), _product(draw), _product(draw)]
    elif kind < _BROWSE + _SEARCH:
        steps = [_search(draw), _product(draw)] + ([_search(draw)] if draw.random() < 0.5 else [])
    else:
        more = [_add(draw)] if draw.random() < 0.5 else []
        after = [_ORDERS] if draw.random() < 0.5 else []
        steps = [_product(draw), _add(draw), *more, _CART, _CHECKOUT, *after]
    return _session(draw, steps, pause_s=0.6)


def draw_sale_session(draw: random.Random) -> Session:
    """A visit through the link in the sale's newsletter: one product, straight to the till."""
    return _session(draw, [_add(draw), _CHECKOUT], pause_s=0.2)


def open_import() -> Step:
    """A partner announces coupons."""
    return Step(name="import", method="POST", path="/partners/coupons", body=json.dumps({"partner": PARTNER}).encode())


def import_chunk(import_id: str, draw: random.Random) -> Step:
    """A partner sends coupons; none of them is worth anything, so prices stay as they are."""
    coupons = [
        {
            "code": f"SPRING-{draw.getrandbits(40):010x}",
            "user_id": user_id(draw.randint(1, USERS)),
            "percent": 0,
            "valid_until": "2099-12-31",
            "note": f"spring campaign, wave {draw.getrandbits(20)}",
        }
        for _ in range(COUPONS_PER_CHUNK)
    ]
    body = json.dumps({"coupons": coupons}).encode()
    return Step(name="import", method="POST", path=f"/partners/coupons/{import_id}", body=body)


def _session(draw: random.Random, steps: Sequence[Step], *, pause_s: float) -> Session:
    pauses_s = tuple(draw.uniform(0.5, 1.5) * pause_s for _ in steps[1:])
    return Session(user=user_id(draw.randint(1, USERS)), steps=tuple(steps), pauses_s=pauses_s)


_CART = Step(name="cart", method="GET", path="/cart")
_ORDERS = Step(name="orders", method="GET", path="/orders")
_CHECKOUT = Step(name="checkout", method="POST", path="/checkout", body=b"{}")


def _list(draw: random.Random) -> Step:
    return Step(
        name="list",
        method="GET",
        path=f"/products?category={draw.choice(NOUNS)}&after={draw.randrange(PRODUCTS)}",
    )


def _search(draw: random.Random) -> Step:
    return Step(name="search", method="GET", path=f"/search?q={draw.choice(NOUNS)}+{draw.choice(ADJECTIVES)}")


def _product(draw: random.Random) -> Step:
    return Step(name="product", method="GET", path=f"/products/{_popular(draw)}")


def _add(draw: random.Random) -> Step:
    body = json.dumps({"product_id": _popular(draw), "quantity": draw.randint(1, 3)}).encode()
    return Step(name="add", method="POST", path="/cart/lines", body=body)


def _popular(draw: random.Random) -> int:
    """Few products are looked at by many: a Pareto rank; the first one gets 2 % of the looks."""
    return min(int(30 * (draw.paretovariate(0.7) - 1)), PRODUCTS - 1)
