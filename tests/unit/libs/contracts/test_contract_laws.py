"""Laws of the contract: dataclass equals schema, today reads every release, examples round-trip, topics are owned."""

import io
import json
import tomllib
from pathlib import Path

import fastavro
import pytest
from fastavro.read import SchemaResolutionError
from fastavro.types import Schema
from fastavro.utils import generate_many

import schemas
from libs.contracts.avro_schema import derive, record_name
from libs.contracts.codec import Codec, from_json, to_json
from libs.contracts.records import RECORDS
from libs.contracts.schema_ids import FixedSchemaIds
from libs.contracts.topics import load, topics
from libs.errors import ConfigurationError

SERVICES = {"intake", "recorder", "detector", "ticketing", "investigator", "remediation", "recommender", "console"}
RELEASED = sorted((schemas.ROOT / "released").glob("*.avsc"))
EXAMPLES = sorted((schemas.ROOT / "examples").glob("*/*.json"))


def topic_of(name: str) -> str:
    return next(topic.name for topic in topics().values() if topic.record == name)


@pytest.mark.parametrize("name", RECORDS)
def test_the_schema_file_equals_its_dataclass(name: str) -> None:
    written = json.loads((schemas.ROOT / f"{name}.avsc").read_text())
    assert written == derive(RECORDS[name]), "run: python -m libs.contracts.avro_schema"


@pytest.mark.parametrize("name", RECORDS)
def test_the_newest_release_equals_todays_schema(name: str) -> None:
    ids = FixedSchemaIds()
    newest = ids.schema_of(ids.id_of("", name))
    assert newest.schema == derive(RECORDS[name]), f"release {name}.{newest.version + 1}.avsc and give it an id"


@pytest.mark.parametrize("path", RELEASED, ids=lambda p: p.name)
def test_todays_reader_reads_every_released_writer(path: Path) -> None:
    name = path.name.split(".")[0]
    writer = json.loads(path.read_text())
    assert reads(derive(RECORDS[name]), writer)


@pytest.mark.parametrize("path", RELEASED, ids=lambda p: p.name)
def test_every_released_schema_has_an_id(path: Path) -> None:
    name, version, _ = path.name.split(".")
    ids = tomllib.loads((schemas.ROOT / "ids.toml").read_text())
    assert version in ids[name]


def reads(reader: Schema, writer: Schema) -> bool:
    """Whether data of one schema, random in every field, is read by the other."""
    body = io.BytesIO()
    fastavro.schemaless_writer(body, fastavro.parse_schema(writer), next(iter(generate_many(writer, 1))))
    body.seek(0)
    try:
        fastavro.schemaless_reader(body, fastavro.parse_schema(writer), fastavro.parse_schema(reader))
    except SchemaResolutionError:
        return False
    return True


def test_the_law_of_readers_sees_a_planted_violation() -> None:
    writer = derive(RECORDS["command"])
    reader = derive(RECORDS["command"])
    reader["fields"].append({"name": "added", "type": "string"})
    assert not reads(reader, writer), "a new field without a default must break the law"


@pytest.mark.parametrize("name", RECORDS)
def test_every_record_has_an_example(name: str) -> None:
    assert list((schemas.ROOT / "examples" / name).glob("*.json")), f"add schemas/examples/{name}/<case>.json"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_example_round_trips_through_json_and_avro(path: Path) -> None:
    record = from_json(path.read_bytes(), RECORDS[path.parent.name])
    assert from_json(to_json(record), RECORDS[path.parent.name]) == record
    topic = topic_of(path.parent.name)
    assert Codec().decode(topic, Codec().encode(topic, record)) == record


def test_every_topic_names_a_known_record_an_owner_and_consumers() -> None:
    for topic in topics().values():
        assert topic.record in {*RECORDS, "otlp"}, topic.name
        assert topic.producers, topic.name
        assert set(topic.producers) <= SERVICES | {"outside"}, topic.name
        assert topic.consumers, topic.name
        assert set(topic.consumers) <= SERVICES | {"others"}, topic.name
        assert topic.partitions >= 1
        assert topic.cleanup in {"delete", "compact"}


def test_every_record_travels_on_exactly_one_topic() -> None:
    carried = [topic.record for topic in topics().values() if topic.record != "otlp"]
    assert sorted(carried) == sorted(RECORDS)


def test_a_topic_file_with_a_wrong_field_says_which(tmp_path: Path) -> None:
    path = tmp_path / "topics.toml"
    path.write_text('[x]\nrecord = "r"\nkey = "k"\nproducers = ["p"]\nconsumers = []\npartitions = 1\ncolour = "red"\n')
    with pytest.raises(ConfigurationError, match=r"topic x.*colour"):
        load(path)


def test_record_names_are_the_schema_files_names() -> None:
    assert {record_name(record) for record in RECORDS.values()} == {p.stem for p in schemas.ROOT.glob("*.avsc")}
