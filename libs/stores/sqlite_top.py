"""The best rows of many chunks: newest, oldest or slowest, without holding more than a few times the limit."""

from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from libs.contracts.columns import Int64Array

_SLACK: Final = 4  # rows are sorted again when four times the limit has gathered


class Order(StrEnum):
    """Which rows come first."""

    NEWEST = "newest"
    OLDEST = "oldest"
    SLOWEST = "slowest"


class TopRows:
    """Gathers (chunk, position) by a key and keeps the first `limit`.

    Args:
        order: newest and slowest keep the greatest keys, oldest the least.
        limit: Most rows.
    """

    def __init__(self, order: Order, limit: int) -> None:
        self._order = order
        self._limit = max(limit, 0)
        self._sign = 1 if order is Order.OLDEST else -1
        self._parts: list[npt.NDArray[np.int64]] = []
        self._size = 0
        self._worst: int | None = None

    def add(self, keys: Int64Array, chunk: int, positions: npt.NDArray[np.intp]) -> None:
        """Add rows of a chunk."""
        if not len(keys):
            return
        part = np.empty((len(keys), 3), np.int64)
        part[:, 0], part[:, 1], part[:, 2] = keys * self._sign, chunk, positions
        self._parts.append(part)
        self._size += len(part)
        if self._size >= self._limit and (self._worst is None or self._size > _SLACK * self._limit):
            self._compact()

    def is_beyond(self, min_ns: int, max_ns: int) -> bool:
        """Whether no row of this chunk, nor of any later one in the order, can be among the first `limit`."""
        if self._order is Order.SLOWEST or self._worst is None:
            return self._limit == 0
        return (min_ns if self._order is Order.OLDEST else -max_ns) > self._worst

    def rows(self) -> list[tuple[int, int]]:
        """Chunk and position of the first `limit` rows, in order; equal keys by chunk and position."""
        if not self._parts:
            return []
        self._compact()
        return [(chunk, position) for _, chunk, position in self._parts[0].tolist()]

    def _compact(self) -> None:
        every = np.concatenate(self._parts)
        kept = every[np.lexsort((every[:, 2], every[:, 1], every[:, 0]))][: self._limit]
        self._parts, self._size = [kept], len(kept)
        if len(kept) == self._limit and self._limit:
            self._worst = int(kept[-1, 0])
