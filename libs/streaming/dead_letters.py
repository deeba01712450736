"""Dead letters: a refused message with its original bytes and headers that say where it came from and why."""

import traceback
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from libs.contracts.topics import DEAD_LETTER_SUFFIX
from libs.errors import InvalidMessage, ParamedicError
from libs.streaming.broker import Producer, RawMessage

_TRACEBACK_CHARACTERS: Final = 8_000


class TooManyRefused(ParamedicError):
    """More than half of the recent messages were refused: someone deployed a mistake, so the service stops."""


class RefusalGuard:
    """Stops a runaway consumer before it empties a topic into its dead letters.

    Args:
        window: How many recent messages are looked at.
        minimum: Below this many nothing is judged: one bad first message must not stop a service.
        limit_ratio: Refused share that stops the service.
    """

    def __init__(self, window: int = 200, minimum: int = 50, limit_ratio: float = 0.5) -> None:
        self._recent: deque[bool] = deque(maxlen=window)
        self._minimum = minimum
        self._limit_ratio = limit_ratio

    def record(self, *, refused: bool) -> None:
        """Count one message; `TooManyRefused` when the ratio is above the limit."""
        self._recent.append(refused)
        total, count = len(self._recent), sum(self._recent)
        if total >= self._minimum and count > self._limit_ratio * total:
            raise TooManyRefused(
                f"{count} of the last {total} messages were refused; look at `paramedic dlq list` before restarting"
            )


def refusal_headers(message: RawMessage, error: Exception, service: str, now: datetime) -> list[tuple[str, bytes]]:
    """Headers of a dead letter; a bug (anything but `InvalidMessage`) carries its traceback."""
    headers = [
        ("paramedic.topic", message.topic.encode()),
        ("paramedic.partition", str(message.partition).encode()),
        ("paramedic.offset", str(message.offset).encode()),
        ("paramedic.service", service.encode()),
        ("paramedic.refused_at", now.isoformat().encode()),
        ("error.type", type(error).__name__.encode()),
        ("error.message", str(error).encode()[:_TRACEBACK_CHARACTERS]),
    ]
    if not isinstance(error, InvalidMessage):
        text = "".join(traceback.format_exception(error))
        headers.append(("error.stack_trace", text[-_TRACEBACK_CHARACTERS:].encode()))
    return headers


def refuse(producer: Producer, message: RawMessage, error: Exception, service: str, now: datetime) -> None:
    """Queue a message for its dead-letter topic with its original key, bytes and headers."""
    original: Sequence[tuple[str, bytes]] = message.headers
    producer.send(
        message.topic + DEAD_LETTER_SUFFIX,
        key=message.key,
        value=message.value,
        headers=[*original, *refusal_headers(message, error, service, now)],
    )
