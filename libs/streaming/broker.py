"""The broker port: what the services need from Kafka, and no more. Adapter: kafka.py; server: embedded.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

TopicPartition = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMessage:
    """One message as the broker delivered it.

    Attributes:
        topic: Topic name.
        partition: Partition number.
        offset: Offset in the partition.
        key: Key bytes, if any.
        value: Value bytes; None is a tombstone.
        headers: Header names and values, in order; a name may repeat.
        timestamp_ms: Broker or producer timestamp, unix milliseconds; -1 when unknown.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int = -1


class Consumer(Protocol):
    """One member of a consumer group; offsets are committed only by `commit`."""

    def poll(self, max_messages: int, timeout_s: float) -> list[RawMessage]:
        """Return up to `max_messages`, waiting at most `timeout_s`; a broker that is down gives an empty list."""
        ...

    def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit the next offset to read per partition; `Unavailable` when the broker does not confirm."""
        ...

    def pause(self) -> None:
        """Stop delivery on every partition, those assigned later too, while polling keeps the membership alive."""
        ...

    def resume(self) -> None:
        """Deliver again after `pause`."""
        ...

    def assignment(self) -> frozenset[TopicPartition]:
        """Partitions that this member reads now."""
        ...

    def lag(self) -> dict[TopicPartition, int]:
        """Messages between what is committed and the end of each assigned partition; empty without the broker."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


class Producer(Protocol):
    """Sends messages; nothing is known to be written before `flush` returns."""

    def connect(self, topic: str, timeout_s: float) -> None:
        """Connect and learn where a topic lives, so that the first message need not; `Unavailable` when that fails."""
        ...

    def send(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue a message; `Unavailable` when the bounded queue is full, `InvalidMessage` when it is too large."""
        ...

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every queued message is acknowledged; `Unavailable` when one is not."""
        ...

    def close(self) -> None:
        """Flush what can be flushed and let go of the connection."""
        ...


class Broker(Protocol):
    """A cluster that the platform talks to."""

    def consumer(self, group: str, topics: Sequence[str], *, from_beginning: bool = True) -> Consumer:
        """Join a consumer group; without committed offsets it starts at the beginning, or at the end."""
        ...

    def producer(self) -> Producer:
        """Open a producer."""
        ...

    def topic_names(self, timeout_s: float = 5.0) -> frozenset[str]:
        """Names of all topics; `Unavailable` when the cluster does not answer in time."""
        ...

    def read_to_end(self, topics: Sequence[str], timeout_s: float = 10.0) -> list[RawMessage]:
        """Everything that the topics hold now, outside any group; `Unavailable` when the end is not reached in time."""
        ...
