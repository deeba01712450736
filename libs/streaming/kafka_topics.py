"""Topic administration on confluent-kafka: what a cluster has, and one step of a plan at a time."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from libs.errors import ConfigurationError, Unavailable
from libs.streaming.topic_plan import Action, PresentTopic, Step

T = TypeVar("T")
_ANSWER_S: Final = 20.0
_DENIED: Final = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_CONFIG,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTopics:
    """What a cluster has.

    Attributes:
        brokers: How many brokers it has.
        topics: Those of the asked-for topics that exist, by name.
    """

    brokers: int
    topics: Mapping[str, PresentTopic]


class TopicAdmin:
    """Looks at the topics of one cluster and changes them.

    Args:
        bootstrap: host:port list.
        extra: More librdkafka settings.
    """

    def __init__(self, bootstrap: str, extra: Mapping[str, str | int | float | bool]) -> None:
        self._bootstrap = bootstrap
        self._client = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2, **extra})

    def look(self, names: Iterable[str]) -> ClusterTopics:
        """Partitions, replicas and configuration of topics; `Unavailable` when the cluster does not answer."""
        metadata: Any = self._asking(lambda: self._client.list_topics(timeout=_ANSWER_S))
        found = [name for name in names if name in metadata.topics]
        configs = self._configs(found)
        present = {
            name: PresentTopic(
                name=name, partitions=len(metadata.topics[name].partitions),
                replication=len(metadata.topics[name].partitions[0].replicas), config=configs[name],
            )
            for name in found
        }  # fmt: skip
        return ClusterTopics(brokers=len(metadata.brokers), topics=present)

    def messages(self, names: Iterable[str]) -> dict[str, int]:
        """How many messages each topic holds; topics that are empty or not there are left out."""
        metadata: Any = self._asking(lambda: self._client.list_topics(timeout=_ANSWER_S))
        places = [
            TopicPartition(name, partition)
            for name in names
            if name in metadata.topics
            for partition in metadata.topics[name].partitions
        ]
        if not places:
            return {}
        first = self._client.list_offsets({place: OffsetSpec.earliest() for place in places})
        end = self._client.list_offsets({place: OffsetSpec.latest() for place in places})
        held: dict[str, int] = {}
        for place in places:
            count = self._wait(end[place], place.topic).offset - self._wait(first[place], place.topic).offset
            if count > 0:
                held[place.topic] = held.get(place.topic, 0) + count
        return held

    def carry_out(self, step: Step) -> None:
        """Do what a step says; a topic that somebody else created meanwhile is as good.

        Raises:
            ConfigurationError: The cluster refuses, and will again.
            Unavailable: It does not answer.
        """
        if step.action is Action.CREATE:
            new = NewTopic(step.name, step.partitions, step.replication, config=dict(step.config))
            self._wait(self._client.create_topics([new])[step.name], step.name)
            return
        if step.grows:
            wider = self._client.create_partitions([NewPartitions(step.name, step.partitions)])
            self._wait(wider[step.name], step.name)
        if step.config:
            entries = [
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
                for name, value in step.config.items()
            ]
            resource = ConfigResource(ResourceType.TOPIC, step.name, incremental_configs=entries)
            (changed,) = self._client.incremental_alter_configs([resource]).values()
            self._wait(changed, step.name)

    def _configs(self, names: list[str]) -> dict[str, dict[str, str]]:
        if not names:
            return {}
        asked = self._client.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
        return {
            resource.name: {name: str(entry.value) for name, entry in self._wait(future, resource.name).items()}
            for resource, future in asked.items()
        }

    def _wait(self, future: "Future[Any]", name: str) -> Any:
        return self._asking(lambda: future.result(_ANSWER_S), name)

    def _asking(self, ask: Callable[[], T], topic: str = "") -> T | None:
        where = f"topic {topic}" if topic else f"broker {self._bootstrap}"
        try:
            return ask()
        except TimeoutError as error:
            raise Unavailable(f"{where}: no answer within {_ANSWER_S:g} s") from error
        except KafkaException as error:
            problem = error.args[0]
            if problem.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                return None
            if problem.code() in _DENIED:
                raise ConfigurationError(f"{where}: the cluster refuses: {problem.str()}") from error
            raise Unavailable(f"{where}: {problem.str()}") from error
