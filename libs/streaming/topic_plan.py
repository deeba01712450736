"""What it takes to bring a cluster's topics to what schemas/topics.toml declares; grows and never shrinks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from libs.contracts.topics import Topic

LARGEST_MESSAGE_BYTES: Final = 8_388_608  # the producers send up to 8,000,000; Kafka's default of 1 MiB refuses them
DEAD_LETTER_RETENTION_H: Final = 720.0  # a month to look at what was refused
REPLICATION: Final = 3  # where the cluster has as many brokers
_CLEANUP: Final = "cleanup.policy"
_RETENTION: Final = "retention.ms"
_GROWING: Final = (_RETENTION, "max.message.bytes", "min.insync.replicas")
_HOUR_MS: Final = 3_600_000


class Action(StrEnum):
    """What is to be done about a topic."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTopic:
    """A topic as it is declared.

    Attributes:
        name: Topic.
        partitions: At least so many.
        config: Topic configuration, Kafka's names.
    """

    name: str
    partitions: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentTopic:
    """A topic as the cluster has it.

    Attributes:
        name: Topic.
        partitions: How many it has.
        replication: Replicas of its first partition.
        config: Topic configuration in force.
    """

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What is to be done about one topic.

    Attributes:
        name: Topic.
        action: create, change or keep.
        partitions: Partitions afterwards.
        grows: Whether partitions are added.
        replication: Replication factor afterwards.
        config: Configuration to set.
        changes: What changes, for people.
        notes: What was left as it is although it differs, and why.
    """

    name: str
    action: Action
    partitions: int
    grows: bool = False
    replication: int
    config: Mapping[str, str]
    changes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def wanted_topics(declared: Iterable[Topic], replication: int) -> list[WantedTopic]:
    """Every declared topic and its dead-letter topic."""
    shared = {"max.message.bytes": str(LARGEST_MESSAGE_BYTES)}
    if replication > 1:
        shared["min.insync.replicas"] = str(
            replication - 1
        )  # one broker may be away, and no acknowledged write is lost
    wanted = []
    for topic in declared:
        config = {**shared, _CLEANUP: topic.cleanup}
        if topic.cleanup == "delete":
            config[_RETENTION] = str(int(topic.retention_h * _HOUR_MS))
        wanted.append(WantedTopic(name=topic.name, partitions=topic.partitions, config=config))
        letters = {**shared, _CLEANUP: "delete", _RETENTION: str(int(DEAD_LETTER_RETENTION_H * _HOUR_MS))}
        wanted.append(WantedTopic(name=topic.dead_letter, partitions=1, config=letters))
    return wanted


def replication_for(brokers: int, chosen: int | None) -> int:
    """The chosen replication factor, or 3 as far as there are brokers."""
    return chosen if chosen is not None else max(1, min(REPLICATION, brokers))


def plan(wanted: Sequence[WantedTopic], present: Mapping[str, PresentTopic], replication: int) -> list[Step]:
    """One step a topic, in the order given."""
    return [_step(topic, present.get(topic.name), replication) for topic in wanted]


def _step(topic: WantedTopic, present: PresentTopic | None, replication: int) -> Step:
    if present is None:
        return Step(
            name=topic.name, action=Action.CREATE, partitions=topic.partitions, replication=replication,
            config=topic.config, changes=(_described(topic, replication),),
        )  # fmt: skip
    changes, notes, config = [], [], {}
    grows = topic.partitions > present.partitions
    if grows:
        changes.append(f"partitions {present.partitions} -> {topic.partitions}; keys may move to another partition")
    elif topic.partitions < present.partitions:
        notes.append(f"has {present.partitions} partitions, {topic.partitions} are declared; partitions never shrink")
    if present.replication < replication:
        notes.append(
            f"has {present.replication} replicas, {replication} are wanted; use kafka-reassign-partitions to add some"
        )
    for name, value in topic.config.items():
        now = present.config.get(name, "")
        if now == value:
            continue
        if _shrinks(name, now, value):
            notes.append(f"{name} is {now}, {value} is declared; nothing is shrunk")
            continue
        config[name] = value
        changes.append(f"{name} {now or 'unset'} -> {value}")
    return Step(
        name=topic.name, action=Action.CHANGE if changes else Action.KEEP, grows=grows, config=config,
        partitions=max(topic.partitions, present.partitions), replication=present.replication,
        changes=tuple(changes), notes=tuple(notes),
    )  # fmt: skip


def _shrinks(name: str, now: str, wanted: str) -> bool:
    """Whether a change would let the cluster keep or take less than it does now."""
    if name == _CLEANUP:
        return "compact" in now and wanted == "delete"  # what is compacted now would be deleted by age
    if name not in _GROWING or not now:
        return False
    unlimited = name == _RETENTION and int(now) < 0
    return unlimited or (int(now) > int(wanted) and not (name == _RETENTION and int(wanted) < 0))


def _described(topic: WantedTopic, replication: int) -> str:
    kept = topic.config[_CLEANUP]
    if _RETENTION in topic.config:
        kept = f"kept {int(topic.config[_RETENTION]) / _HOUR_MS:g} h"
    return f"{topic.partitions} partitions, {replication} replicas, {kept}"
