"""The loop that gives every message one of three fates: handled, held, refused; commits come after the effects."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from libs.contracts.codec import Codec
from libs.contracts.topics import is_raw
from libs.errors import InvalidMessage, Unavailable
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.streaming.broker import Broker, Consumer, Producer, RawMessage, TopicPartition
from libs.streaming.dead_letters import RefusalGuard, TooManyRefused, refuse
from libs.streaming.handler import Emit, Event, Handler

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_LAST_S: Final = 30.0


class LoopState(StrEnum):
    """What readiness reports."""

    STARTING = "starting"
    READY = "ready"
    HELD = "held"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopOptions:
    """How a loop reads.

    Attributes:
        group: Consumer group.
        batch_messages: Most messages handed to the handler at once.
        poll_s: Longest wait for messages, and so the longest time between two ticks.
        lag_every_s: Time between two looks at the lag: one costs a round trip a partition; Prometheus looks every 15 s.
    """

    group: str
    batch_messages: int = 500
    poll_s: float = 0.2
    lag_every_s: float = 2.0


class Loop:
    """Reads batches, calls the handler, writes what it returns, commits.

    Args:
        handler: The service.
        broker: Where messages come from and go to.
        codec: Bytes to records and back.
        options: Group and sizes.
        log: Canonical log.
        metrics: Counters of this service.
        clock: Wall clock, aware UTC.
    """

    def __init__(
        self,
        handler: Handler,
        broker: Broker,
        codec: Codec,
        options: LoopOptions,
        *,
        log: Logger,
        metrics: ServiceMetrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._handler = handler
        self._broker = broker
        self._codec = codec
        self._options = options
        self._log = log
        self._metrics = metrics
        self._clock = clock
        self._guard = RefusalGuard()
        self._stop = threading.Event()
        self._lag_due_s = 0.0
        self.state = LoopState.STARTING
        self.reason = ""

    def stop(self) -> None:
        """Ask the loop to end after the batch in hand; safe from signal handlers and other threads."""
        self._stop.set()

    def run(self) -> None:
        """Run until `stop`; raises `TooManyRefused`, or a bug of `tick`."""
        producer = self._broker.producer()
        consumer = self._broker.consumer(self._options.group, self._handler.subscriptions)
        try:
            while not self._stop.is_set():
                self._turn(consumer, producer)
        finally:
            self.state = LoopState.STOPPED
            consumer.close()
            producer.close()
            self._handler.close()

    def _turn(self, consumer: Consumer, producer: Producer) -> None:
        messages = consumer.poll(self._options.batch_messages, self._options.poll_s)
        if self.state is LoopState.STARTING and (messages or consumer.assignment()):
            self.state = LoopState.READY
        if messages:
            if not self._until_available(lambda: self._handle(messages, producer), consumer):
                return
            if not self._until_available(lambda: consumer.commit(_next_offsets(messages)), consumer):
                return
        self._measure_lag(consumer)
        self._until_available(lambda: self._tick(producer), consumer)

    def _until_available(self, attempt: Callable[[], None], consumer: Consumer) -> bool:
        """Hold: paused but polled, nothing committed, back-off 0.1 s doubling to 30 s, until the attempt succeeds.

        Returns:
            False when the service was stopped before the attempt succeeded.
        """
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                attempt()
            except Unavailable as error:
                if self.state is not LoopState.HELD:
                    self._log.warning("held", reason=str(error))
                    consumer.pause()
                self.state, self.reason = LoopState.HELD, str(error)
                self._metrics.held.inc()
                consumer.poll(1, 0.0)
                self._measure_lag(consumer)
                if self._stop.wait(backoff_s):
                    return False
                backoff_s = min(BACKOFF_LAST_S, backoff_s * 2)
                continue
            if self.state is LoopState.HELD:
                self._log.info("resumed")
                consumer.resume()
                self.state, self.reason = LoopState.READY, ""
            return True

    def _measure_lag(self, consumer: Consumer) -> None:
        now_s = time.monotonic()
        if now_s >= self._lag_due_s:
            self._metrics.lag(consumer.lag())
            self._lag_due_s = time.monotonic() + self._options.lag_every_s

    def _tick(self, producer: Producer) -> None:
        self._emit(self._handler.tick(self._clock()), producer)

    def _handle(self, messages: Sequence[RawMessage], producer: Producer) -> None:
        refused: list[tuple[RawMessage, Exception]] = []
        decoded: list[tuple[RawMessage, Event]] = []
        for message in messages:
            try:
                decoded.append((message, self._decode(message)))
            except InvalidMessage as error:
                refused.append((message, error))
        emits = self._isolate(decoded, refused)
        for message, reason in refused:
            refuse(producer, message, reason, self._options.group, self._clock())
        self._emit(emits, producer)
        self._account(messages, refused)

    def _isolate(
        self, decoded: Sequence[tuple[RawMessage, Event]], refused: list[tuple[RawMessage, Exception]]
    ) -> Sequence[Emit]:
        """Handle the batch; when it fails, one by one, so that only the message at fault is refused."""
        if not decoded:
            return ()
        try:
            return self._handler.handle([event for _, event in decoded])
        except Unavailable:
            raise
        except Exception as failure:
            if len(decoded) == 1:
                self._refuse_bug(decoded[0][0], failure, refused)
                return ()
        emits: list[Emit] = []
        for message, event in decoded:
            try:
                emits.extend(self._handler.handle([event]))
            except Unavailable:
                raise
            except Exception as error:
                self._refuse_bug(message, error, refused)
        return emits

    def _refuse_bug(self, message: RawMessage, error: Exception, refused: list[tuple[RawMessage, Exception]]) -> None:
        if not isinstance(error, InvalidMessage):
            self._log.error("bug", error=error, topic=message.topic, offset=message.offset)
        refused.append((message, error))

    def _decode(self, message: RawMessage) -> Event:
        raw = is_raw(message.topic)
        if raw and message.value is None:
            raise InvalidMessage("empty message")
        record = message.value if raw else self._codec.decode(message.topic, message.value)
        assert record is not None
        return Event(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            key=(message.key or b"").decode(errors="replace"),
            record=record,
            headers=message.headers,
        )

    def _emit(self, emits: Sequence[Emit], producer: Producer) -> None:
        for emit in emits:
            payload = self._codec.encode(emit.topic, emit.record)
            producer.send(emit.topic, key=emit.key.encode(), value=payload)
            self._metrics.emitted.labels(emit.topic).inc()
        producer.flush()

    def _account(self, messages: Sequence[RawMessage], refused: Sequence[tuple[RawMessage, Exception]]) -> None:
        for message, error in refused:
            self._metrics.refused.labels(message.topic, type(error).__name__).inc()
            self._log.warning(
                "refused", topic=message.topic, partition=message.partition, offset=message.offset, reason=str(error)
            )
        for message in messages:
            self._metrics.handled.labels(message.topic).inc()
        bad = {id(message) for message, _ in refused}
        for message in messages:
            try:
                self._guard.record(refused=id(message) in bad)
            except TooManyRefused:
                self._stop.set()
                raise


def _next_offsets(messages: Sequence[RawMessage]) -> dict[TopicPartition, int]:
    offsets: dict[TopicPartition, int] = {}
    for message in messages:
        key = (message.topic, message.partition)
        offsets[key] = max(offsets.get(key, 0), message.offset + 1)
    return offsets
