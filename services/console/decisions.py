"""Write people's decisions to the topic `commands` and wait, bounded, for their effect in the store."""

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from libs.contracts.codec import Codec
from libs.contracts.command import Command, CommandKind
from libs.errors import Unavailable
from libs.streaming.broker import Producer
from libs.streaming.command_sender import CommandSender

# Page requirement: click to applied action within 2 s; what takes longer shows on the page when it is there.
EFFECT_S: Final = 1.5
_LOOK_S: Final = 0.03
_IN_DOUBT: Final = (
    "The decision may still be carried out if the broker is back within 20 s: look at the page before you decide "
    "again. The same decision sent again from the same page is carried out once"
)
_NAMESPACE: Final = uuid.UUID("8b1c6d0a-3f51-5c1b-9a54-0c8a4ac3e1d7")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person decided.

    Attributes:
        kind: What is to be done.
        target: What it is about, as `kind` needs.
        actor: Who decided.
        reason: Why, in their words.
        arguments: More, as `kind` needs.
        seen: Version of what they looked at: the same decision on the same version is carried out once, however often
            a button is pressed.
    """

    kind: CommandKind
    target: str
    actor: str
    reason: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    seen: str = ""

    def command_id(self) -> str:
        """Derived from everything that was decided."""
        parts = [self.kind.value, self.target, self.actor, self.reason, self.seen]
        parts += [f"{name}={value}" for name, value in sorted(self.arguments.items())]
        return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))


class Decisions:
    """Sends commands; safe to be used from several threads.

    Args:
        producer: Opens the connection to the broker.
        codec: Records to bytes.
        clock: Wall clock, for `issued_at`.
        effect_s: Longest wait for an effect.
    """

    def __init__(
        self,
        producer: Callable[[], Producer],
        codec: Codec,
        *,
        clock: Callable[[], datetime],
        effect_s: float = EFFECT_S,
    ) -> None:
        self._sender = CommandSender(producer, codec)
        self._clock = clock
        self._effect_s = effect_s
        self._closing = threading.Event()

    def connect(self) -> None:
        """Connect to the broker before the first decision waits for it."""
        self._sender.connect()

    def send(self, decision: Decision) -> str:
        """Write a decision and return its command's id once the broker has acknowledged it.

        Raises:
            Unavailable: it did not. The client library still holds the command and delivers it should the broker come
                back within its delivery timeout, so the text tells people to look before they decide again.
        """
        command = Command(
            id=decision.command_id(),
            kind=decision.kind,
            target=decision.target,
            actor=decision.actor,
            reason=decision.reason,
            arguments=decision.arguments,
            issued_at=self._clock(),
        )
        try:
            self._sender.send(command)
        except Unavailable as error:
            raise Unavailable(f"{error}. {_IN_DOUBT}") from error
        return command.id

    def wait(self, effect: Callable[[], bool]) -> bool:
        """Whether an effect showed in time."""
        until = time.monotonic() + self._effect_s
        while not effect():
            if time.monotonic() >= until or self._closing.wait(_LOOK_S):
                return False
        return True

    def close(self) -> None:
        """End waiting requests and let go of the broker."""
        self._closing.set()
        self._sender.close()
