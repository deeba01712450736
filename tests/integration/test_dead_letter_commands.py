"""Refused messages can be listed with their reason and sent back with their original bytes."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.errors import InvalidMessage, NotFound
from libs.service.platform import Platform, open_platform
from libs.service.settings import Settings
from libs.streaming.broker import RawMessage
from libs.streaming.dead_letters import refuse
from libs.streaming.embedded import EmbeddedBroker
from paramedic.dead_letter_reading import read_dead_letters, send_back

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def platform(embedded: EmbeddedBroker, tmp_path: Path) -> Platform:
    return open_platform("test", Settings(data_dir=tmp_path, broker=embedded.bootstrap))


def refuse_one(platform: Platform, value: bytes) -> None:
    producer = platform.broker.producer()
    message = RawMessage(
        topic="changes", partition=0, offset=5, key=b"cart", value=value, headers=(("origin", b"test"),)
    )
    refuse(producer, message, InvalidMessage("what is this"), "recorder", NOON)
    producer.flush()
    producer.close()


def test_a_refused_message_is_listed_with_its_reason(platform: Platform) -> None:
    refuse_one(platform, b"bad")
    (letter,) = read_dead_letters(platform, "changes")
    assert (letter.topic, letter.offset, letter.service) == ("changes", "5", "recorder")
    assert letter.error_message == "what is this"
    assert letter.fields()["value_hex"] == b"bad".hex()


def test_a_refused_message_goes_back_with_its_original_bytes_and_headers(platform: Platform) -> None:
    refuse_one(platform, b"bad")
    send_back(platform, read_dead_letters(platform, None))
    (back,) = platform.broker.read_to_end(["changes"])
    assert (back.key, back.value) == (b"cart", b"bad")
    assert [name for name, _ in back.headers] == ["origin", "paramedic.replayed"]


def test_an_unknown_topic_is_named(platform: Platform) -> None:
    with pytest.raises(NotFound, match="nonsense is not a topic"):
        read_dead_letters(platform, "nonsense")
