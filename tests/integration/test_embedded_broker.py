"""The embedded broker keeps every law of a broker, and can be taken down for tests."""

import pytest

from libs.errors import Unavailable
from libs.streaming.embedded import EmbeddedBroker, declared_partitions
from libs.streaming.kafka import KafkaBroker
from tests.integration.broker_laws import TOPIC, BrokerLaws, Recorder, Running, encoded, eventually, read, send


class TestEmbeddedBroker(BrokerLaws):
    """Every law, on librdkafka's in-memory cluster."""


def test_every_declared_topic_exists_with_its_partitions(broker: KafkaBroker) -> None:
    assert set(declared_partitions()) <= broker.topic_names()


def test_what_was_not_acknowledged_is_not_written_behind_the_senders_back(
    embedded: EmbeddedBroker, broker: KafkaBroker
) -> None:
    handler = Recorder()
    with Running(broker, handler, "outage"):
        send(broker, encoded(1))
        eventually(lambda: handler.seen == ["1"])
        producer = broker.producer()
        embedded.set_down(down=True)
        producer.send(TOPIC, key=b"cart", value=encoded(2)[0])
        with pytest.raises(Unavailable, match="not acknowledged"):
            producer.flush(0.5)
        embedded.set_down(down=False)
        producer.send(TOPIC, key=b"cart", value=encoded(3)[0])
        producer.flush(20)
        eventually(lambda: handler.seen == ["1", "3"])
        producer.close()


def test_a_consumer_held_while_its_partitions_were_lost_reads_on_when_it_gets_them_back(
    embedded: EmbeddedBroker, broker: KafkaBroker
) -> None:
    send(broker, [b"a"])
    consumer = broker.consumer("lost-while-paused", [TOPIC])
    assert len(read(consumer, 1)) == 1
    consumer.pause()
    embedded.set_down(down=True)
    eventually(lambda: not consumer.poll(1, 0.05) and not consumer.assignment())
    consumer.resume()
    embedded.set_down(down=False)
    assert [message.value for message in read(consumer, 1)] == [b"a"]
    consumer.close()
