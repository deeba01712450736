"""The demo runs on real servers only where nobody's data is, and says whose data is in the way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.contracts.document import Section
from libs.contracts.topics import CHANGES, topics
from libs.errors import ConfigurationError
from libs.service.settings import Settings
from libs.streaming.kafka import KafkaBroker
from libs.streaming.kafka_topics import TopicAdmin
from paramedic.demo.cluster import put_in_place, require_own
from tests.integration.elastic_servers import Space, empty_space, own_prefix
from tests.integration.stack_servers import address, renew_topics
from tests.unit.libs.stores.incident_store_laws import incident
from tests.unit.libs.stores.telemetry_samples import metric_batch

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]
EVERY_TOPIC = [name for topic in topics().values() for name in (topic.name, topic.dead_letter)]


@pytest.fixture
def space() -> Iterator[Space]:
    with own_prefix() as prefix, empty_space(prefix) as space:
        yield space


@pytest.fixture
def settings(space: Space, tmp_path: Path) -> Settings:
    renew_topics(EVERY_TOPIC)
    return Settings(
        data_dir=tmp_path, broker=address("kafka"), schema_registry=address("registry"), incident_store=space.address,
        telemetry_store=space.address, elasticsearch_prefix=space.prefix,
    )  # fmt: skip


def test_the_demo_runs_on_servers_that_are_empty_and_prepares_them_itself(settings: Settings) -> None:
    require_own(settings)
    told: list[str] = []
    put_in_place(settings, told.append)
    assert [line.split(":")[0] for line in told] == ["topics", "schemas", "incident store", "telemetry store"]
    require_own(settings)


def test_the_demo_refuses_a_broker_that_holds_messages(settings: Settings) -> None:
    producer = KafkaBroker(settings.broker).producer()
    for _ in range(3):
        producer.send(CHANGES, key=b"cart", value=b"somebody's")
    producer.flush()
    assert TopicAdmin(settings.broker, settings.kafka).messages(EVERY_TOPIC) == {CHANGES: 3}
    with pytest.raises(ConfigurationError, match=rf"{CHANGES} \(3 messages\).*make demo-stack"):
        require_own(settings)


def test_the_demo_refuses_an_incident_store_that_holds_incidents(settings: Settings, space: Space) -> None:
    space.incidents().put("a", Section.INCIDENT, incident("a"))
    with pytest.raises(ConfigurationError, match=r"1 incidents.*PARAMEDIC_ELASTICSEARCH_PREFIX"):
        require_own(settings)


def test_the_demo_refuses_a_telemetry_store_that_knows_services(settings: Settings, space: Space) -> None:
    space.telemetry().write(metrics=[metric_batch("cart", [("cpu", 1, 1.0)])])
    with pytest.raises(ConfigurationError, match=r"telemetry store .* holds data of cart"):
        require_own(settings)
