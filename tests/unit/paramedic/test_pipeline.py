"""The in-process pipeline routes events as the broker would."""

from collections.abc import Sequence
from datetime import UTC, datetime

from libs.contracts.command import Command, CommandKind
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from libs.streaming.handler import Emit, Event
from paramedic.pipeline import Pipeline

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def change(number: int) -> Emit:
    record = ChangeEvent(id=str(number), kind=ChangeKind.DEPLOY, service="cart", timestamp=NOON)
    return Emit(topic="changes", key="cart", record=record)


class Echo:
    """Turns every change into a command."""

    subscriptions = ("changes",)

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self.ticks: list[datetime] = []

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        self.seen += events
        return [Emit(topic="commands", key="x", record=command(str(event.offset))) for event in events]

    def tick(self, now: datetime) -> Sequence[Emit]:
        self.ticks.append(now)
        return ()

    def close(self) -> None:
        pass


class Sink(Echo):
    """Only listens to commands."""

    subscriptions = ("commands",)

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        self.seen += events
        return ()


def command(identity: str) -> Command:
    return Command(id=identity, kind=CommandKind.COMMENT, actor="test", issued_at=NOON)


def test_what_a_service_emits_reaches_the_services_that_subscribe() -> None:
    echo, sink = Echo(), Sink()
    emitted: list[Emit] = []
    Pipeline({"echo": echo, "sink": sink}, emitted.append).push([change(1), change(2)])
    assert [event.topic for event in sink.seen] == ["commands", "commands"]
    assert [emit.topic for emit in emitted] == ["commands", "commands"]


def test_offsets_count_up_per_partition_and_a_key_keeps_its_partition() -> None:
    echo = Echo()
    pipeline = Pipeline({"echo": echo})
    for number in range(3):
        pipeline.push([change(number)])
    assert [event.offset for event in echo.seen] == [0, 1, 2]
    assert len({event.partition for event in echo.seen}) == 1


def test_a_tick_reaches_every_service() -> None:
    echo, sink = Echo(), Sink()
    Pipeline({"echo": echo, "sink": sink}).tick(NOON)
    assert echo.ticks == sink.ticks == [NOON]


class Waiting(Echo):
    """Keeps what it says until nothing more comes."""

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        self.seen += events
        return ()

    def end(self) -> Sequence[Emit]:
        return [Emit(topic="commands", key="x", record=command(str(event.offset))) for event in self.seen]


def test_at_the_end_what_a_service_waited_with_reaches_the_others() -> None:
    waiting, sink = Waiting(), Sink()
    pipeline = Pipeline({"waiting": waiting, "sink": sink})
    pipeline.push([change(1)])
    assert sink.seen == []
    pipeline.end(NOON)
    assert [event.topic for event in sink.seen] == ["commands"]
    assert NOON in sink.ticks
