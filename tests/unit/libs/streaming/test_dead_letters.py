"""A service that refuses most of its input stops instead of emptying a topic into its dead letters."""

from datetime import UTC, datetime

import pytest

from libs.errors import InvalidMessage
from libs.streaming.broker import RawMessage
from libs.streaming.dead_letters import RefusalGuard, TooManyRefused, refusal_headers

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MESSAGE = RawMessage(topic="changes", partition=2, offset=7, key=b"k", value=b"v")


def test_one_bad_first_message_does_not_stop_a_service() -> None:
    RefusalGuard().record(refused=True)


def test_more_than_half_refused_stops_the_service() -> None:
    guard = RefusalGuard(window=10, minimum=4)
    for refused in (True, False, True):
        guard.record(refused=refused)
    with pytest.raises(TooManyRefused, match="3 of the last 4"):
        guard.record(refused=True)


def test_exactly_half_refused_does_not() -> None:
    guard = RefusalGuard(window=10, minimum=2)
    for refused in (False, True) * 10:
        guard.record(refused=refused)


def test_headers_say_where_it_came_from_and_why() -> None:
    headers = dict(refusal_headers(MESSAGE, InvalidMessage("bad column"), "recorder", NOW))
    assert headers["paramedic.topic"] == b"changes"
    assert (headers["paramedic.partition"], headers["paramedic.offset"]) == (b"2", b"7")
    assert headers["error.type"] == b"InvalidMessage"
    assert headers["error.message"] == b"bad column"
    assert "error.stack_trace" not in headers


def test_a_bug_carries_its_traceback() -> None:
    try:
        raise ZeroDivisionError("oops")
    except ZeroDivisionError as error:
        headers = dict(refusal_headers(MESSAGE, error, "recorder", NOW))
    assert b"ZeroDivisionError: oops" in headers["error.stack_trace"]
