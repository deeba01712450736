from typing import Any

import pytest

from examples.shop.coupons import MAX_COUPONS_PER_CHUNK, MAX_PERCENT, CouponDesk
from examples.shop.failures import Refused

TODAY = "2030-06-01"


def coupon(user_id: str, percent: int, valid_until: str = "2030-12-31") -> dict[str, Any]:
    return {"user_id": user_id, "percent": percent, "valid_until": valid_until}


def desk_with(*coupons: object) -> CouponDesk:
    desk = CouponDesk()
    desk.open_import("i", "partner")
    desk.add_chunk("i", coupons)
    return desk


def test_the_best_valid_coupon_of_a_user_counts() -> None:
    desk = desk_with(coupon("u-1", 5), coupon("U-1", 12), coupon("u-1", 40, "2030-05-31"), coupon("u-2", 30))
    assert desk.best_percent("u-1", TODAY) == 12


def test_no_coupon_is_no_discount() -> None:
    assert CouponDesk().best_percent("u-1", TODAY) == 0


def test_a_discount_has_a_limit() -> None:
    assert desk_with(coupon("u-1", 400)).best_percent("u-1", TODAY) == MAX_PERCENT


def test_every_chunk_of_an_open_import_is_kept() -> None:
    desk = CouponDesk()
    desk.open_import("i", "partner")
    assert [desk.add_chunk("i", [coupon("u-1", 1)] * 10) for _ in range(3)] == [10, 20, 30]


@pytest.mark.parametrize(
    ("coupons", "status"),
    [
        ([7], 422),
        ([{"percent": 1, "valid_until": TODAY}], 422),
        ([{"user_id": "u-1", "percent": "1", "valid_until": TODAY}], 422),
        ([{"user_id": "u-1", "percent": 1}], 422),
        ([{}] * (MAX_COUPONS_PER_CHUNK + 1), 413),
    ],
)
def test_malformed_coupons_are_refused(coupons: list[object], status: int) -> None:
    desk = CouponDesk()
    desk.open_import("i", "partner")
    with pytest.raises(Refused) as refusal:
        desk.add_chunk("i", coupons)
    assert refusal.value.status == status


def test_an_import_that_a_restart_has_forgotten_is_refused() -> None:
    with pytest.raises(Refused, match="no such import"):
        CouponDesk().add_chunk("i", [])
