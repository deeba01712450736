"""The investigator as it runs: the embedded broker, SQLite stores, the real loop; killed between write and emit."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from libs.contracts.codec import Codec
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import Section
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.records import Record
from libs.contracts.topics import COMMANDS, INCIDENTS, INVESTIGATIONS
from libs.service.platform import Platform
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from paramedic.api_client import api_url
from paramedic.ask_investigator import AskInvestigator
from services.investigator.service import build, handler
from services.ticketing.service import build as build_ticketing
from tests.integration.running_service import LIMIT_S, Told, platform_of, running
from tests.unit.services.investigator.shop_telemetry import BEGAN, Fault, Shop, incident

TICKET = incident("gateway", "catalog")


Results = Told[InvestigationCompleted]


@pytest.fixture
def platform(tmp_path: Path, embedded: EmbeddedBroker) -> Iterator[Platform]:
    with platform_of("investigator", tmp_path, embedded, api_port=0) as made:
        Shop(Fault(slow_ms={"catalog": 300})).write(made.telemetry)
        yield made


@pytest.fixture
def results(broker: KafkaBroker) -> Iterator[Results]:
    made = Told(broker, INVESTIGATIONS, InvestigationCompleted)
    yield made
    made.close()


def send(broker: KafkaBroker, topic: str, record: Record) -> None:
    producer = broker.producer()
    producer.send(topic, key=b"k", value=Codec().encode(topic, record))
    producer.flush()
    producer.close()


def ticket(platform: Platform, record: IncidentChanged = TICKET) -> IncidentChanged:
    platform.incidents.put(record.id, Section.INCIDENT, record)
    return record


def test_a_ticket_becomes_ranked_hypotheses_on_the_topic_and_in_the_document(
    platform: Platform, broker: KafkaBroker, results: Results
) -> None:
    send(broker, INCIDENTS, ticket(platform))
    with running(platform, build):
        [found] = results.wait_for(lambda found: len(found) == 1)
    assert found.hypotheses[0].service == "catalog"
    assert found.duration_s < 5.0
    document = platform.incidents.get(TICKET.id)
    assert document is not None
    assert document.investigation == found


def test_a_result_that_was_written_but_never_emitted_is_emitted_after_a_restart(
    platform: Platform, results: Results
) -> None:
    ticket(platform)
    killed = handler(platform.settings, platform)
    killed.tick(BEGAN)  # writes the section; its emits die with the process
    with running(platform, build):
        [found] = results.wait_for(lambda found: len(found) == 1)
    assert found.revision == 1


def test_an_incident_that_opened_while_the_service_was_down_is_investigated(
    platform: Platform, results: Results
) -> None:
    ticket(platform)
    with running(platform, build):
        [found] = results.wait_for(lambda found: len(found) == 1)
    assert found.incident_id == TICKET.id


def test_a_command_on_an_unknown_incident_is_refused_and_the_next_is_done(
    platform: Platform, broker: KafkaBroker, results: Results
) -> None:
    ticket(platform, replace(TICKET, number="INC-000007"))
    for target in ("INC-404404", "INC-000007"):
        command = Command(id=target, kind=CommandKind.INVESTIGATE, target=target, actor="ann", issued_at=BEGAN)
        send(broker, COMMANDS, command)
    with running(platform, build):
        found = results.wait_for(lambda found: {result.revision for result in found} == {1, 2})
    assert {result.incident_id for result in found} == {TICKET.id}
    refused = broker.consumer("test-refused", [f"{COMMANDS}-dlq"])
    deadline_s, letters = monotonic() + LIMIT_S, 0
    while not letters and monotonic() < deadline_s:
        letters = len(refused.poll(10, 0.2))
    refused.close()
    assert letters == 1


def test_asking_from_the_command_line_makes_the_service_look_again_and_publish(
    platform: Platform, results: Results
) -> None:
    ticket(platform)
    other = replace(platform, service="ticketing")
    with running(platform, build), running(other, build_ticketing):
        results.wait_for(lambda found: [result.revision for result in found] == [1])
        deadline_s = monotonic() + LIMIT_S
        while not (platform.settings.run_dir / "ticketing.json").exists():
            assert monotonic() < deadline_s
            threading.Event().wait(0.02)
        assert api_url(platform.settings).startswith("http://127.0.0.1")
        asked = AskInvestigator(settings=platform.settings, incidents=platform.incidents)
        found = asked.ask(TICKET.number, "ann")
        assert found.revision == 2
        assert results.wait_for(lambda found: len(found) == 2)[-1] == found
    other.incidents.close()
    other.telemetry.close()
