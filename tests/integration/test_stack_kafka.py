"""A real Kafka keeps every law of a broker, and those that only a real cluster can show."""

import itertools
import threading
from dataclasses import replace

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

import schemas
from libs.contracts.codec import from_json
from libs.contracts.incident import IncidentChanged
from libs.contracts.topics import INCIDENTS
from libs.errors import Unavailable
from libs.streaming.kafka import KafkaBroker
from tests.integration.broker_laws import (
    CODEC,
    TOPIC,
    BrokerLaws,
    Recorder,
    Running,
    encoded,
    eventually,
    lag_of,
    send,
)
from tests.integration.stack_servers import address, renew_topics, stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
LAW_TOPICS = (TOPIC, f"{TOPIC}-dlq", "commands")


@pytest.fixture
def broker() -> KafkaBroker:
    renew_topics(LAW_TOPICS)
    return KafkaBroker(address("kafka"), fetch_wait_ms=500)


class TestRealKafka(BrokerLaws):
    """Every law, on Apache Kafka."""


def test_a_member_that_joins_and_one_that_leaves_lose_and_double_nothing() -> None:
    wide = NewTopic(TOPIC, 4, 1)
    renew_topics(LAW_TOPICS, {TOPIC: wide})
    broker = KafkaBroker(address("kafka"), fetch_wait_ms=500)
    group = "rebalance"
    first, second = Recorder(), Recorder()
    numbers = itertools.count()
    sent: list[str] = []
    producer = broker.producer()

    def send_more(count: int) -> None:
        for number in itertools.islice(numbers, count):
            producer.send(TOPIC, key=f"service-{number % 40}".encode(), value=encoded(number)[0])
            sent.append(str(number))
        producer.flush()

    stays = Running(broker, first, group)
    send_more(200)
    eventually(lambda: len(first.seen) == 200, 60)
    with Running(broker, second, group):  # joins

        def second_has_its_share() -> bool:
            send_more(20)
            return len(second.seen) >= 100

        eventually(second_has_its_share, 60)
    send_more(200)  # it has left
    eventually(lambda: len(first.seen) + len(second.seen) >= len(sent), 60)
    stays.loop.stop()
    stays.join()
    assert sorted(first.seen + second.seen, key=int) == sent
    commands = [message.key.decode() for message in broker.read_to_end(["commands"]) if message.key]
    assert sorted(commands, key=int) == sent
    producer.close()


def test_a_broker_killed_and_restarted_loses_and_doubles_nothing(broker: KafkaBroker) -> None:
    handler, servers = Recorder(), stack()
    producer = broker.producer()
    with Running(broker, handler, "killed-broker"):
        send(broker, encoded(1))
        eventually(lambda: lag_by_kafka("killed-broker") == 0)  # killed before the commit, 1 would rightly come again
        servers.kill("kafka")
        producer.send(TOPIC, key=b"cart", value=encoded(2)[0])
        with pytest.raises(Unavailable, match="not acknowledged"):
            producer.flush(1.0)
        servers.up(["kafka"])
        producer.send(TOPIC, key=b"cart", value=encoded(3)[0])
        producer.flush(60)
        eventually(lambda: "3" in handler.seen, 60)
        assert handler.seen == ["1", "3"]
        eventually(lambda: len(broker.read_to_end(["commands"])) == 2, 60)
    producer.close()
    assert [message.value for message in broker.read_to_end([TOPIC])] == encoded(1, 3)


def test_a_service_whose_broker_dies_while_it_writes_goes_on_where_it_was(broker: KafkaBroker) -> None:
    handler, servers = Recorder(), stack()
    handler.unavailable.set()
    send(broker, encoded(*range(50)))
    with Running(broker, handler, "killed-while-held"):
        eventually(lambda: handler.attempts > 0)
        servers.kill("kafka")
        handler.unavailable.clear()  # its effects now wait for a broker that is not there
        started = threading.Thread(target=servers.up, args=(["kafka"],))
        started.start()
        eventually(lambda: keys_of_commands(broker) == {str(n).encode() for n in range(50)}, 120)
        started.join()


def keys_of_commands(broker: KafkaBroker) -> set[bytes | None]:
    try:
        return {message.key for message in broker.read_to_end(["commands"], timeout_s=5.0)}
    except Unavailable:
        return set()


def test_the_newest_state_of_each_incident_survives_compaction() -> None:
    quick = {
        "cleanup.policy": "compact",
        "segment.ms": "200",
        "min.cleanable.dirty.ratio": "0.01",
        "min.compaction.lag.ms": "0",
        "max.compaction.lag.ms": "500",
        "delete.retention.ms": "100",
    }
    renew_topics([INCIDENTS], {INCIDENTS: NewTopic(INCIDENTS, 1, 1, config=quick)})
    broker = KafkaBroker(address("kafka"), fetch_wait_ms=500)
    producer = broker.producer()
    versions, ids = 30, ("incident-a", "incident-b", "incident-c")
    for version in range(1, versions + 1):
        for incident in ids:
            producer.send(INCIDENTS, key=incident.encode(), value=changed(incident, version))
    producer.flush()

    def compacted() -> bool:
        # The newest segment is never compacted: something new must follow for the old ones to be closed.
        producer.send(INCIDENTS, key=b"later", value=changed("later", 1))
        producer.flush()
        return sum(message.key != b"later" for message in broker.read_to_end([INCIDENTS])) == len(ids)

    eventually(compacted, 90)
    kept = [message for message in broker.read_to_end([INCIDENTS]) if message.key != b"later"]
    decoded = [CODEC.decode(INCIDENTS, message.value) for message in kept]
    states = {record.id: record.version for record in decoded if isinstance(record, IncidentChanged)}
    assert states == dict.fromkeys(ids, versions)
    producer.close()


def changed(incident: str, version: int) -> bytes:
    example = next((schemas.ROOT / "examples" / "incident-changed").glob("*.json"))
    record = from_json(example.read_bytes(), IncidentChanged)
    return CODEC.encode(INCIDENTS, replace(record, id=incident, version=version))


def test_the_exported_lag_is_what_kafka_itself_says_of_the_group(broker: KafkaBroker) -> None:
    handler, group = Recorder(), "lag-of-record"
    send(broker, encoded(*range(10)))
    with Running(broker, handler, group) as running:
        eventually(lambda: len(handler.seen) == 10)
        handler.unavailable.set()
        send(broker, encoded(*range(10, 17)))
        eventually(lambda: lag_of(running) == lag_by_kafka(group) == 7, 30)
        handler.unavailable.clear()
        eventually(lambda: lag_of(running) == lag_by_kafka(group) == 0, 60)


def lag_by_kafka(group: str) -> int:
    """End of the topic less the group's committed offset, from the cluster's administration."""
    admin = AdminClient({"bootstrap.servers": address("kafka"), "log_level": 2})
    place = TopicPartition(TOPIC, 0)
    (offsets,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [place])]).values()
    (ends,) = admin.list_offsets({place: OffsetSpec.latest()}).values()
    return int(ends.result(20).offset) - int(offsets.result(20).topic_partitions[0].offset)
