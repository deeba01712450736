"""The incident API on a real socket: what it reads, what it refuses, and that decisions become commands."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.codec import to_json
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import Section
from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from libs.contracts.remediation import Mode, RemediationChanged, RunState
from libs.contracts.topics import COMMANDS
from libs.errors import ConfigurationError
from libs.service.settings import Settings
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from services.ticketing.service import build
from tests.integration.ticketing.running import NOW, Running

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with one open ticket, for requests that change nothing."""
    with EmbeddedBroker() as cluster:
        extra = {"session.timeout.ms": 1000, "heartbeat.interval.ms": 200}
        with Running(tmp_path_factory.mktemp("standing"), KafkaBroker(cluster.bootstrap, extra=extra)) as started:
            started.open_ticket()
            yield started


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
