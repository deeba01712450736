import asyncio

import pytest

from examples.shop.failures import Overloaded
from examples.shop.order_desk import OrderDesk


def test_no_more_than_its_size_are_served_at_once() -> None:
    async def scenario() -> None:
        desk = OrderDesk(2, longest_queue=10)
        serving, most = 0, 0

        async def order() -> None:
            nonlocal serving, most
            async with desk.place():
                serving += 1
                most = max(most, serving)
                await asyncio.sleep(0)
                serving -= 1

        await asyncio.gather(*(order() for _ in range(8)))
        assert most == 2
        assert desk.occupancy.queued == 0

    asyncio.run(scenario())


def test_a_full_queue_refuses() -> None:
    async def scenario() -> None:
        desk = OrderDesk(1, longest_queue=1)
        release = asyncio.Event()

        async def order() -> None:
            async with desk.place():
                await release.wait()

        held = [asyncio.create_task(order()) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Overloaded):
            await order()
        release.set()
        await asyncio.gather(*held)

    asyncio.run(scenario())


def test_a_caller_who_gives_up_leaves_the_queue() -> None:
    async def scenario() -> None:
        desk = OrderDesk(1, longest_queue=1)
        async with desk.place():
            waiting = asyncio.create_task(_enter(desk))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert desk.occupancy.queued == 0

    asyncio.run(scenario())


async def _enter(desk: OrderDesk) -> None:
    async with desk.place():
        pass
