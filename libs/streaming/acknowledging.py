"""A broker whose producers report when everything sent was acknowledged, and when it was not.

The loop hands the same batch in again after a failed write; the handler, having decided it already, needs to know that
its emits must be returned once more.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from libs.errors import Unavailable
from libs.streaming.broker import Broker, Consumer, Producer, RawMessage


class Told(Protocol):
    """Who wants to know."""

    def acknowledged(self) -> None:
        """Everything sent so far is written."""
        ...

    def failed(self) -> None:
        """Something sent may not be written."""
        ...


class AcknowledgingBroker:
    """Passes everything on to a broker and tells about flushes.

    Args:
        broker: The real one.
        told: Hears of every flush, in the thread that flushes.
    """

    def __init__(self, broker: Broker, told: Told) -> None:
        self._broker = broker
        self._told = told

    def consumer(self, group: str, topics: Sequence[str], *, from_beginning: bool = True) -> Consumer:
        """Join a consumer group."""
        return self._broker.consumer(group, topics, from_beginning=from_beginning)

    def producer(self) -> Producer:
        """Open a producer that reports."""
        return _ReportingProducer(self._broker.producer(), self._told)

    def topic_names(self, timeout_s: float = 5.0) -> frozenset[str]:
        """Names of all topics."""
        return self._broker.topic_names(timeout_s)

    def read_to_end(self, topics: Sequence[str], timeout_s: float = 10.0) -> list[RawMessage]:
        """Everything that the topics hold now."""
        return self._broker.read_to_end(topics, timeout_s)


class _ReportingProducer:
    def __init__(self, producer: Producer, told: Told) -> None:
        self._producer = producer
        self._told = told

    def connect(self, topic: str, timeout_s: float) -> None:
        """Connect and learn where a topic lives."""
        self._producer.connect(topic, timeout_s)

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Queue a message."""
        self._reporting(lambda: self._producer.send(topic, key=key, value=value, headers=headers))

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every queued message is acknowledged."""
        self._reporting(lambda: self._producer.flush(timeout_s))
        self._told.acknowledged()

    def close(self) -> None:
        """Let go of the connection."""
        self._producer.close()

    def _reporting(self, attempt: Callable[[], None]) -> None:
        try:
            attempt()
        except Unavailable:
            self._told.failed()
            raise
