"""A write that the broker did not confirm is told again by the real loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.codec import Codec
from libs.contracts.incident import IncidentChanged
from libs.contracts.topics import ANOMALIES, INCIDENTS
from libs.errors import Unavailable
from libs.streaming.acknowledging import AcknowledgingBroker
from libs.streaming.broker import RawMessage, TopicPartition
from libs.streaming.loop import Loop, LoopOptions


class FlakyBroker:
    """One message to read; the first write of it is not confirmed. It is its own consumer and producer."""

    def __init__(self, message: RawMessage) -> None:
        self._messages = [message]
        self._outages = 1
        self._queued: list[tuple[str, bytes | None]] = []
        self.written: list[tuple[str, bytes | None]] = []
        self.commits: list[Mapping[TopicPartition, int]] = []
        self.when_committed: Callable[[], None] = lambda: None

    def consumer(self, group: str, topics: Sequence[str], *, from_beginning: bool = True) -> "FlakyBroker":
        return self

    def producer(self) -> "FlakyBroker":
        return self

    def topic_names(self, timeout_s: float = 5.0) -> frozenset[str]:
        return frozenset()

    def read_to_end(self, topics: Sequence[str], timeout_s: float = 10.0) -> list[RawMessage]:
        return []

    def poll(self, max_messages: int, timeout_s: float) -> list[RawMessage]:
        found, self._messages = self._messages, []
        return found

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.commits.append(offsets)
        self.when_committed()

    def pause(self) -> None:
        """Nothing is delivered anyway."""

    def resume(self) -> None:
        """Nothing is delivered anyway."""

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset({(ANOMALIES, 0)})

    def lag(self) -> dict[TopicPartition, int]:
        return {}

    def connect(self, topic: str, timeout_s: float) -> None:
        """It is connected."""

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self._queued.append((topic, value))

    def flush(self, timeout_s: float = 30.0) -> None:
        queued, self._queued = self._queued, []
        if queued and self._outages:
            self._outages -= 1
            raise Unavailable("the broker went away")
        self.written.extend(queued)

    def close(self) -> None:
        """Nothing is open."""


def test_an_unconfirmed_ticket_is_written_before_its_anomaly_is_committed(
    world: Any, anomaly: Callable[..., AnomalyDetected]
) -> None:
    codec = Codec()
    payload = codec.encode(ANOMALIES, anomaly("catalog", 0))
    broker = FlakyBroker(RawMessage(topic=ANOMALIES, partition=0, offset=7, key=b"catalog", value=payload))
    world.handler.wait_for_acknowledgement()
    loop = Loop(
        world.handler,
        AcknowledgingBroker(broker, world.handler),
        codec,
        LoopOptions(group="ticketing"),
        log=world.platform.log,
        metrics=world.platform.metrics,
        clock=world.platform.clock,
    )
    broker.when_committed = loop.stop
    loop.run()
    ((topic, value),) = broker.written
    told = codec.decode(topic, value)
    assert isinstance(told, IncidentChanged)
    assert (topic, told.version, told.number) == (INCIDENTS, 1, "INC-000001")
    assert broker.commits == [{(ANOMALIES, 0): 8}]
