"""The services in one process, in one thread: what `paramedic replay` and the tests run instead of Kafka.

Events travel in the order and partitions that the broker would give them; nothing here knows what a service does.
"""

import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from libs.contracts.topics import topics
from libs.streaming.handler import Emit, Event, Handler


@runtime_checkable
class Ending(Protocol):
    """A handler that waits for more input, and can be told that none will come."""

    def end(self) -> Sequence[Emit]:
        """Do what it waited with."""
        ...


class Pipeline:
    """Routes what handlers emit to the handlers that subscribe to it.

    Args:
        handlers: By service name, upstream first; an event reaches them in this order.
        on_emit: Sees every emitted record.
    """

    def __init__(self, handlers: Mapping[str, Handler], on_emit: Callable[[Emit], None] = lambda _: None) -> None:
        self._handlers = handlers
        self._on_emit = on_emit
        self._offsets: dict[tuple[str, int], int] = defaultdict(int)

    def push(self, emits: Sequence[Emit]) -> None:
        """Deliver a slice of input and everything that follows from it."""
        waiting: deque[list[Event]] = deque([[self._event(emit) for emit in emits]])
        while waiting:
            events = waiting.popleft()
            for handler in self._handlers.values():
                wanted = [event for event in events if event.topic in handler.subscriptions]
                if wanted:
                    self._follow(handler.handle(wanted), waiting)

    def tick(self, now: datetime) -> None:
        """Let every service do what is due at this event time."""
        for handler in self._handlers.values():
            emits = handler.tick(now)
            if emits:
                self.push([self._seen(emit) for emit in emits])

    def end(self, now: datetime) -> None:
        """Nothing more will come: let every service do what it waited with, upstream first."""
        for handler in self._handlers.values():
            if isinstance(handler, Ending):
                self.push([self._seen(emit) for emit in handler.end()])
            self.tick(now)

    def close(self) -> None:
        """Close every service."""
        for handler in self._handlers.values():
            handler.close()

    def _follow(self, emits: Sequence[Emit], waiting: deque[list[Event]]) -> None:
        if emits:
            waiting.append([self._event(self._seen(emit)) for emit in emits])

    def _seen(self, emit: Emit) -> Emit:
        self._on_emit(emit)
        return emit

    def _event(self, emit: Emit) -> Event:
        partition = zlib.crc32(emit.key.encode()) % topics()[emit.topic].partitions  # librdkafka's partitioner
        offset = self._offsets[emit.topic, partition]
        self._offsets[emit.topic, partition] = offset + 1
        return Event(topic=emit.topic, partition=partition, offset=offset, key=emit.key, record=emit.record)
