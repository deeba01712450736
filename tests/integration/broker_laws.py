"""Laws that every broker keeps; a test class mixes them in and says how to reach one (see test_embedded_broker.py)."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest

from libs.contracts.codec import Codec
from libs.contracts.records import Record
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from libs.errors import InvalidMessage, Unavailable
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.streaming.broker import Broker, Consumer, RawMessage
from libs.streaming.dead_letters import TooManyRefused
from libs.streaming.handler import Emit, Event
from libs.streaming.loop import Loop, LoopOptions, LoopState

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TOPIC = "changes"
CODEC = Codec()


def change(number: int) -> ChangeEvent:
    return ChangeEvent(id=str(number), kind=ChangeKind.DEPLOY, service="cart", timestamp=NOON)


def send(broker: Broker, values: Sequence[bytes | None]) -> None:
    producer = broker.producer()
    for value in values:
        producer.send(TOPIC, key=b"cart", value=value, headers=[("origin", b"test")])
    producer.flush()
    producer.close()


def encoded(*numbers: int) -> list[bytes | None]:
    return [CODEC.encode(TOPIC, change(number)) for number in numbers]


def eventually(condition: Callable[[], bool], timeout_s: float = 20.0, look_s: float = 0.01) -> None:
    """Wait for a condition, looking every so often; fails when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        threading.Event().wait(look_s)


def read(consumer: Consumer, count: int, timeout_s: float = 20.0) -> list[RawMessage]:
    found: list[RawMessage] = []
    deadline = time.monotonic() + timeout_s
    while len(found) < count and time.monotonic() < deadline:
        found += consumer.poll(100, 0.1)
    return found


class Recorder:
    """A handler that remembers, and misbehaves on request."""

    subscriptions = (TOPIC,)

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.unavailable = threading.Event()
        self.attempts = 0
        self.poison: dict[str, Exception] = {}

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        self.attempts += 1
        if self.unavailable.is_set():
            raise Unavailable("the store is down")
        for event in events:
            assert isinstance(event.record, ChangeEvent)
            if event.record.id in self.poison:
                raise self.poison[event.record.id]
        ids = [str(getattr(event.record, "id", "")) for event in events]
        self.seen += ids
        return [Emit(topic="commands", key=i, record=command(i)) for i in ids]

    def tick(self, now: datetime) -> Sequence[Emit]:
        return ()

    def close(self) -> None:
        pass


def command(target: str) -> Record:
    from libs.contracts.command import Command, CommandKind

    return Command(id=target, kind=CommandKind.COMMENT, target=target, actor="test", issued_at=NOON)


class Running:
    """A loop in a thread; its error, if any, is kept."""

    def __init__(self, broker: Broker, handler: Recorder, group: str) -> None:
        self.metrics = ServiceMetrics()
        self.loop = Loop(
            handler,
            broker,
            CODEC,
            LoopOptions(group=group, poll_s=0.05, lag_every_s=0.1),
            log=Logger("test", level="error"),
            metrics=self.metrics,
        )
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.loop.run()
        except TooManyRefused as error:
            self.error = error

    def join(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.stop()
        self.join()


def lag_of(running: Running) -> float | None:
    """Lag of the topic's first partition as a scrape of /metrics would show it."""
    labels = {"topic": TOPIC, "partition": "0"}
    return running.metrics.registry.get_sample_value("paramedic_consumer_lag_messages", labels)


class BrokerLaws:
    """Mix in and provide fixtures `broker` (a Broker with empty topics) and `group` (a fresh group name)."""

    @pytest.fixture
    def group(self) -> str:
        return f"laws-{uuid.uuid4()}"

    def test_messages_of_one_key_arrive_in_order_with_key_and_headers(self, broker: Broker, group: str) -> None:
        send(broker, [str(n).encode() for n in range(50)])
        consumer = broker.consumer(group, [TOPIC])
        found = read(consumer, 50)
        consumer.close()
        assert [message.value for message in found] == [str(n).encode() for n in range(50)]
        assert {message.key for message in found} == {b"cart"}
        assert found[0].headers == (("origin", b"test"),)

    def test_what_is_not_committed_is_delivered_again(self, broker: Broker, group: str) -> None:
        send(broker, [b"a", b"b", b"c"])
        first = broker.consumer(group, [TOPIC])
        found = read(first, 3)
        first.commit({(TOPIC, found[0].partition): found[0].offset + 1})
        first.close()
        second = broker.consumer(group, [TOPIC])
        again = read(second, 2)
        second.close()
        assert [message.value for message in again] == [b"b", b"c"]

    def test_a_paused_consumer_gets_nothing_and_keeps_its_membership(self, broker: Broker, group: str) -> None:
        consumer = broker.consumer(group, [TOPIC])
        eventually(lambda: bool(consumer.poll(1, 0.05)) or bool(consumer.assignment()))
        consumer.pause()
        send(broker, [b"a"])
        assert consumer.poll(10, 0.3) == []
        consumer.resume()
        assert [message.value for message in read(consumer, 1)] == [b"a"]
        consumer.close()

    def test_a_topic_is_read_to_its_end_outside_any_group(self, broker: Broker) -> None:
        assert broker.read_to_end([TOPIC]) == []
        send(broker, [b"a", b"b"])
        assert [message.value for message in broker.read_to_end([TOPIC])] == [b"a", b"b"]

    def test_a_message_too_large_is_refused_at_once(self, broker: Broker) -> None:
        producer = broker.producer()
        with pytest.raises(InvalidMessage, match="too large"):
            producer.send(TOPIC, key=None, value=b"x" * 9_000_000)
        producer.close()

    def test_handled_messages_are_emitted_and_committed(self, broker: Broker, group: str) -> None:
        handler = Recorder()
        send(broker, encoded(1, 2, 3))
        with Running(broker, handler, group):
            eventually(lambda: handler.seen == ["1", "2", "3"])
            eventually(lambda: len(broker.read_to_end(["commands"])) == 3)
        again = Recorder()
        with Running(broker, again, group) as running:
            eventually(lambda: running.loop.state is LoopState.READY)
            send(broker, encoded(4))
            eventually(lambda: again.seen == ["4"])

    def test_a_malformed_message_becomes_a_dead_letter_and_the_rest_goes_on(self, broker: Broker, group: str) -> None:
        handler = Recorder()
        (good_1, good_2) = encoded(1, 2)
        send(broker, [good_1, b"\x00garbage", None, good_2])
        with Running(broker, handler, group):
            eventually(lambda: handler.seen == ["1", "2"])
            eventually(lambda: len(broker.read_to_end([f"{TOPIC}-dlq"])) == 2)
        letter = broker.read_to_end([f"{TOPIC}-dlq"])[0]
        headers = dict(letter.headers)
        assert letter.value == b"\x00garbage"
        assert headers["origin"] == b"test"
        assert headers["error.type"] == b"InvalidMessage"
        assert headers["paramedic.offset"] == b"1"

    def test_a_bug_is_isolated_to_its_one_message(self, broker: Broker, group: str) -> None:
        handler = Recorder()
        handler.poison["2"] = ZeroDivisionError("a bug")
        send(broker, encoded(1, 2, 3))
        with Running(broker, handler, group):
            eventually(lambda: {"1", "3"} <= set(handler.seen))
            eventually(lambda: len(broker.read_to_end([f"{TOPIC}-dlq"])) == 1)
        letter = broker.read_to_end([f"{TOPIC}-dlq"])[0]
        assert letter.value == encoded(2)[0]
        assert b"ZeroDivisionError: a bug" in dict(letter.headers)["error.stack_trace"]
        assert "2" not in handler.seen

    def test_an_outage_of_a_dependency_holds_the_offset(self, broker: Broker, group: str) -> None:
        handler = Recorder()
        handler.unavailable.set()
        send(broker, encoded(1))
        with Running(broker, handler, group) as running:
            eventually(lambda: running.loop.state is LoopState.HELD)
            assert running.loop.reason == "the store is down"
            eventually(lambda: handler.attempts >= 3)
            assert handler.seen == []
        handler.unavailable.clear()
        with Running(broker, handler, group):
            eventually(lambda: handler.seen == ["1"])
        assert broker.read_to_end([f"{TOPIC}-dlq"]) == []

    def test_a_held_service_goes_on_by_itself(self, broker: Broker, group: str) -> None:
        handler = Recorder()
        handler.unavailable.set()
        send(broker, encoded(1))
        with Running(broker, handler, group) as running:
            eventually(lambda: running.loop.state is LoopState.HELD)
            handler.unavailable.clear()
            eventually(lambda: handler.seen == ["1"])
            eventually(lambda: running.loop.state is LoopState.READY)

    def test_the_lag_of_a_service_is_what_waits_in_the_topic_even_while_it_is_held(
        self, broker: Broker, group: str
    ) -> None:
        handler = Recorder()
        send(broker, encoded(1, 2))
        with Running(broker, handler, group) as running:
            eventually(lambda: handler.seen == ["1", "2"])
            eventually(lambda: lag_of(running) == 0)
            handler.unavailable.set()
            send(broker, encoded(3))
            eventually(lambda: running.loop.state is LoopState.HELD)
            send(broker, encoded(4, 5))
            eventually(lambda: lag_of(running) == 3)
            handler.unavailable.clear()
            eventually(lambda: lag_of(running) == 0)

    def test_mostly_refused_input_stops_the_service(self, broker: Broker, group: str) -> None:
        handler = Recorder()
        send(broker, [b"garbage"] * 80)
        running = Running(broker, handler, group)
        running.join()
        assert isinstance(running.error, TooManyRefused)
        assert running.loop.state is LoopState.STOPPED
