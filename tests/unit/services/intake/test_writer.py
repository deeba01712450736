"""The writer answers success only for what the broker acknowledged, and a request that failed can be sent again."""

import asyncio
import threading
from collections.abc import Awaitable, Iterator, Sequence
from typing import cast

import pytest

from libs.contracts.batch_rows import metric_points
from libs.contracts.codec import Codec
from libs.contracts.telemetry import MetricBatch
from libs.errors import InvalidMessage, Unavailable
from libs.observability.metrics import ServiceMetrics
from libs.streaming.broker import Broker
from services.intake.decode.formats import PROTOBUF
from services.intake.normalise.normaliser import Normaliser
from services.intake.signals import Accepted, Signal
from services.intake.writer import Received, RequestWriter
from tests.unit.services.intake.requests import NOON, Request, counter, gauge, metrics

CODEC = Codec()


class FakeBroker:
    """A broker and its producer in memory: it can be down, and its queue has room for `room` messages."""

    def __init__(self) -> None:
        self.is_down = False
        self.room = 1_000
        self.flushes = 0
        self.queued: list[bytes] = []
        self.written: list[bytes] = []
        self.may_flush = threading.Event()
        self.may_flush.set()

    def producer(self) -> "FakeBroker":
        return self

    def topic_names(self, timeout_s: float = 5.0) -> frozenset[str]:
        if self.is_down:
            raise Unavailable("no broker")
        return frozenset()

    def connect(self, topic: str, timeout_s: float) -> None:
        """It is connected."""

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        if len(self.queued) >= self.room:
            raise Unavailable("queue is full")
        self.queued.append(value or b"")

    def flush(self, timeout_s: float = 30.0) -> None:
        assert self.may_flush.wait(20)
        self.flushes += 1
        queued, self.queued = self.queued, []
        if self.is_down:
            raise Unavailable("not acknowledged")
        self.written += queued

    def close(self) -> None:
        pass

    def values(self) -> list[float]:
        found = []
        for payload in self.written:
            batch = CODEC.decode("telemetry-metrics", payload)
            assert isinstance(batch, MetricBatch)
            found += [value for _, _, value in metric_points(batch)]
        return found


@pytest.fixture
def broker() -> FakeBroker:
    return FakeBroker()


@pytest.fixture
def writer(broker: FakeBroker) -> Iterator[RequestWriter]:
    writer = RequestWriter(Normaliser(), cast(Broker, broker), CODEC, lambda: NOON, ServiceMetrics(), flush_s=1.0)
    yield writer
    writer.close()


def received(request: Request) -> Received:
    return Received(signal=Signal.METRICS, body=request.SerializeToString(), content_type=PROTOBUF)


def write(writer: RequestWriter, request: Request) -> Accepted:
    return asyncio.run(writer.write(received(request)))


def recover(writer: RequestWriter) -> None:
    """Let the probe run until it found the broker, or once when it does not."""

    async def probe() -> None:
        stop = asyncio.Event()
        probing = asyncio.create_task(writer.probe_while_down(stop))
        await asyncio.sleep(0)
        stop.set()
        await probing

    asyncio.run(probe())


def test_a_request_is_written_before_it_is_answered(writer: RequestWriter, broker: FakeBroker) -> None:
    assert write(writer, metrics(gauge(1.5))).accepted == 1
    assert broker.values() == [1.5]


def test_rates_are_not_lost_when_the_broker_is_down_for_a_while(writer: RequestWriter, broker: FakeBroker) -> None:
    write(writer, metrics(counter(0, 0)))
    broker.is_down = True
    for _ in range(2):
        with pytest.raises(Unavailable):
            write(writer, metrics(counter(10, 10)))
    assert writer.down
    broker.is_down = False
    recover(writer)
    assert writer.down == ""
    write(writer, metrics(counter(10, 10)))
    assert broker.values() == [1.0]


def test_while_the_broker_is_down_nothing_more_is_queued(writer: RequestWriter, broker: FakeBroker) -> None:
    broker.is_down = True
    with pytest.raises(Unavailable):
        write(writer, metrics(gauge(1)))
    flushes = broker.flushes
    recover(writer)
    assert writer.down
    for _ in range(5):
        with pytest.raises(Unavailable):
            write(writer, metrics(gauge(1)))
    assert (broker.queued, broker.flushes) == ([], flushes)


def test_a_full_queue_is_emptied_once(writer: RequestWriter, broker: FakeBroker) -> None:
    broker.room = 1
    request = metrics(gauge(1))
    request.resource_metrics.extend(metrics(gauge(2), service="catalog").resource_metrics)
    assert write(writer, request).accepted == 2
    assert broker.values() == [1.0, 2.0]


def test_a_full_queue_that_cannot_be_emptied_fails_every_request_of_the_group(
    writer: RequestWriter, broker: FakeBroker
) -> None:
    broker.room = 1
    broker.is_down = True
    outcomes = at_once(writer, broker, metrics(gauge(1)), metrics(gauge(2)))
    assert [type(outcome) for outcome in outcomes] == [Unavailable, Unavailable]
    assert broker.values() == []


def test_requests_that_wait_share_one_flush(writer: RequestWriter, broker: FakeBroker) -> None:
    outcomes = at_once(writer, broker, *(metrics(gauge(n)) for n in range(8)))
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert sorted(broker.values()) == [float(n) for n in range(8)]
    assert broker.flushes <= 2


def test_a_bad_request_fails_alone(writer: RequestWriter, broker: FakeBroker) -> None:
    bad = Received(signal=Signal.METRICS, body=b"\xff", content_type=PROTOBUF)

    async def both() -> list[object]:
        good = writer.write(received(metrics(gauge(1))))
        return list(await asyncio.gather(writer.write(bad), good, return_exceptions=True))

    first, second = asyncio.run(both())
    assert isinstance(first, InvalidMessage)
    assert isinstance(second, Accepted)
    assert broker.values() == [1.0]


def at_once(writer: RequestWriter, broker: FakeBroker, *requests: Request) -> list[object]:
    """Outcomes of requests that all wait before the first flush ends."""

    async def all_of_them() -> list[object]:
        broker.may_flush.clear()
        waiting: list[Awaitable[Accepted]] = [
            asyncio.ensure_future(writer.write(received(request))) for request in requests
        ]
        await asyncio.sleep(0)
        broker.may_flush.set()
        return list(await asyncio.gather(*waiting, return_exceptions=True))

    return asyncio.run(all_of_them())
