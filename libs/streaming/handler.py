"""The one shape of a service: a batch of events in, events out, plain synchronous Python."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from libs.contracts.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One decoded message.

    Attributes:
        topic: Topic it came from.
        partition: Partition number.
        offset: Offset in the partition.
        key: Message key as text, "" for none.
        record: The decoded record, or the original bytes on topics that carry foreign formats.
        headers: Message headers.
    """

    topic: str
    partition: int
    offset: int
    key: str
    record: Record | bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Emit:
    """One record to be written.

    Attributes:
        topic: Topic to write to.
        key: Message key; records with one key stay in order.
        record: What to write.
    """

    topic: str
    key: str
    record: Record


class Handler(Protocol):
    """What a service does. Effects of its own (stores) must be harmless twice."""

    @property
    def subscriptions(self) -> Sequence[str]:
        """Topics to read."""
        ...

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        """Handle a batch in order.

        Raises:
            InvalidMessage: a message is wrong; the batch is handed in again one by one to find it.
            Unavailable: a dependency is down; the batch is held and handed in again.
        """
        ...

    def tick(self, now: datetime) -> Sequence[Emit]:
        """Do what is due by time; called at least every second while the service runs. `Unavailable` is retried."""
        ...

    def close(self) -> None:
        """Let go of resources."""
        ...
