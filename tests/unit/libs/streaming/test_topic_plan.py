"""A plan grows a cluster's topics to what is declared, and never shrinks one."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from libs.contracts.topics import Topic, topics
from libs.streaming.topic_plan import (
    Action,
    PresentTopic,
    Step,
    WantedTopic,
    plan,
    replication_for,
    wanted_topics,
)

CHANGES = Topic(
    name="changes",
    record="change-event",
    key="service.name",
    producers=("intake",),
    consumers=("recorder",),
    partitions=4,
    retention_h=24,
)
DAY_MS = "86400000"


def wanted() -> WantedTopic:
    return WantedTopic(name="changes", partitions=4, config={})


def present(partitions: int = 4, replication: int = 1, config: Mapping[str, str] | None = None) -> PresentTopic:
    return PresentTopic(name="changes", partitions=partitions, replication=replication, config=config or {})


def only_step(topic: WantedTopic, found: PresentTopic | None, replication: int = 1) -> Step:
    (step,) = plan([topic], {} if found is None else {"changes": found}, replication)
    return step


def test_a_missing_topic_is_created_as_declared() -> None:
    step = only_step(wanted_topics([CHANGES], 1)[0], None)
    assert step.action is Action.CREATE
    assert (step.partitions, step.replication) == (4, 1)
    assert step.config["retention.ms"] == DAY_MS
    assert step.changes == ("4 partitions, 1 replicas, kept 24 h",)


def test_a_topic_as_declared_is_left_alone() -> None:
    topic = wanted_topics([CHANGES], 1)[0]
    step = only_step(topic, present(config=topic.config))
    assert (step.action, step.changes, step.notes) == (Action.KEEP, (), ())


def test_partitions_grow() -> None:
    step = only_step(wanted(), present(partitions=1))
    assert (step.action, step.grows, step.partitions) == (Action.CHANGE, True, 4)
    assert step.changes == ("partitions 1 -> 4; keys may move to another partition",)


def test_partitions_never_shrink() -> None:
    step = only_step(wanted(), present(partitions=12))
    assert (step.action, step.grows, step.partitions) == (Action.KEEP, False, 12)
    assert step.notes == ("has 12 partitions, 4 are declared; partitions never shrink",)


@pytest.mark.parametrize(
    ("name", "now", "declared", "changes"),
    [
        ("retention.ms", "3600000", DAY_MS, True),
        ("retention.ms", "604800000", DAY_MS, False),
        ("retention.ms", "-1", DAY_MS, False),
        ("retention.ms", DAY_MS, "-1", True),
        ("max.message.bytes", "1048588", "8388608", True),
        ("max.message.bytes", "16777216", "8388608", False),
        ("cleanup.policy", "delete", "compact", True),
        ("cleanup.policy", "compact", "delete", False),
        ("cleanup.policy", "compact,delete", "delete", False),
        ("cleanup.policy", "compact,delete", "compact", True),
    ],
)
def test_configuration_grows_and_never_shrinks(name: str, now: str, declared: str, changes: bool) -> None:
    topic = WantedTopic(name="changes", partitions=4, config={name: declared})
    step = only_step(topic, PresentTopic(name="changes", partitions=4, replication=1, config={name: now}))
    if changes:
        assert step.config == {name: declared}
        assert step.changes == (f"{name} {now} -> {declared}",)
    else:
        assert (step.action, step.config) == (Action.KEEP, {})
        assert step.notes == (f"{name} is {now}, {declared} is declared; nothing is shrunk",)


def test_fewer_replicas_than_wanted_are_said_and_not_touched() -> None:
    step = only_step(wanted(), present(replication=1), replication=3)
    assert step.action is Action.KEEP
    assert "kafka-reassign-partitions" in step.notes[0]


def test_carrying_a_plan_out_leaves_nothing_to_do() -> None:
    declared = wanted_topics(topics().values(), 1)
    made = {
        step.name: PresentTopic(
            name=step.name, partitions=step.partitions, replication=step.replication, config=step.config
        )
        for step in plan(declared, {}, 1)
    }
    assert {step.action for step in plan(declared, made, 1)} == {Action.KEEP}
    narrow = {name: replace(topic, partitions=1) for name, topic in made.items()}
    assert {step.name for step in plan(declared, narrow, 1) if step.grows} == {
        topic.name for topic in topics().values() if topic.partitions > 1
    }


def test_every_topic_has_a_dead_letter_topic_kept_for_a_month() -> None:
    declared = {topic.name: topic for topic in wanted_topics(topics().values(), 1)}
    for topic in topics().values():
        assert declared[topic.dead_letter].config["retention.ms"] == str(720 * 3_600_000)
        assert declared[topic.dead_letter].config["cleanup.policy"] == "delete"


def test_every_topic_takes_the_largest_message_of_the_producers() -> None:
    assert all(int(topic.config["max.message.bytes"]) >= 8_000_000 for topic in wanted_topics([CHANGES], 1))


@pytest.mark.parametrize(("brokers", "chosen", "expected"), [(1, None, 1), (2, None, 2), (5, None, 3), (5, 2, 2)])
def test_replicas_are_three_as_far_as_there_are_brokers(brokers: int, chosen: int | None, expected: int) -> None:
    assert replication_for(brokers, chosen) == expected


@pytest.mark.parametrize(("replication", "least"), [(1, None), (2, "1"), (3, "2")])
def test_a_write_is_acknowledged_by_all_replicas_but_one(replication: int, least: str | None) -> None:
    assert wanted_topics([CHANGES], replication)[0].config.get("min.insync.replicas") == least
