"""Decisions find their connection made, and one that failed is not used again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from libs.contracts.codec import Codec
from libs.contracts.command import Command, CommandKind
from libs.contracts.topics import COMMANDS
from libs.errors import Unavailable
from libs.streaming.command_sender import CommandSender


@dataclass(slots=True)
class Line:
    """A producer that notes what is asked of it; `down` makes it fail as a broker that is away does."""

    down: bool = False
    asked: list[str] = field(default_factory=list)

    def connect(self, topic: str, timeout_s: float) -> None:
        self.asked.append(f"connect {topic}")
        if self.down:
            raise Unavailable("the broker does not answer")

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        record = Codec().decode(topic, value)
        assert isinstance(record, Command)
        self.asked.append(f"send {record.kind.value} {key.decode() if key else ''}")

    def flush(self, timeout_s: float = 30.0) -> None:
        if self.down:
            raise Unavailable("the broker does not answer")

    def close(self) -> None:
        self.asked.append("close")


class Exchange:
    """Opens lines, and remembers them."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.down = False

    def open(self) -> Line:
        self.lines.append(Line(down=self.down))
        return self.lines[-1]


HALT = Command(id="c-1", kind=CommandKind.HALT, target="", actor="ada", issued_at=datetime(2026, 3, 2, tzinfo=UTC))


def test_the_first_decision_takes_the_connection_that_was_made() -> None:
    exchange = Exchange()
    sender = CommandSender(exchange.open, Codec())
    sender.connect()
    sender.send(HALT)
    assert [line.asked for line in exchange.lines] == [[f"connect {COMMANDS}", "send halt "]]


def test_a_broker_that_is_away_at_the_start_is_told_of_with_the_decision() -> None:
    exchange = Exchange()
    exchange.down = True
    sender = CommandSender(exchange.open, Codec())
    sender.connect()
    with pytest.raises(Unavailable, match="does not answer"):
        sender.send(HALT)


def test_a_connection_that_failed_is_given_up() -> None:
    exchange = Exchange()
    sender = CommandSender(exchange.open, Codec())
    exchange.down = True
    with pytest.raises(Unavailable):
        sender.send(HALT)
    exchange.down = False
    sender.send(HALT)
    assert [line.asked for line in exchange.lines] == [["send halt "], ["send halt "]]


def test_it_lets_go_of_the_broker() -> None:
    exchange = Exchange()
    sender = CommandSender(exchange.open, Codec())
    sender.close()
    sender.send(HALT)
    sender.close()
    assert exchange.lines[0].asked[-1] == "close"
