"""Coupons that partners import in parts, and the best one for a user.

An import stays open, with all its parts in memory, until the partner completes it; nothing ends one that the partner
forgets. Every price looks through all of them. Both are harmless at a few imports a day.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from examples.shop.failures import Refused

MAX_COUPONS_PER_CHUNK = 10_000
MAX_PERCENT = 50


@dataclass(slots=True, kw_only=True)
class OpenImport:
    """One import that its partner has not completed."""

    partner: str
    chunks: list[list[dict[str, Any]]] = field(default_factory=list)


class CouponDesk:
    """Takes imports and finds coupons."""

    def __init__(self) -> None:
        self._open: dict[str, OpenImport] = {}

    def open_import(self, import_id: str, partner: str) -> None:
        """Start an import."""
        self._open[import_id] = OpenImport(partner=partner)

    def add_chunk(self, import_id: str, coupons: Sequence[object]) -> int:
        """Keep a part of an import; returns how many coupons the import has now.

        Raises:
            Refused: the import is unknown here, or a coupon is malformed.
        """
        known = self._open.get(import_id)
        if known is None:
            raise Refused(404, "no such import: open one first")
        if len(coupons) > MAX_COUPONS_PER_CHUNK:
            raise Refused(413, f"more than {MAX_COUPONS_PER_CHUNK} coupons in one part")
        checked: list[dict[str, Any]] = []
        for coupon in coupons:
            if not isinstance(coupon, dict) or not isinstance(coupon.get("user_id"), str):
                raise Refused(422, "a coupon needs a user_id")
            if type(coupon.get("percent")) is not int or not isinstance(coupon.get("valid_until"), str):
                raise Refused(422, "a coupon needs a whole number of percent and a day until which it is valid")
            checked.append(coupon)
        known.chunks.append(checked)
        return sum(len(chunk) for chunk in known.chunks)

    def best_percent(self, user_id: str, today: str) -> int:
        """The largest discount that any open import promises the user on a day (ISO 8601); 0 for none."""
        wanted = user_id.casefold()
        best = 0
        for known in self._open.values():
            for chunk in known.chunks:
                for coupon in chunk:
                    if coupon["valid_until"] >= today and coupon["user_id"].casefold() == wanted:
                        best = max(best, coupon["percent"])
        return min(best, MAX_PERCENT)
