"""Ticketing as it runs: the embedded broker, SQLite stores, the loop and the API on a real socket."""

import json
import statistics
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from libs.contracts.codec import Codec, ns_from_utc, to_json
from libs.contracts.columns import pack_int8, pack_int32, pack_int64
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import Section
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState, Level, Priority
from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from libs.contracts.records import Record
from libs.contracts.remediation import Mode, RemediationChanged, RunState
from libs.contracts.telemetry import SpanBatch
from libs.contracts.topics import ANOMALIES, COMMANDS, INCIDENTS
from libs.errors import ConfigurationError
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from services.ticketing.context import gather
from services.ticketing.graph import call_graph
from services.ticketing.server import TicketingService
from services.ticketing.service import build

T = TypeVar("T")
NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
TRUST = httpx.create_ssl_context()  # read once: a client of its own takes 50 ms for it
JSON = {"Content-Type": "application/json"}


def anomaly(service: str, identity: str, **more: Any) -> AnomalyDetected:
    start = NOW + timedelta(seconds=more.pop("start_s", 0.0))
    return AnomalyDetected(
        id=identity,
        state=more.pop("state", EpisodeState.OPENED),
        service=service,
        signal=Signal.LATENCY,
        metric="span.server.duration",
        statistic="p95",
        unit="s",
        detector="latency",
        severity=Severity.HIGH,
        score=0.98,
        observed=0.4,
        expected=0.05,
        expected_lower=0.03,
        expected_upper=0.06,
        deviation=9.0,
        started_at=start,
        detected_at=start + timedelta(seconds=10),
        updated_at=start + timedelta(seconds=10),
        window_s=5.0,
        explanation=f"p95 of {service} 400 ms, expected 30..60 ms",
        **more,
    )


class Running:
    """A ticketing service in this process, and a client of it."""

    def __init__(self, folder: Path, broker: KafkaBroker, **settings: Any) -> None:
        self.settings = Settings(data_dir=folder, api_port=0, _env_file=None, **settings)  # type: ignore[call-arg]
        self.broker = broker
        self.codec = Codec()
        self.log = StringIO()
        self.platform = Platform(
            service="ticketing",
            settings=self.settings,
            log=Logger("ticketing", stream=self.log),
            metrics=ServiceMetrics(),
            codec=self.codec,
        )
        self.platform.__dict__["broker"] = broker
        built = build(self.settings, self.platform)
        assert isinstance(built, TicketingService)
        self.service = built
        self.producer = broker.producer()
        self._thread = threading.Thread(target=self.service.run, name="ticketing")

    def __enter__(self) -> "Running":
        self._thread.start()
        until(lambda: self.service.state == "ready")
        self.client = httpx.Client(base_url=self.service.api.url, timeout=10.0, verify=TRUST)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.service.stop()
        self._thread.join(20.0)
        assert not self._thread.is_alive()
        self.producer.close()
        self.platform.incidents.close()
        self.platform.telemetry.close()

    def send(self, topic: str, record: Record, key: str = "") -> None:
        self.producer.send(topic, key=key.encode(), value=self.codec.encode(topic, record))
        self.producer.flush()

    def told(self) -> list[IncidentChanged]:
        """Everything on the topic `incidents`."""
        found = []
        for message in self.broker.read_to_end([INCIDENTS]):
            record = self.codec.decode(INCIDENTS, message.value)
            assert isinstance(record, IncidentChanged)
            assert message.key == record.id.encode()
            found.append(record)
        return found

    def open_ticket(self, service: str = "catalog", identity: str = "a1", **more: Any) -> dict[str, Any]:
        """Send an anomaly and wait for its ticket."""
        self.send(ANOMALIES, anomaly(service, identity, **more), service)
        listed = until(lambda: self.client.get("/api/v1/incidents", params={"service": service}).json()["incidents"])
        first: dict[str, Any] = listed[0]
        return first

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(f"/api/v1{path}", json={"actor": "ada", "reason": "because", **body})


def until(condition: Callable[[], T], timeout_s: float = 20.0) -> T:
    """Wait for a condition."""
    end = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, "the condition was not met in time"
        pause.wait(0.03)  # a look is a request that costs this process 5 ms


@pytest.fixture
def running(tmp_path: Path, broker: KafkaBroker) -> Iterator[Running]:
    with Running(tmp_path, broker) as started:
        yield started


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with one open ticket, for requests that change nothing."""
    with EmbeddedBroker() as cluster:
        extra = {"session.timeout.ms": 1000, "heartbeat.interval.ms": 200}
        with Running(tmp_path_factory.mktemp("standing"), KafkaBroker(cluster.bootstrap, extra=extra)) as started:
            started.open_ticket()
            yield started


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


def test_reading_by_number_and_by_id_gives_the_whole_document(standing: Running) -> None:
    by_number = standing.client.get("/api/v1/incidents/INC-000001").json()
    ticket = by_number["incident"]
    assert by_number == standing.client.get(f"/api/v1/incidents/{ticket['id']}").json()
    assert by_number["incident"]["anomalies"][0]["explanation"] == "p95 of catalog 400 ms, expected 30..60 ms"
    assert [entry["kind"] for entry in by_number["timeline"]] == ["anomaly"]


def test_listing_filters_searches_and_pages(running: Running) -> None:
    running.open_ticket("catalog", "a1")
    running.open_ticket("printer", "a2", start_s=60.0)
    get = running.client.get

    def numbers(**query: Any) -> list[str]:
        answer = get("/api/v1/incidents", params=query)
        assert answer.status_code == 200, answer.text
        return [core["number"] for core in answer.json()["incidents"]]

    assert numbers() == ["INC-000002", "INC-000001"]
    assert numbers(service="catalog") == ["INC-000001"]
    assert numbers(text="printer") == ["INC-000002"]
    assert numbers(text='"NEAR( *') == []
    assert numbers(state=["new", "on_hold"]) == ["INC-000002", "INC-000001"]
    assert numbers(state="resolved") == []
    assert numbers(priority="P1") == []
    assert numbers(limit=1, offset=1) == ["INC-000001"]
    assert numbers(**{"from": (NOW + timedelta(seconds=30)).isoformat()}) == ["INC-000002"]
    assert numbers(to=(NOW + timedelta(seconds=30)).isoformat()) == ["INC-000001"]
    assert get("/api/v1/incidents", params={"limit": 1}).json()["total"] == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"limit": 0}, "query.limit"),
        ({"limit": 201}, "query.limit"),
        ({"offset": -1}, "query.offset"),
        ({"state": "broken"}, "query.state.0"),
        ({"from": "yesterday"}, "query.from"),
        ({"from": "2026-03-02T10:00:00"}, "query.from"),
        ({"text": "x" * 501}, "query.text"),
    ],
)
def test_a_wrong_query_is_a_problem_that_names_the_field(standing: Running, query: dict[str, Any], field: str) -> None:
    answer = standing.client.get("/api/v1/incidents", params=query)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


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


def test_what_the_state_does_not_allow_is_a_conflict(running: Running) -> None:
    running.open_ticket()
    assert running.post("/incidents/INC-000001/cancel").json()["incident"]["state"] == "canceled"
    refused = running.post("/incidents/INC-000001/acknowledge")
    assert refused.status_code == 409
    assert "INC-000001 is canceled" in refused.json()["detail"]


def test_an_unknown_incident_is_not_found_and_says_where_to_look(standing: Running) -> None:
    for answer in (standing.client.get("/api/v1/incidents/INC-9"), standing.post("/incidents/INC-9/resolve")):
        assert answer.status_code == 404
        assert "GET /api/v1/incidents lists them" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b"not json",
        b'{"actor": ""}',
        b'{"actor": "   "}',
        b'{"actor": "a\\u0000b"}',
        b'{"actor": "a\\nb"}',
        b'{"actor": "ada", "surprise": 1}',
        json.dumps({"actor": "x" * 201}).encode(),
        b'{"actor": "\\ud800"}',
        b"\xff\xfe",
    ],
)
def test_a_malformed_body_is_a_problem_and_decides_nothing(standing: Running, body: bytes) -> None:
    answer = standing.client.post("/api/v1/incidents/INC-000001/resolve", content=body, headers=JSON)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert standing.broker.read_to_end([COMMANDS]) == []


def test_large_bodies_and_other_content_are_refused_before_they_are_read(standing: Running) -> None:
    path = "/api/v1/incidents/INC-000001/resolve"
    huge = standing.client.post(path, content=b'{"actor": "' + b"x" * 70_000 + b'"}', headers=JSON)
    assert huge.status_code == 413
    plain = standing.client.post(path, content=b'{"actor": "ada"}', headers={"Content-Type": "text/plain"})
    assert plain.status_code == 415


def test_a_page_that_points_its_name_at_loopback_is_refused(standing: Running) -> None:
    answer = standing.client.get("/api/v1/incidents", headers={"Host": "evil.example"})
    assert answer.status_code == 400


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


def run_of(incident: str, state: RunState, version: int) -> RemediationChanged:
    return RemediationChanged(
        id="run-1",
        incident_id=incident,
        pattern="roll-back",
        mode=Mode.APPROVE,
        action="rollback_deploy",
        target="catalog",
        state=state,
        version=version,
        requested_at=NOW,
        updated_at=NOW + timedelta(seconds=version),
    )


def test_runs_are_listed_scored_and_decided_on(running: Running) -> None:
    ticket = running.open_ticket()
    store = running.platform.incidents
    store.put(ticket["id"], Section.REMEDIATION, (run_of(ticket["id"], RunState.AWAITING_APPROVAL, 1),))
    listed = running.client.get("/api/v1/remediations", params={"state": "awaiting_approval"}).json()
    assert [run["id"] for run in listed["runs"]] == ["run-1"]
    assert running.client.get("/api/v1/remediations", params={"state": "failed"}).json()["total"] == 0
    assert running.post("/remediations/nothing/approve").status_code == 404
    written = running.post("/remediations/run-1/approve")
    assert (written.status_code, "command_id" in written.json()) == (202, True)
    (message,) = running.broker.read_to_end([COMMANDS])
    command = running.codec.decode(COMMANDS, message.value)
    assert isinstance(command, Command)
    assert (command.kind, command.target, command.actor) == (CommandKind.APPROVE, "run-1", "ada")
    store.put(ticket["id"], Section.REMEDIATION, (run_of(ticket["id"], RunState.SUCCEEDED, 2),))
    assert running.post("/remediations/run-1/reject").status_code == 409
    assert running.client.get("/api/v1/scorecard").json()["total"]["successes"] == 0


def test_halting_is_written_for_everybody(running: Running) -> None:
    assert running.post("/halt").status_code == 202
    (message,) = running.broker.read_to_end([COMMANDS])
    command = running.codec.decode(COMMANDS, message.value)
    assert isinstance(command, Command)
    assert (command.kind, command.actor, command.reason) == (CommandKind.HALT, "ada", "because")


def test_the_api_describes_itself(standing: Running) -> None:
    description = standing.client.get("/openapi.json").json()
    for path in (
        "/api/v1/incidents/{reference}/acknowledge",
        "/api/v1/incidents/{reference}/root-cause",
        "/api/v1/remediations/{run_id}/approve",
        "/api/v1/scorecard",
        "/api/v1/services",
        "/api/v1/halt",
    ):
        assert path in description["paths"]
    page = standing.client.get("/docs")
    assert "POST /api/v1/incidents/{reference}/acknowledge" in page.text
    assert "https://" not in page.text
    assert standing.client.get("/healthz").json() == {"status": "ok", "loop": "ready"}
    assert standing.client.get("/api/v1/services").json() == {"services": []}
    published = json.loads((standing.settings.run_dir / "ticketing.json").read_text())
    assert published["url"] == standing.service.api.url


def test_with_a_token_only_its_bearers_are_served(tmp_path: Path, broker: KafkaBroker) -> None:
    with Running(tmp_path, broker, api_token="s3cret") as running:
        anonymous = running.client.get("/api/v1/incidents")
        assert (anonymous.status_code, anonymous.headers["www-authenticate"]) == (401, "Bearer")
        wrong = running.client.get("/api/v1/incidents", headers={"Authorization": "Bearer s3cre"})
        assert wrong.status_code == 401
        right = running.client.get("/api/v1/incidents", headers={"Authorization": "Bearer s3cret"})
        assert right.status_code == 200
        assert running.client.get("/healthz").status_code == 200


def test_it_refuses_to_listen_to_others_without_a_token(tmp_path: Path, broker: KafkaBroker) -> None:
    with pytest.raises(ConfigurationError, match="PARAMEDIC_API_TOKEN"):
        Running(tmp_path, broker, api_host="0.0.0.0")


def test_a_port_that_is_taken_is_named(tmp_path: Path, standing: Running) -> None:
    port = int(standing.service.api.url.rsplit(":", 1)[1])
    settings = Settings(data_dir=tmp_path / "other", api_port=port, _env_file=None)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="set PARAMEDIC_API_PORT"):
        build(settings, standing.platform)


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


OF_A_BUSY_SHOP = IncidentChanged(
    id="i1",
    number="INC-000001",
    version=1,
    change=IncidentChange.OPENED,
    title="catalog: slow",
    state=IncidentState.NEW,
    priority=Priority.P2,
    impact=Level.HIGH,
    urgency=Level.MEDIUM,
    services=("catalog", "gateway"),
    neighbours=("cart",),
    anomalies=(anomaly("catalog", "a1"), anomaly("gateway", "a2")),
    started_at=NOW,
    opened_at=NOW,
    updated_at=NOW,
    observed_at=NOW,
)


def write_busy_shop(telemetry: SqliteTelemetryStore, seconds: int) -> None:
    """Minutes of 70 spans a second; in the last one a tenth of them fails."""
    services = ["gateway", "catalog", "cart", "checkout", "inventory", "payments", "mailer"]
    for second in range(60 - seconds, 60):
        telemetry.write(spans=[busy(service, second, failing=second >= 0) for service in services])


def busy(service: str, second: int, *, failing: bool) -> SpanBatch:
    """Ten server spans of one second; one of them fails once the fault is there."""
    ends = [ns_from_utc(NOW + timedelta(seconds=second)) + i * 100_000_000 for i in range(10)]
    ids = [uuid.uuid5(uuid.NAMESPACE_OID, f"{second}{i}").bytes for i in range(10)]
    return SpanBatch(
        service=service,
        observed_at=NOW,
        trace_ids=b"".join(ids),
        span_ids=b"".join(uuid.uuid5(uuid.NAMESPACE_URL, service + one.hex()).bytes[:8] for one in ids),
        parent_span_ids=bytes(80),
        starts=pack_int64([end - 20_000_000 for end in ends]),
        durations=pack_int64([20_000_000] * 10),
        kinds=pack_int8([2] * 10),
        statuses=pack_int8([2 if failing and i == second % 10 else 0 for i in range(10)]),
        names=("GET /",),
        name_index=pack_int32([0] * 10),
        peer_index=pack_int32([-1] * 10),
        users=tuple(f"u{(second * 10 + i) % 40}" for i in range(10)),
        user_index=pack_int32(list(range(10))),
        attribute_sets=({"http.route": "/"},),
        attribute_index=pack_int32([0] * 10),
    )


def recommended(state: str) -> CodeChangeRecommended:
    return CodeChangeRecommended(
        id="rec-1",
        rule="n_plus_one_calls",
        service="cart",
        title="one call per product",
        location=CodeLocation(path="shop/cart.py", line=10),
        recommended_at=datetime(2026, 3, 2, tzinfo=UTC),
        state=state,
    )


def test_recommendations_are_listed_read_and_decided_on(running: Running) -> None:
    store, key = running.platform.incidents, "recommendation/rec-1"
    store.put_state(key, to_json(recommended("open")).decode())
    assert running.client.get("/api/v1/recommendations", params={"state": "open"}).json()["total"] == 1
    assert running.client.get("/api/v1/recommendations", params={"state": "accepted"}).json()["total"] == 0
    assert running.client.get("/api/v1/recommendations/rec-1").json()["location"]["line"] == 10
    assert running.client.get("/api/v1/recommendations/none").status_code == 404
    assert running.post("/recommendations/none/accept").status_code == 404
    assert running.post("/recommendations/rec-1/accept").status_code == 202  # nobody carries it out here
    (message,) = running.broker.read_to_end([COMMANDS])
    command = running.codec.decode(COMMANDS, message.value)
    assert isinstance(command, Command)
    assert (command.kind, command.target, command.actor, command.reason) == (
        CommandKind.ACCEPT_RECOMMENDATION, "rec-1", "ada", "because",
    )  # fmt: skip
    store.put_state(key, to_json(recommended("superseded")).decode())
    assert running.post("/recommendations/rec-1/dismiss").status_code == 409
