"""The broker port on confluent-kafka, for any Kafka 3.x/4.x and the embedded broker; the door to that library."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient

from libs.errors import InvalidMessage, Unavailable
from libs.streaming import broker as port

_QUEUE_MAX_KBYTES: Final = 65_536  # bounds a producer's memory while the broker is down
_LAG_ANSWER_S: Final = 1.0
_PURGE_S: Final = 1.0
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._INVALID_ARG})
_LOST_PARTITION: Final = frozenset(
    {
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError._ASSIGNMENT_LOST,
        KafkaError._NO_OFFSET,
    }
)


class KafkaBroker:
    """Opens consumers and producers on one cluster.

    Args:
        bootstrap: host:port list.
        extra: More librdkafka settings (security.protocol, sasl.*, ssl.*), passed through to every client.
        on_error: Told about client-level errors (a broker that went away); they are never raised from callbacks.
        fetch_wait_ms: How long the broker may hold a fetch that finds nothing. Kafka answers as soon as something
            arrives; the embedded broker does not wake a waiting fetch, so 10 ms is what it needs.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        extra: Mapping[str, str | int | float | bool] | None = None,
        on_error: Callable[[str], None] | None = None,
        fetch_wait_ms: int = 10,
    ) -> None:
        self._fetch_wait_ms = fetch_wait_ms
        self._settings: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "error_cb": lambda error: on_error(str(error)) if on_error else None,
            "log_level": 2,  # librdkafka writes to stderr by itself; outages reach `on_error` instead
            "reconnect.backoff.max.ms": 1_000,
            "topic.metadata.refresh.interval.ms": 30_000,
            **(extra or {}),
        }

    def consumer(self, group: str, topics: Sequence[str], *, from_beginning: bool = True) -> "KafkaConsumer":
        """Join a consumer group."""
        return KafkaConsumer(
            {
                "session.timeout.ms": 6_000,  # Kafka's least by default; a killed member's partitions move after it
                "heartbeat.interval.ms": 1_000,
                "socket.timeout.ms": 10_000,  # a commit to a broker that went away waits so long; 60 s is librdkafka's
                **self._settings,
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest" if from_beginning else "latest",
                "max.poll.interval.ms": 300_000,
                "fetch.wait.max.ms": self._fetch_wait_ms,
                "fetch.error.backoff.ms": 100,
                "queued.max.messages.kbytes": 65_536,
            },
            topics,
        )

    def producer(self) -> "KafkaProducer":
        """Open an idempotent producer that waits for all replicas."""
        return KafkaProducer(
            {
                **self._settings,
                "enable.idempotence": True,
                "acks": "all",
                "linger.ms": 2,
                "compression.type": "lz4",
                "queue.buffering.max.kbytes": _QUEUE_MAX_KBYTES,
                "message.max.bytes": 8_000_000,
                "delivery.timeout.ms": 20_000,
            }
        )

    def topic_names(self, timeout_s: float = 5.0) -> frozenset[str]:
        """Names of all topics; `Unavailable` when the cluster does not answer in time."""
        try:
            return frozenset(AdminClient(self._settings).list_topics(timeout=timeout_s).topics)
        except KafkaException as error:
            raise Unavailable(f"broker {self._settings['bootstrap.servers']}: {error}") from error

    def read_to_end(self, topics: Sequence[str], timeout_s: float = 10.0) -> list[port.RawMessage]:
        """Everything that the topics hold now, outside any group."""
        consumer = Consumer({**self._settings, "group.id": "paramedic-reader", "enable.auto.commit": False})
        try:
            ends = self._ends(consumer, topics, timeout_s)
            consumer.assign([TopicPartition(t, p, OFFSET_BEGINNING) for (t, p) in ends])
            return _drain(consumer, ends, time.monotonic() + timeout_s)
        except KafkaException as error:
            raise Unavailable(f"broker {self._settings['bootstrap.servers']}: {error}") from error
        finally:
            consumer.close()

    def _ends(self, consumer: Consumer, topics: Sequence[str], timeout_s: float) -> dict[port.TopicPartition, int]:
        known = AdminClient(self._settings).list_topics(timeout=timeout_s).topics
        ends = {}
        for topic in topics:
            for partition in known[topic].partitions if topic in known else ():
                low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout_s)
                if high > low:
                    ends[topic, partition] = high
        return ends


class KafkaConsumer:
    """One member of a consumer group."""

    def __init__(self, settings: Mapping[str, Any], topics: Sequence[str]) -> None:
        self._consumer = Consumer(dict(settings))
        self._paused = False
        self._assigned: set[port.TopicPartition] = set()
        self._committed: dict[port.TopicPartition, int] = {}
        self._consumer.subscribe(
            list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned.update((p.topic, p.partition) for p in partitions)
        consumer.assign(partitions)
        # librdkafka keeps a partition paused that was lost while it was paused and comes back.
        (consumer.pause if self._paused else consumer.resume)(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for partition in partitions:
            self._assigned.discard((partition.topic, partition.partition))
            self._committed.pop((partition.topic, partition.partition), None)

    def poll(self, max_messages: int, timeout_s: float) -> list[port.RawMessage]:
        """Return up to `max_messages`, as soon as the first ones are there."""
        # consume(n, t) waits the whole t for n messages; a first consume(1) returns at once when one arrives.
        messages = self._consumer.consume(1, timeout_s)
        if messages and max_messages > 1:
            messages += self._consumer.consume(max_messages - 1, 0)
        delivered = []
        for message in messages:
            if message.error() is not None:
                continue  # informational or an outage: librdkafka retries, on_error was told
            delivered.append(_raw(message))
        return delivered

    def commit(self, offsets: Mapping[port.TopicPartition, int]) -> None:
        """Commit and wait for the broker; partitions taken away meanwhile are skipped, they get redelivered."""
        mine = [TopicPartition(t, p, offset) for (t, p), offset in offsets.items() if (t, p) in self._assigned]
        if not mine:
            return
        try:
            self._consumer.commit(offsets=mine, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() in _LOST_PARTITION:
                return
            raise Unavailable(f"commit: {error}") from error
        self._committed.update((place, offset) for place, offset in offsets.items() if place in self._assigned)

    def pause(self) -> None:
        """Stop delivery while polling keeps the membership alive."""
        self._paused = True
        self._consumer.pause(self._consumer.assignment())

    def resume(self) -> None:
        """Deliver again."""
        self._paused = False
        self._consumer.resume(self._consumer.assignment())

    def assignment(self) -> frozenset[port.TopicPartition]:
        """Partitions that this member reads now."""
        return frozenset(self._assigned)

    def lag(self) -> dict[port.TopicPartition, int]:
        """Messages between what is committed and the end of each assigned partition; empty while the broker is away.

        The ends are asked for: what a fetch last said about them is stale once the consumer is paused.
        """
        behind = {}
        try:
            for topic, partition in sorted(self._assigned):
                place = TopicPartition(topic, partition)
                low, end = self._consumer.get_watermark_offsets(place, timeout=_LAG_ANSWER_S)
                behind[topic, partition] = max(0, end - self._next_offset(place, low))
        except KafkaException:
            return {}
        return behind

    def _next_offset(self, place: TopicPartition, low: int) -> int:
        """Offset behind the last committed message, or the oldest there is."""
        known = (place.topic, place.partition)
        if known not in self._committed:
            (committed,) = self._consumer.committed([place], timeout=_LAG_ANSWER_S)
            self._committed[known] = committed.offset if committed.offset >= 0 else low
        return max(self._committed[known], low)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()


class KafkaProducer:
    """An idempotent producer with a bounded queue."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._producer = Producer(dict(settings))
        self._failures: list[str] = []

    def connect(self, topic: str, timeout_s: float) -> None:
        """Connect and learn where a topic lives; `Unavailable` when the broker does not say so in time."""
        try:
            self._producer.list_topics(topic, timeout=timeout_s)
        except KafkaException as error:
            raise Unavailable(f"{topic}: {error}") from error

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            return
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            size = len(message.value() or b"")
            advice = f"the topic takes no message of {size} bytes; raise its max.message.bytes: paramedic topics apply"
            self._failures.append(f"{message.topic()}: {advice}")
        elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART or error.code() == KafkaError._UNKNOWN_TOPIC:
            self._failures.append(f"{message.topic()}: the topic does not exist; create it: paramedic topics apply")
        else:
            self._failures.append(f"{message.topic()}: {error}")

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue a message; `Unavailable` when the queue is full, `InvalidMessage` when it is too large."""
        try:
            self._producer.produce(topic, key=key, value=value, headers=list(headers), on_delivery=self._on_delivery)
        except BufferError as error:
            self._producer.poll(0)
            raise Unavailable(f"producer queue is full ({_QUEUE_MAX_KBYTES} KiB): {error}") from error
        except KafkaException as error:
            if error.args[0].code() in _TOO_LARGE:
                raise InvalidMessage(f"{topic}: message of {len(value or b'')} bytes is too large") from error
            raise Unavailable(f"{topic}: {error}") from error
        self._producer.poll(0)

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every queued message is acknowledged; `Unavailable` names the first one that is not.

        What was not acknowledged in time is dropped from the queue: whoever was told that it failed sends it again, or
        tells a person so, and a copy delivered minutes later would be news to both. Only what was already on its way
        to the broker may still be written.
        """
        deadline = time.monotonic() + timeout_s
        left = self._producer.flush(timeout_s)
        while left and time.monotonic() < deadline:
            left = self._producer.flush(max(0.0, deadline - time.monotonic()))
        if left:
            self._producer.purge(in_queue=True, in_flight=True, blocking=True)
            self._producer.flush(_PURGE_S)  # delivers the reports of what was purged
        failures, self._failures = self._failures, []
        if left:
            first = failures[0] if failures else "no report"
            raise Unavailable(f"{left} messages were not acknowledged within {timeout_s:g} s; first: {first}")
        if failures:
            raise Unavailable(f"{len(failures)} messages were not acknowledged; first: {failures[0]}")

    def close(self) -> None:
        """Flush what can be flushed within two seconds."""
        self._producer.flush(2.0)


def _drain(consumer: Consumer, ends: dict[port.TopicPartition, int], deadline_s: float) -> list[port.RawMessage]:
    found: list[port.RawMessage] = []
    while ends:
        if time.monotonic() > deadline_s:
            raise Unavailable(f"{len(ends)} partitions were not read to their end in time")
        for message in consumer.consume(500, 0.05):
            if message.error() is not None:
                continue
            raw = _raw(message)
            found.append(raw)
            if raw.offset + 1 >= ends.get((raw.topic, raw.partition), -1):
                ends.pop((raw.topic, raw.partition), None)
    return found


def _raw(message: Message) -> port.RawMessage:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    headers = tuple((name, value if isinstance(value, bytes) else b"") for name, value in message.headers() or ())
    _, timestamp_ms = message.timestamp()
    return port.RawMessage(
        topic=topic,
        partition=partition,
        offset=offset,
        key=message.key(),
        value=message.value(),
        headers=headers,
        timestamp_ms=timestamp_ms,
    )
