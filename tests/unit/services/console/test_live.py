"""Live events: what open pages are told, and what happens to pages that do not listen."""

import asyncio
import json
import threading
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest

from libs.contracts.codec import Codec
from libs.contracts.records import RECORDS, Record
from libs.contracts.topics import INCIDENTS, INVESTIGATIONS, REMEDIATIONS
from libs.errors import ConfigurationError, Unavailable
from libs.observability.log import Logger
from services.console.live import EVERYTHING, MOST_LISTENERS, QUEUE, TOPICS, Feed, Hub, LiveEvent, event_of
from tests.unit.services.console import filled


def data(line: str) -> dict[str, Any]:
    assert line.startswith("data: ")
    assert line.endswith("\n\n")
    assert line.count("\n") == 2
    fields: dict[str, Any] = json.loads(line.removeprefix("data: "))
    return fields


@pytest.mark.parametrize(
    ("topic", "record", "incident"),
    [
        (INCIDENTS, filled.a_core(title="broken\n\ndata: x"), "incident-42"),
        (INVESTIGATIONS, filled.an_investigation(), "incident-42"),
        (REMEDIATIONS, filled.a_run(), "incident-42"),
    ],
)
def test_every_topic_that_is_read_becomes_one_event(topic: str, record: Record, incident: str) -> None:
    event = event_of(topic, record)
    assert event is not None
    assert data(event.line())["incident"] == incident
    assert topic in TOPICS


def test_other_records_are_no_events() -> None:
    assert event_of("anomalies", filled.an_anomaly()) is None
    assert len(RECORDS) > len(TOPICS)


def run(scenario: Callable[[Hub], Any]) -> None:
    asyncio.run(asyncio.wait_for(scenario(Hub()), 10.0))


def test_every_open_page_hears_an_event_and_the_end() -> None:
    async def scenario(hub: Hub) -> None:
        streams = [hub.stream(hub.join()) for _ in range(3)]
        for stream in streams:
            assert (await anext(stream)).startswith("retry: 2000")
        await asyncio.to_thread(hub.publish, LiveEvent(topic=INCIDENTS, incident="i"))
        for stream in streams:
            assert data(await anext(stream))["incident"] == "i"
        await asyncio.to_thread(hub.close)
        for stream in streams:
            assert [line async for line in stream] == []
        assert hub.listeners == 0

    run(scenario)


def test_a_page_that_goes_is_forgotten() -> None:
    async def scenario(hub: Hub) -> None:
        stream = hub.stream(hub.join())
        await anext(stream)
        assert hub.listeners == 1
        await stream.aclose()  # type: ignore[attr-defined]  # an async generator
        assert hub.listeners == 0

    run(scenario)


def test_a_page_that_lags_is_told_to_fetch_everything_instead_of_filling_memory() -> None:
    async def scenario(hub: Hub) -> None:
        queue = hub.join()
        for number in range(10 * QUEUE):
            hub.publish(LiveEvent(topic=INCIDENTS, incident=str(number)))
        await asyncio.sleep(0)
        assert queue.qsize() <= QUEUE + 1
        kept = [queue.get_nowait() for _ in range(queue.qsize())]
        assert EVERYTHING in kept
        assert kept[-1] == LiveEvent(topic=INCIDENTS, incident=str(10 * QUEUE - 1))

    run(scenario)


def test_too_many_pages_are_refused() -> None:
    async def scenario(hub: Hub) -> None:
        for _ in range(MOST_LISTENERS):
            hub.join()
        with pytest.raises(Unavailable, match="200 pages"):
            hub.join()

    run(scenario)


def test_an_event_for_a_page_whose_loop_has_ended_is_dropped() -> None:
    hub = Hub()

    async def leave() -> None:
        hub.join()

    asyncio.run(leave())
    hub.publish(EVERYTHING)
    assert hub.listeners == 0


class _LateBroker:
    """A cluster that is not there at first, then gives out its topics, then goes."""

    def __init__(self) -> None:
        self.asked = 0
        self.gone = threading.Event()

    def consumer(self, *_: Any, **__: Any) -> "_LateBroker":
        self.asked += 1
        return self

    def poll(self, *_: Any) -> list[Any]:
        if self.gone.wait(0.01):
            raise Unavailable("the broker went away")
        return []

    def assignment(self) -> list[tuple[str, int]]:
        return [(TOPICS[0], 0)]

    def close(self) -> None:
        """Nothing is held."""


def test_a_broker_that_comes_late_is_heard_and_one_that_goes_is_said() -> None:
    broker, missing = _LateBroker(), [ConfigurationError("no embedded broker is running")]
    lost = threading.Semaphore(0)

    def find() -> Any:
        if missing:
            raise missing.pop()
        return broker

    feed = Feed(find, Codec(), lambda _: None, Logger("console", stream=StringIO()), lost=lost.release)
    feed.start()
    try:
        assert lost.acquire(timeout=10.0)
        assert feed.reason == "no embedded broker is running"
        assert feed.listening.wait(10.0)
        broker.gone.set()
        assert lost.acquire(timeout=10.0)
        assert feed.reason == "the broker went away"
    finally:
        feed.stop()


def test_an_interrupted_page_asks_again() -> None:
    async def scenario(hub: Hub) -> None:
        stream = hub.stream(hub.join())
        assert (await anext(stream)).startswith("retry")
        hub.interrupt()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        hub.join()

    run(scenario)
