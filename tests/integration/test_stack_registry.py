"""Schemas in a real registry: registered, held to BACKWARD, and used by other teams' plain consumers."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.request import Request, urlopen

import pytest
from confluent_kafka import DeserializingConsumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from typer.testing import CliRunner

import schemas
from libs.contracts.avro_schema import derive
from libs.contracts.codec import Codec, from_json
from libs.contracts.incident import IncidentChanged
from libs.contracts.records import RECORDS
from libs.contracts.topics import INCIDENTS, is_raw, topics
from libs.errors import ConfigurationError, InvalidMessage, Unavailable
from libs.service.platform import open_platform
from libs.service.settings import load_settings
from libs.streaming.kafka import KafkaBroker
from libs.streaming.registry import Registry, RegistryAccess, RegistrySchemaIds
from paramedic.cli import app
from paramedic.schema_registration import SubjectState, compare, register
from tests.integration.stack_servers import address, renew_topics

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


@pytest.fixture
def registry() -> Registry:
    """A registry without subjects."""
    url = address("registry")
    with SchemaRegistryClient({"url": url}) as client:
        for subject in client.get_subjects():
            client.delete_subject(subject)
            client.delete_subject(subject, permanent=True)
    return Registry(RegistryAccess(url=url))


@pytest.fixture
def configured(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMEDIC_SCHEMA_REGISTRY", address("registry"))
    monkeypatch.setenv("PARAMEDIC_BROKER", address("kafka"))


def states(registry: Registry) -> set[SubjectState]:
    return {subject.state for subject in compare(registry)}


def incident() -> IncidentChanged:
    (example,) = (schemas.ROOT / "examples" / "incident-changed").glob("typical.json")
    return from_json(example.read_bytes(), IncidentChanged)


def test_every_topic_is_registered_once_with_its_history(registry: Registry) -> None:
    assert states(registry) == {SubjectState.MISSING}
    register(registry)
    assert states(registry) == {SubjectState.REGISTERED}
    register(registry)
    found = {subject.name: subject for subject in compare(registry)}
    assert set(found) == {f"{topic.name}-value" for topic in topics().values() if not is_raw(topic.name)}
    assert found["recommendations-value"].version == 2
    assert {subject.compatibility for subject in found.values()} == {"BACKWARD"}


def test_an_incompatible_schema_is_refused_and_its_changes_are_shown(registry: Registry, configured: None) -> None:
    poorer = without(derive(RECORDS["command"]), "actor")  # then today's has a field more, without a default
    post_schema("commands-value", poorer)
    (wrong,) = [subject for subject in compare(registry) if subject.state is SubjectState.INCOMPATIBLE]
    assert wrong.name == "commands-value"
    assert wrong.changes == ("+ actor: string, no default",)
    with pytest.raises(ConfigurationError, match="commands-value"):
        register(registry)
    shown = CliRunner().invoke(app, ["schemas", "check"])
    assert shown.exit_code == 1
    assert "+ actor: string, no default" in shown.output


def test_the_registry_itself_refuses_what_breaks_readers(registry: Registry) -> None:
    register(registry)
    broken = derive(RECORDS["command"])
    broken["fields"].append({"name": "added", "type": "string"})
    with pytest.raises(ConfigurationError):
        registry.register("commands-value", broken)


def test_a_schema_that_is_not_registered_holds_the_producer(registry: Registry) -> None:
    codec = Codec(RegistrySchemaIds(registry))
    with pytest.raises(Unavailable, match="paramedic schemas register"):
        codec.encode(INCIDENTS, incident())
    register(registry)
    assert codec.decode(INCIDENTS, codec.encode(INCIDENTS, incident())) == incident()


def test_an_unknown_id_is_a_refused_message(registry: Registry) -> None:
    with pytest.raises(InvalidMessage, match="unknown schema id"):
        RegistrySchemaIds(registry).schema_of(987_654)


def test_a_registry_that_is_away_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="schema registry"):
        Registry(RegistryAccess(url="http://127.0.0.1:9")).subjects()


def test_another_teams_plain_consumer_reads_incidents(registry: Registry, configured: None) -> None:
    register(registry)
    renew_topics([INCIDENTS])
    platform = open_platform("test", load_settings())
    wanted = replace(incident(), id=str(uuid.uuid4()))
    assert isinstance(platform.broker, KafkaBroker)
    producer = platform.broker.producer()
    producer.send(INCIDENTS, key=wanted.id.encode(), value=platform.codec.encode(INCIDENTS, wanted))
    producer.flush()
    producer.close()
    with SchemaRegistryClient({"url": address("registry")}) as client:
        consumer = DeserializingConsumer(
            {
                "bootstrap.servers": address("kafka"),
                "group.id": f"another-team-{uuid.uuid4()}",
                "auto.offset.reset": "earliest",
                "value.deserializer": AvroDeserializer(client),
            }
        )
        consumer.subscribe([INCIDENTS])
        message = consumer.poll(60.0)
        consumer.close()
    assert message is not None
    read: Mapping[str, Any] = message.value()
    assert message.key().decode() == read["id"] == wanted.id
    assert read["title"] == wanted.title
    assert read["opened_at"] == wanted.opened_at
    assert [anomaly["metric"] for anomaly in read["anomalies"]] == [anomaly.metric for anomaly in wanted.anomalies]


def without(schema: dict[str, Any], field: str) -> dict[str, Any]:
    return {**schema, "fields": [known for known in schema["fields"] if known["name"] != field]}


def post_schema(subject: str, schema: Mapping[str, Any]) -> None:
    """Register as another team's tool would."""
    call("POST", f"/subjects/{subject}/versions", {"schema": json.dumps(schema), "schemaType": "AVRO"})


def call(method: str, path: str, body: Mapping[str, Any]) -> None:
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    request = Request(address("registry") + path, data=json.dumps(body).encode(), headers=headers, method=method)
    with urlopen(request, timeout=20) as answer:
        assert answer.status == 200
