"""A fixed number of orders at once, the others in a queue of bounded length: the bank allows no more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from examples.shop.failures import Overloaded
from examples.shop.occupancy import Occupancy


class OrderDesk:
    """Lets callers in first come, first served."""

    def __init__(self, size: int, *, longest_queue: int) -> None:
        self.occupancy = Occupancy(size)
        self._free = asyncio.Semaphore(size)
        self._longest_queue = longest_queue

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it.

        Raises:
            Overloaded: the queue is full.
        """
        if self.occupancy.queued >= self._longest_queue:
            raise Overloaded(f"{self._longest_queue} orders wait already")
        self.occupancy.move(queued=1)
        try:
            await self._free.acquire()
        finally:
            self.occupancy.move(queued=-1)
        self.occupancy.move(busy=1)
        try:
            yield
        finally:
            self.occupancy.move(busy=-1)
            self._free.release()
