"""Do what was asked once, however often it is asked with the same key."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_REMEMBERED = 1000


class KeyReused(Exception):
    """The key was used before for something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept(Generic[T]):
    fingerprint: str
    outcome: asyncio.Future[T]


class Once(Generic[T]):
    """Remembers the outcomes of the last thousand keys; a failure that raises is not remembered."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._kept: OrderedDict[str, _Kept[T]] = OrderedDict()
        self._remembered = remembered

    async def do(self, key: str, fingerprint: str, act: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        """The outcome of `act` and whether it is a repetition; a second caller waits for the first.

        Args:
            key: What the caller calls this wish; "" for no key, which always acts.
            fingerprint: What is wished for.
            act: Does it.

        Raises:
            KeyReused: the key stands for another fingerprint.
        """
        if not key:
            return await act(), False
        known = self._kept.get(key)
        if known is not None:
            if known.fingerprint != fingerprint:
                raise KeyReused(f"Idempotency-Key {key!r} was used for another request")
            return await asyncio.shield(known.outcome), True
        # a task of its own: a caller that hangs up does not leave the work half done
        outcome: asyncio.Future[T] = asyncio.ensure_future(act())
        self._kept[key] = _Kept(fingerprint=fingerprint, outcome=outcome)
        while len(self._kept) > self._remembered:
            self._kept.popitem(last=False)
        outcome.add_done_callback(lambda done: self._forget_failure(key, done))
        return await asyncio.shield(outcome), False

    def _forget_failure(self, key: str, done: asyncio.Future[T]) -> None:
        if done.cancelled() or done.exception() is not None:
            self._kept.pop(key, None)
