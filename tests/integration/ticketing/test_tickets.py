"""Tickets through the loop: told once, decided on once, through an outage and a restart."""

import json
import statistics
import time
from datetime import timedelta
from pathlib import Path

from libs.contracts.command import Command, CommandKind
from libs.contracts.incident import IncidentChanged
from libs.contracts.topics import ANOMALIES, COMMANDS, INCIDENTS
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from services.ticketing.context import gather
from services.ticketing.graph import call_graph
from tests.integration.ticketing.busy_shop import OF_A_BUSY_SHOP, write_busy_shop
from tests.integration.ticketing.running import NOW, Running, anomaly
from tests.waiting import until


def test_an_anomaly_is_told_as_a_ticket_within_a_second(running: Running) -> None:
    """Prints the time from the anomaly's acknowledgement by the broker to the ticket's arrival at a consumer."""
    running.open_ticket("warm", "warm")  # the first message pays for the rebalance and for opening the stores
    consumer = running.broker.consumer("others", [INCIDENTS])
    until(lambda: consumer.poll(10, 0.1))
    took_ms = []
    for turn in range(10):
        running.send(ANOMALIES, anomaly(f"printer-{turn}", f"a{turn}"), "printer")
        begun = time.monotonic()
        found = until(lambda: consumer.poll(10, 0.5))
        took_ms.append((time.monotonic() - begun) * 1e3)
        told = running.codec.decode(INCIDENTS, found[0].value)
        assert isinstance(told, IncidentChanged)
        assert (told.version, told.change, told.state) == (1, "opened", "new")
    consumer.close()
    print(
        f"anomaly -> ticket: median {statistics.median(took_ms):.0f} ms, worst {max(took_ms):.0f} ms of {len(took_ms)}"
    )
    assert max(took_ms) < 1_000


def test_a_life_from_acknowledgement_to_resolution(running: Running) -> None:
    running.open_ticket()
    taken = running.post("/incidents/INC-000001/acknowledge")
    assert (taken.status_code, taken.json()["incident"]["state"]) == (200, "in_progress")
    commented = running.post("/incidents/INC-000001/comment", text="looking at <b>catalog</b>")
    assert "looking at <b>catalog</b>" in [entry["text"] for entry in commented.json()["timeline"]]
    assert running.post("/incidents/INC-000001/hold").json()["incident"]["state"] == "on_hold"
    cause = running.post(
        "/incidents/inc-000001/root-cause", service="catalog", kind="deploy", text="missing index"
    ).json()["root_cause"]
    assert (cause["confirmed_by"], cause["kind"]) == ("ada", "deploy")
    resolved = running.post("/incidents/INC-000001/resolve").json()["incident"]
    assert (resolved["state"], resolved["resolved_by"]) == ("resolved", "ada")
    told = until(lambda: [core for core in running.told() if core.change == "resolved"] and running.told())
    assert [core.version for core in told] == list(range(1, len(told) + 1))
    log = (running.settings.data_dir / "logs" / "tickets.jsonl").read_text().splitlines()
    assert [json.loads(line)["version"] for line in log] == [core.version for core in told]
    assert json.loads(log[-1])["actor"] == "ada"


def test_a_decision_sent_twice_with_one_key_is_carried_out_once(running: Running) -> None:
    running.open_ticket()
    for _ in range(2):
        answer = running.client.post(
            "/api/v1/incidents/INC-000001/comment",
            json={"actor": "ada", "text": "hello"},
            headers={"Idempotency-Key": "k1"},
        )
        assert answer.status_code == 200
    comments = [entry for entry in answer.json()["timeline"] if entry["kind"] == "comment"]
    assert len(comments) == 1
    assert len(running.broker.read_to_end([COMMANDS])) == 1


def test_a_broker_that_is_down_is_said_so_and_the_decision_is_not_carried_out_later(
    running: Running, embedded: EmbeddedBroker
) -> None:
    running.open_ticket()
    assert running.post("/incidents/INC-000001/comment", text="before").status_code == 200
    embedded.set_down(down=True)
    refused = running.post("/incidents/INC-000001/comment", text="during")
    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "5"
    assert running.client.get("/api/v1/incidents/INC-000001").status_code == 200
    embedded.set_down(down=False)
    after = until(lambda: [a for a in [running.post("/incidents/INC-000001/comment", text="after")] if a.is_success])
    until(
        lambda: (
            "after"
            in [entry["text"] for entry in running.client.get("/api/v1/incidents/INC-000001").json()["timeline"]]
        )
    )
    assert after[0].status_code in (200, 202)
    texts = [entry["text"] for entry in running.client.get("/api/v1/incidents/INC-000001").json()["timeline"]]
    assert "during" not in texts


def test_a_command_on_an_unknown_incident_is_dead_lettered_and_logged(running: Running) -> None:
    running.open_ticket()
    lost = Command(id="c1", kind=CommandKind.RESOLVE, target="nowhere", actor="ada", issued_at=NOW)
    running.send(COMMANDS, lost)
    (letter,) = until(lambda: running.broker.read_to_end([COMMANDS + "-dlq"]))
    assert dict(letter.headers)["error.type"] == b"InvalidMessage"
    assert "no incident 'nowhere'" in (running.settings.data_dir / "logs" / "tickets.jsonl").read_text()


def test_a_restart_goes_on_where_it_stopped(tmp_path: Path, broker: KafkaBroker) -> None:
    with Running(tmp_path, broker) as first:
        first.open_ticket()
        before = first.told()
    with Running(tmp_path, broker) as second:
        second.send(ANOMALIES, anomaly("catalog", "a1"), "catalog")
        second.open_ticket("printer", "a2")
        told = until(lambda: [core for core in second.told() if core.number == "INC-000002"] and second.told())
        assert [core for core in told if core.number == "INC-000001"] == before


def test_the_context_of_a_busy_shop_has_its_traces_and_users(tmp_path: Path) -> None:
    """Two minutes of 70 spans a second; tests/bench/ticket_context.py prints how long it takes with ten."""
    telemetry, incidents = SqliteTelemetryStore(tmp_path / "t.sqlite"), SqliteIncidentStore(tmp_path / "i.sqlite")
    write_busy_shop(telemetry, seconds=120)
    found = gather(telemetry, incidents, OF_A_BUSY_SHOP, call_graph(telemetry.edges()), NOW + timedelta(seconds=60))
    assert len(found.context.traces) == 10
    hit = {f"u{(second * 10 + second % 10) % 40}" for second in range(60)}
    assert found.context.affected_users.count == len(hit)
    telemetry.close()
    incidents.close()
