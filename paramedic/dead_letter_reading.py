"""Read dead letters back from the broker, and send them to the topic they came from."""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.contracts.topics import DEAD_LETTER_SUFFIX, topics
from libs.errors import NotFound
from libs.service.platform import Platform

REPLAYED_HEADER = "paramedic.replayed"
_OWN_PREFIXES = ("paramedic.", "error.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A refused message.

    Attributes:
        topic: Topic it was refused from.
        partition: Partition there.
        offset: Offset there.
        service: Who refused it.
        refused_at: When, RFC 3339.
        error_type: Kind of error.
        error_message: What was wrong.
        key: Original key.
        value: Original bytes.
        headers: Original headers.
    """

    topic: str
    partition: str
    offset: str
    service: str
    refused_at: str
    error_type: str
    error_message: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def fields(self) -> dict[str, object]:
        """JSON-able fields; the value as hex, cut at 256 bytes."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "service": self.service,
            "refused_at": self.refused_at,
            "error_type": self.error_type,
            "error_message": self.error_message,
            "key": (self.key or b"").decode(errors="replace"),
            "value_bytes": len(self.value or b""),
            "value_hex": (self.value or b"")[:256].hex(),
        }


def read_dead_letters(platform: Platform, topic: str | None) -> list[DeadLetter]:
    """Every dead letter of one topic or of all, newest first; `NotFound` for a topic that is not declared."""
    if topic is not None and topic not in topics():
        raise NotFound(f"{topic} is not a topic; choose one of {', '.join(topics())}")
    names = [topic] if topic is not None else list(topics())
    letters = []
    for message in platform.broker.read_to_end([name + DEAD_LETTER_SUFFIX for name in names]):
        told = {name: value.decode(errors="replace") for name, value in message.headers}
        letters.append(
            DeadLetter(
                topic=told.get("paramedic.topic", message.topic.removesuffix(DEAD_LETTER_SUFFIX)),
                partition=told.get("paramedic.partition", "?"),
                offset=told.get("paramedic.offset", "?"),
                service=told.get("paramedic.service", "?"),
                refused_at=told.get("paramedic.refused_at", "?"),
                error_type=told.get("error.type", "?"),
                error_message=told.get("error.message", ""),
                key=message.key,
                value=message.value,
                headers=tuple((n, v) for n, v in message.headers if not n.startswith(_OWN_PREFIXES)),
            )
        )
    return sorted(letters, key=lambda letter: letter.refused_at, reverse=True)


def send_back(platform: Platform, letters: Sequence[DeadLetter]) -> None:
    """Send the original bytes to the original topics, oldest first; `Unavailable` when they are not acknowledged."""
    producer = platform.broker.producer()
    for letter in reversed(letters):
        headers = [*letter.headers, (REPLAYED_HEADER, letter.refused_at.encode())]
        producer.send(letter.topic, key=letter.key, value=letter.value, headers=headers)
    producer.flush()
    producer.close()
