"""SASL and TLS settings of PARAMEDIC_KAFKA reach a real broker, from librdkafka and from Faust."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from libs.errors import Unavailable
from libs.service.platform import open_platform
from libs.service.settings import load_settings
from libs.streaming.kafka import KafkaBroker
from paramedic.supervisor import Supervisor
from tests.integration.broker_laws import TOPIC, read, send
from tests.integration.stack_servers import address, renew_topics

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240)]


def login(mechanism: str, protocol: str = "SASL_PLAINTEXT", password: str = "") -> dict[str, str]:
    credentials = json.loads(Path(address("kafka_credentials")).read_text())
    return {
        "security.protocol": protocol,
        "sasl.mechanism": mechanism,
        "sasl.username": credentials["username"],
        "sasl.password": password or credentials["password"],
    }


def secured(name: str) -> tuple[str, dict[str, str]]:
    """Address and settings of a way in."""
    if name == "tls":
        tls = {"ssl.ca.location": address("kafka_ca")}
        return address("kafka_tls"), {**login("SCRAM-SHA-512", "SASL_SSL"), **tls}
    return address("kafka_sasl"), login(name)


@pytest.mark.parametrize("name", ["PLAIN", "SCRAM-SHA-512", "tls"])
def test_messages_pass_with_the_settings_of_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    renew_topics([TOPIC])
    place, settings = secured(name)
    monkeypatch.setenv("PARAMEDIC_BROKER", place)
    monkeypatch.setenv("PARAMEDIC_KAFKA", json.dumps(settings))
    monkeypatch.setenv("PARAMEDIC_DATA_DIR", str(tmp_path))
    broker = open_platform("test", load_settings()).broker
    send(broker, [b"a"])
    consumer = broker.consumer(f"secured-{name}", [TOPIC])
    assert [message.value for message in read(consumer, 1)] == [b"a"]
    consumer.close()


def test_a_wrong_password_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        KafkaBroker(address("kafka_sasl"), extra=login("PLAIN", password="wrong")).topic_names(timeout_s=3.0)


def test_a_certificate_that_nobody_vouches_for_is_unavailable() -> None:
    settings = login("SCRAM-SHA-512", "SASL_SSL")
    with pytest.raises(Unavailable):
        KafkaBroker(address("kafka_tls"), extra=settings).topic_names(timeout_s=3.0)


@pytest.mark.parametrize("name", ["PLAIN", "tls"])
def test_the_detector_becomes_ready_behind_a_login(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place, settings = secured(name)
    renew_topics(["telemetry-metrics", "telemetry-logs", "telemetry-spans", "anomalies"])
    monkeypatch.setenv("PARAMEDIC_BROKER", place)
    monkeypatch.setenv("PARAMEDIC_KAFKA", json.dumps(settings))
    monkeypatch.setenv("PARAMEDIC_DATA_DIR", str(tmp_path))
    with Supervisor(load_settings()) as supervisor:
        supervisor.start_service("detector")
        supervisor.wait_ready("detector", 120)


def test_topics_are_applied_behind_a_login(tmp_path: Path) -> None:
    place, settings = secured("tls")
    chosen = {"PARAMEDIC_BROKER": place, "PARAMEDIC_KAFKA": json.dumps(settings), "PARAMEDIC_DATA_DIR": str(tmp_path)}
    environment = {**os.environ, **chosen}
    command = [sys.executable, "-m", "paramedic", "topics", "apply"]
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 topics changed, 26 as declared")
    planned = subprocess.run([*command, "--dry-run"], env=environment, capture_output=True, timeout=90, check=False)
    assert planned.returncode == 0
