"""Decisions of people on their way to Kafka: one connection, made before anybody waits for it."""

import threading
from collections.abc import Callable
from typing import Final

from libs.contracts.codec import Codec
from libs.contracts.command import Command
from libs.contracts.topics import COMMANDS
from libs.errors import Unavailable
from libs.streaming.broker import Producer

# A healthy broker acknowledges in some milliseconds; whoever waits longer should be told to come back.
ACKNOWLEDGE_S: Final = 3.0
_CONNECT_S: Final = 5.0


class CommandSender:
    """Writes commands, each acknowledged before `send` returns; safe to be used from several threads.

    Args:
        producer: Opens a connection to the broker.
        codec: Records to bytes.
    """

    def __init__(self, producer: Callable[[], Producer], codec: Codec) -> None:
        self._open = producer
        self._producer: Producer | None = None
        self._codec = codec
        self._lock = threading.Lock()

    def connect(self) -> None:
        """Connect now: the first decision would wait 0.7 s for it, on two busy cores up to 1.6 s.

        A broker that does not answer is no error yet: `send` says so to whoever decides.
        """
        with self._lock:
            producer = self._producer = self._producer if self._producer is not None else self._open()
            try:
                producer.connect(COMMANDS, _CONNECT_S)
            except Unavailable:
                return

    def send(self, command: Command) -> None:
        """Write a command; `Unavailable` when the broker does not acknowledge it in time."""
        payload = self._codec.encode(COMMANDS, command)
        with self._lock:
            producer = self._producer if self._producer is not None else self._open()
            self._producer = None  # one that failed is given up, with what it still holds
            producer.send(COMMANDS, key=command.target.encode(), value=payload)
            producer.flush(ACKNOWLEDGE_S)
            self._producer = producer

    def close(self) -> None:
        """Let go of the broker."""
        with self._lock:
            if self._producer is not None:
                self._producer.close()
