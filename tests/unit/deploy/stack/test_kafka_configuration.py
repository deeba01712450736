"""The broker's configuration: loopback only, one node, nothing guessed from names."""

import uuid
import xml.etree.ElementTree as ET
from pathlib import Path

from deploy.stack.kafka import cluster_id, pom_of, server_properties
from deploy.stack.layout import Ports


def properties() -> dict[str, str]:
    text = server_properties(Ports(), Path("/data"), "secret")
    return dict(line.split("=", 1) for line in text.splitlines())


def test_every_listener_is_on_loopback() -> None:
    for name in ("listeners", "advertised.listeners"):
        for listener in properties()[name].split(","):
            assert listener.partition("://")[2].startswith("127.0.0.1:")


def test_every_listener_has_a_protocol() -> None:
    protocols = dict(pair.split(":") for pair in properties()["listener.security.protocol.map"].split(","))
    names = {listener.partition("://")[0] for listener in properties()["listeners"].split(",")}
    assert names == set(protocols)
    assert protocols["TLS"] == "SASL_SSL"


def test_topics_are_never_created_by_a_name_that_somebody_mistyped() -> None:
    assert properties()["auto.create.topics.enable"] == "false"


def test_internal_topics_need_one_replica() -> None:
    factors = {name: value for name, value in properties().items() if name.endswith(("replication.factor", "min.isr"))}
    assert len(factors) == 5
    assert set(factors.values()) == {"1"}


def test_a_cluster_id_is_22_characters_and_never_begins_with_a_dash() -> None:
    dash = uuid.UUID(int=0xF8 << 120)  # begins with the six bits that base64 writes as a dash
    assert cluster_id(dash).startswith("A")
    for number in range(64):
        text = cluster_id(uuid.UUID(int=number << 122))
        assert len(text) == 22
        assert text[0] != "-"


def test_a_pom_names_what_is_wanted() -> None:
    pom = ET.fromstring(pom_of(["org.apache.kafka:kafka_2.13:4.1.1", "g:a<b:1"]))
    space = "{http://maven.apache.org/POM/4.0.0}"
    names = [element.text for element in pom.iter(f"{space}artifactId")]
    assert names == ["stack-kafka", "kafka_2.13", "a<b"]
