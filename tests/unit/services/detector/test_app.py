"""What the worker hands over to the one thread that judges."""

from types import SimpleNamespace

from faust.types.tuples import TP, Message

from services.detector.app import messages_of


def event(offset: int, generation: int) -> SimpleNamespace:
    message = Message(
        "telemetry-spans", 0, offset, 1_700_000_000.5, 0, {"origin": b"test"}, b"cart", b"value", None,
        tp=TP("telemetry-spans", 0), generation_id=generation,
    )  # fmt: skip
    return SimpleNamespace(message=message)


def test_messages_of_an_earlier_assignment_are_left_to_be_read_again() -> None:
    gathered = [event(100, 3), event(101, 3), event(90, 4), event(91, 4)]
    assert [message.offset for message in messages_of(gathered, 4)] == [90, 91]


def test_a_message_keeps_what_the_broker_gave_it() -> None:
    [message] = messages_of([event(7, 1)], 1)
    assert (message.topic, message.partition, message.offset) == ("telemetry-spans", 0, 7)
    assert (message.key, message.value, message.headers) == (b"cart", b"value", (("origin", b"test"),))
    assert message.timestamp_ms == 1_700_000_000_500
