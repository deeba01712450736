"""The real servers as `make test-stack` publishes them, for tests marked `stack`."""

import os
import time
from collections.abc import Callable, Mapping, Sequence

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.stack.layout import layout_from_environment
from deploy.stack.stack import Stack
from libs.contracts.topics import topics
from libs.streaming.topic_plan import wanted_topics


def address(key: str) -> str:
    """Address of a server; skips, saying so, where the stack is not up or lacks it."""
    found = os.environ.get(f"PARAMEDIC_STACK_{key.upper()}", "")
    if not found:
        pytest.skip(f"NOT TRIED ON A REAL SERVER: no {key}; run it with `make test-stack`")
    return found


def stack() -> Stack:
    """The stack that the tests run beside, to kill and start its servers."""
    return Stack(layout_from_environment())


def renew_topics(names: Sequence[str], changed: Mapping[str, NewTopic] | None = None) -> None:
    """Delete topics with what they hold and create them as declared, or as given."""
    admin = AdminClient({"bootstrap.servers": address("kafka"), "log_level": 2})
    present = admin.list_topics(timeout=20).topics
    doomed = [name for name in names if name in present]
    for future in (admin.delete_topics(doomed) if doomed else {}).values():
        future.result(20)
    until(lambda: not set(names) & set(admin.list_topics(timeout=20).topics), "the topics are deleted")
    for wanted in wanted_topics(topics().values(), 1):
        if wanted.name in names:
            new = NewTopic(wanted.name, wanted.partitions, 1, config=dict(wanted.config))
            _created(admin, (changed or {}).get(wanted.name, new))
    until(lambda: set(names) <= set(admin.list_topics(timeout=20).topics), "the topics are created")


def _created(admin: AdminClient, topic: NewTopic) -> None:
    """Create; a topic that is still being deleted is in the way for a moment."""

    def created() -> bool:
        try:
            admin.create_topics([topic])[topic.topic].result(20)
        except KafkaException:
            return False
        return True

    until(created, f"{topic.topic} is created")


def until(condition: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)
