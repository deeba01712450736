"""Every message has one of three fates (handled, held, refused), and every state has a snapshot.

Runs in one thread, without Faust: the worker hands it batches, assignments and time.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from libs.contracts.topics import is_raw
from libs.errors import InvalidMessage, Unavailable
from libs.service.platform import Platform
from libs.streaming.broker import Producer, RawMessage, TopicPartition
from libs.streaming.dead_letters import RefusalGuard, refuse
from libs.streaming.handler import Emit, Event
from libs.streaming.loop import BACKOFF_FIRST_S, BACKOFF_LAST_S, LoopState
from services.detector.handler import DetectorHandler
from services.detector.snapshots import Snapshot, SnapshotStore

GROUP: Final = "detector"
SNAPSHOT_EVERY_S: Final = 10.0
_SNAPSHOT_SHARE: Final = 0.05  # snapshots of very many series take longer, and so come less often


class Processor:
    """Gives every message one of three fates; used from one thread only.

    Args:
        handler: The detector.
        store: Snapshots.
        platform: Codec, log, metrics, clock and broker.
        stopping: Set when the worker shall end; a hold ends with it.
    """

    def __init__(
        self, handler: DetectorHandler, store: SnapshotStore, platform: Platform, stopping: threading.Event
    ) -> None:
        self._handler = handler
        self._store = store
        self._platform = platform
        self._stopping = stopping
        self._producer: Producer | None = None
        self._guard = RefusalGuard()
        self._assigned: set[TopicPartition] = set()
        self._restored: dict[TopicPartition, Snapshot] = {}
        self._newest: dict[TopicPartition, tuple[int, int]] = {}
        self._snapshotted: dict[TopicPartition, int] = {}
        self._next_snapshot_s = 0.0
        self.state = LoopState.STARTING
        self.reason = ""

    def assign(self, places: Sequence[TopicPartition]) -> None:
        """Take over partitions: go on from their snapshots."""
        self._assigned = set(places)
        for place in places:
            if place in self._handler.places():
                continue
            snapshot = self._store.read(place)
            if snapshot is not None:
                self._restore(place, snapshot, keep_offset=True)
                self._restored[place] = snapshot
        self.state = LoopState.READY

    def _restore(self, place: TopicPartition, snapshot: Snapshot, *, keep_offset: bool) -> None:
        try:
            self._handler.restore(place, snapshot.state, keep_offset=keep_offset)
        except ValueError as error:
            self._platform.log.warning("snapshot left aside", topic=place[0], partition=place[1], reason=str(error))

    def revoke(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Hand partitions over: snapshot and let go; the offsets to commit."""
        offsets = self._snapshot([place for place in places if place in self._assigned])
        for place in places:
            self._assigned.discard(place)
            self._handler.forget(place)
            self._newest.pop(place, None)
            self._restored.pop(place, None)
        return offsets

    def take(self, messages: Sequence[RawMessage]) -> None:
        """Judge messages and write what follows; holds while the broker is away.

        Raises:
            TooManyRefused: more than half of the recent messages were refused.
        """
        mine = [message for message in messages if (message.topic, message.partition) in self._assigned]
        for message in mine:
            self._recognise(message)
        if mine and self._until_available(lambda: self._handle(mine)):
            for message in mine:
                self._newest[message.topic, message.partition] = (message.offset, message.timestamp_ms)

    def tick(self, ends: Mapping[TopicPartition, int]) -> None:
        """Do what is due by time.

        Args:
            ends: Offset behind the newest message of each partition, where the broker has told it.
        """
        self._handler.is_current = lambda place: self._next_offset(place) >= ends.get(place, 1 << 62)
        emits = self._handler.tick(self._platform.clock())
        self._until_available(lambda: self._emit(emits))
        self._handler.count_state()

    def snapshot_if_due(self, *, force: bool = False) -> dict[TopicPartition, int]:
        """Write snapshots when it is time; the offsets that may be committed then."""
        if not force and time.monotonic() < self._next_snapshot_s:
            return {}
        return self._snapshot(sorted(self._assigned))

    def close(self) -> None:
        """Let go of the handler and the producer."""
        self.state = LoopState.STOPPED
        self._handler.close()
        if self._producer is not None:
            self._producer.close()

    def lag(self, ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Messages that wait to be judged."""
        return {place: max(0, end - self._next_offset(place)) for place, end in ends.items()}

    def _next_offset(self, place: TopicPartition) -> int:
        if place in self._newest:
            return self._newest[place][0] + 1
        return self._restored[place].offset + 1 if place in self._restored else 0

    def _recognise(self, message: RawMessage) -> None:
        """Find out at the first message whether a snapshot's place in the stream still means the same stream."""
        place = (message.topic, message.partition)
        snapshot = self._restored.pop(place, None)
        if snapshot is None:
            return
        if message.offset <= snapshot.offset and message.timestamp_ms > snapshot.timestamp_ms:
            self._platform.log.info("new partition with old offsets; keeping what was learned", topic=place[0])
            self._restore(place, snapshot, keep_offset=False)

    def _snapshot(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        began_s = time.monotonic()
        for place in places:
            newest = self._newest.get(place)
            if newest is None or self._snapshotted.get(place) == newest[0]:
                continue
            taken = self._handler.snapshot(place)
            if taken is None:
                continue
            try:
                self._store.write(place, Snapshot(offset=newest[0], timestamp_ms=newest[1], state=taken[1]))
            except OSError as error:
                self._platform.log.error("snapshot not written", error=error, topic=place[0], partition=place[1])
                continue
            self._snapshotted[place] = newest[0]
        took_s = time.monotonic() - began_s
        self._next_snapshot_s = time.monotonic() + max(SNAPSHOT_EVERY_S, took_s / _SNAPSHOT_SHARE)
        return {place: self._snapshotted[place] + 1 for place in places if place in self._snapshotted}

    def _until_available(self, attempt: Callable[[], None]) -> bool:
        """Hold with back-off 0.1 s doubling to 30 s until the attempt succeeds; False when the worker was stopped."""
        backoff_s = BACKOFF_FIRST_S
        while True:
            try:
                attempt()
            except Unavailable as error:
                if self.state is not LoopState.HELD:
                    self._platform.log.warning("held", reason=str(error))
                self.state, self.reason = LoopState.HELD, str(error)
                self._platform.metrics.held.inc()
                if self._stopping.wait(backoff_s):
                    return False
                backoff_s = min(BACKOFF_LAST_S, backoff_s * 2)
                continue
            if self.state is LoopState.HELD:
                self._platform.log.info("resumed")
                self.state, self.reason = LoopState.READY, ""
            return True

    def _handle(self, messages: Sequence[RawMessage]) -> None:
        refused: list[tuple[RawMessage, Exception]] = []
        decoded: list[tuple[RawMessage, Event]] = []
        for message in messages:
            try:
                decoded.append((message, self._decode(message)))
            except InvalidMessage as error:
                refused.append((message, error))
        emits = self._isolate(decoded, refused)
        for message, reason in refused:
            refuse(self._open_producer(), message, reason, GROUP, self._platform.clock())
        self._emit(emits)
        self._account(messages, refused)

    def _decode(self, message: RawMessage) -> Event:
        if is_raw(message.topic):
            raise InvalidMessage(f"the detector does not read {message.topic}")
        return Event(
            topic=message.topic,
            partition=message.partition,
            offset=message.offset,
            key=(message.key or b"").decode(errors="replace"),
            record=self._platform.codec.decode(message.topic, message.value),
            headers=message.headers,
        )

    def _isolate(
        self, decoded: Sequence[tuple[RawMessage, Event]], refused: list[tuple[RawMessage, Exception]]
    ) -> Sequence[Emit]:
        """Judge the batch; when it fails, one by one, so that only the message at fault is refused."""
        if not decoded:
            return ()
        try:
            return self._handler.handle([event for _, event in decoded])
        except Exception as failure:  # noqa: BLE001 - the message processor isolates bugs
            if len(decoded) == 1:
                self._refuse_bug(decoded[0][0], failure, refused)
                return ()
        emits: list[Emit] = []
        for message, event in decoded:
            try:
                emits.extend(self._handler.handle([event]))
            except Exception as error:  # noqa: BLE001 - as above
                self._refuse_bug(message, error, refused)
        return emits

    def _refuse_bug(self, message: RawMessage, error: Exception, refused: list[tuple[RawMessage, Exception]]) -> None:
        if not isinstance(error, InvalidMessage):
            self._platform.log.error("bug", error=error, topic=message.topic, offset=message.offset)
        refused.append((message, error))

    def _emit(self, emits: Sequence[Emit]) -> None:
        if not emits and self._producer is None:
            return
        producer = self._open_producer()
        for emit in emits:
            payload = self._platform.codec.encode(emit.topic, emit.record)
            producer.send(emit.topic, key=emit.key.encode(), value=payload)
            self._platform.metrics.emitted.labels(emit.topic).inc()
        producer.flush()

    def _open_producer(self) -> Producer:
        if self._producer is None:
            self._producer = self._platform.broker.producer()
        return self._producer

    def _account(self, messages: Sequence[RawMessage], refused: Sequence[tuple[RawMessage, Exception]]) -> None:
        metrics, bad = self._platform.metrics, {id(message) for message, _ in refused}
        for message, error in refused:
            metrics.refused.labels(message.topic, type(error).__name__).inc()
            self._platform.log.warning(
                "refused", topic=message.topic, partition=message.partition, offset=message.offset, reason=str(error)
            )
        for message in messages:
            metrics.handled.labels(message.topic).inc()
            self._guard.record(refused=id(message) in bad)
