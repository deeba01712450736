import json
import random

import pytest

from examples.shop.journeys import (
    BUYERS_RATIO,
    COUPONS_PER_CHUNK,
    REQUESTS_PER_SESSION,
    draw_sale_session,
    draw_session,
    import_chunk,
)
from examples.shop.load import Current


def test_the_same_seed_sends_the_same_users() -> None:
    def visits(seed: int) -> list[object]:
        draw = random.Random(seed)
        return [draw_session(draw) for _ in range(50)]

    assert visits(1) == visits(1)
    assert visits(1) != visits(2)


def test_the_mean_visit_is_as_long_as_the_rate_is_reckoned_with() -> None:
    draw = random.Random(3)
    visits = [draw_session(draw) for _ in range(20_000)]
    mean = sum(len(visit.steps) for visit in visits) / len(visits)
    assert mean == pytest.approx(REQUESTS_PER_SESSION, rel=0.02)
    buyers = sum(any(step.name == "checkout" for step in visit.steps) for visit in visits) / len(visits)
    assert buyers == pytest.approx(BUYERS_RATIO, abs=0.02)


def test_a_pause_lies_between_every_two_steps() -> None:
    draw = random.Random(4)
    for visit in [draw_session(draw) for _ in range(200)] + [draw_sale_session(draw) for _ in range(20)]:
        assert len(visit.pauses_s) == len(visit.steps) - 1


def test_a_sale_multiplies_the_checkouts() -> None:
    plan = Current(rate_per_s=12.0, sale_factor=4.0)
    ordinary_per_s = plan.sessions_per_s * BUYERS_RATIO
    assert ordinary_per_s + plan.sales_per_s == pytest.approx(4 * ordinary_per_s)


def test_a_partner_sends_full_chunks_that_change_no_price() -> None:
    coupons = json.loads(import_chunk("i", random.Random(5)).body)["coupons"]
    assert len(coupons) == COUPONS_PER_CHUNK
    assert {coupon["percent"] for coupon in coupons} == {0}
