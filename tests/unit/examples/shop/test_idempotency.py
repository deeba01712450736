import asyncio

import pytest

from examples.shop.idempotency import KeyReused, Once


class Counter:
    def __init__(self, *, failing: int = 0) -> None:
        self.done = 0
        self._failing = failing

    async def __call__(self) -> int:
        self.done += 1
        await asyncio.sleep(0)
        if self.done <= self._failing:
            raise ConnectionError
        return self.done


def test_the_same_key_acts_once_and_gives_the_same_result() -> None:
    async def scenario() -> None:
        once: Once[int] = Once()
        act = Counter()
        assert await once.do("k", "deploy", act) == (1, False)
        assert await once.do("k", "deploy", act) == (1, True)
        assert act.done == 1

    asyncio.run(scenario())


def test_two_callers_at_the_same_time_act_once() -> None:
    async def scenario() -> None:
        once: Once[int] = Once()
        act = Counter()
        results = await asyncio.gather(*(once.do("k", "deploy", act) for _ in range(5)))
        assert [result for result, _ in results] == [1] * 5
        assert act.done == 1

    asyncio.run(scenario())


def test_no_key_always_acts() -> None:
    async def scenario() -> None:
        once: Once[int] = Once()
        act = Counter()
        assert [await once.do("", "deploy", act) for _ in range(2)] == [(1, False), (2, False)]

    asyncio.run(scenario())


def test_a_key_for_something_else_is_refused() -> None:
    async def scenario() -> None:
        once: Once[int] = Once()
        await once.do("k", "deploy", Counter())
        with pytest.raises(KeyReused):
            await once.do("k", "restart", Counter())

    asyncio.run(scenario())


def test_a_failure_is_not_remembered() -> None:
    async def scenario() -> None:
        once: Once[int] = Once()
        act = Counter(failing=1)
        with pytest.raises(ConnectionError):
            await once.do("k", "deploy", act)
        await asyncio.sleep(0)
        assert await once.do("k", "deploy", act) == (2, False)

    asyncio.run(scenario())


def test_the_oldest_keys_are_forgotten_first() -> None:
    async def scenario() -> None:
        once: Once[int] = Once(remembered=2)
        act = Counter()
        for key in ("a", "b", "c"):
            await once.do(key, "deploy", act)
        assert (await once.do("c", "deploy", act))[1]
        assert not (await once.do("a", "deploy", act))[1]

    asyncio.run(scenario())
