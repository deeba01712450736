"""Evidence for an auditor: complete, verifiable, and honest about contradictions."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.contracts.codec import to_json
from libs.contracts.incident import IncidentChange
from libs.contracts.recommendation import STATE_PREFIX
from libs.contracts.remediation import RunState
from libs.errors import ConfigurationError
from libs.stores.incidents import IncidentStore
from libs.stores.sqlite_incidents import SqliteIncidentStore
from paramedic.evidence import MANIFEST, EvidenceWritten, Sources, write_evidence
from services.remediation.self_healing_log import SelfHealingLog
from services.ticketing.backends.jsonl import TicketLog
from services.ticketing.ticket import Change
from tests.unit.services.console.filled import put_history
from tests.unit.services.console.shop_incident import a_recommendation

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[IncidentStore]:
    opened = SqliteIncidentStore(tmp_path / "incidents.sqlite")
    put_history(opened)
    recommendation = a_recommendation()
    opened.put_state(STATE_PREFIX + recommendation.id, to_json(recommendation).decode())
    yield opened
    opened.close()


def log_everything(store: IncidentStore, logs_dir: Path) -> None:
    """Write both logs as the services do."""
    tickets, healing = TicketLog(logs_dir / "tickets.jsonl"), SelfHealingLog(logs_dir / "self_healing.jsonl")
    for number in (7, 19, 31, 43, 44):
        document = store.get(f"incident-{number}")
        assert document is not None
        opened = replace(document.incident, change=IncidentChange.OPENED)
        tickets.write([Change(core=opened, why="it fired")])
        healing.write(document.incident.number, document.remediation)


def evidence(store: IncidentStore, tmp_path: Path, configuration: Path | None = None) -> EvidenceWritten:
    sources = Sources(incidents=store, logs_dir=tmp_path / "logs", recommendations_file=configuration, now=NOW)
    return write_evidence(tmp_path / "evidence", sources)


def test_everything_is_written_and_agrees(store: IncidentStore, tmp_path: Path) -> None:
    log_everything(store, tmp_path / "logs")
    written = evidence(store, tmp_path)
    assert [check.name for check in written.checks if not check.holds] == []
    assert written.counts == {
        "incidents": 5,
        "ticket_log_lines": 5,
        "remediation_runs": 4,
        "self_healing_log_lines": 4,
        "recommendations": 1,
    }
    folder = written.folder
    assert (folder / "tickets.jsonl").read_bytes() == (tmp_path / "logs" / "tickets.jsonl").read_bytes()
    incidents = [json.loads(line) for line in (folder / "incidents.jsonl").read_text().splitlines()]
    assert [incident["incident"]["number"] for incident in incidents][:3] == ["INC-000007", "INC-000019", "INC-000031"]
    assert json.loads((folder / "scorecard.json").read_text())["total"]["successes"] == 2
    assert "| **all** | 66.7% | 2 / 3 |" in (folder / "scorecard.md").read_text()
    assert json.loads((folder / "recommendations.jsonl").read_text())["id"] == "rec-1"


def test_the_checksums_are_those_of_the_files(store: IncidentStore, tmp_path: Path) -> None:
    folder = evidence(store, tmp_path).folder
    listed: dict[str, str] = dict(line.split("  ")[::-1] for line in (folder / MANIFEST).read_text().splitlines())
    files = {path.name for path in folder.iterdir()}
    assert files == {*listed, MANIFEST}
    for name, checksum in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum


def test_an_incident_that_the_log_does_not_know_is_named(store: IncidentStore, tmp_path: Path) -> None:
    log_everything(store, tmp_path / "logs")
    path = tmp_path / "logs" / "tickets.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "INC-000019" not in line))
    failed = [check for check in evidence(store, tmp_path).checks if not check.holds]
    assert [check.detail for check in failed] == ["4 of 5; not INC-000019"]


def test_an_incident_that_the_store_has_lost_is_named(store: IncidentStore, tmp_path: Path) -> None:
    log_everything(store, tmp_path / "logs")
    with (tmp_path / "logs" / "tickets.jsonl").open("a") as log:
        log.write(json.dumps({"incident": "gone", "change": "opened"}) + "\n")
    failed = [check for check in evidence(store, tmp_path).checks if not check.holds]
    assert [check.detail for check in failed] == ["5 of 6; not gone"]


def test_a_log_that_tells_of_more_successes_than_the_store_is_caught(store: IncidentStore, tmp_path: Path) -> None:
    log_everything(store, tmp_path / "logs")
    document = store.get("incident-31")
    assert document is not None
    better = replace(document.remediation[0], state=RunState.SUCCEEDED, version=document.remediation[0].version + 1)
    SelfHealingLog(tmp_path / "logs" / "self_healing.jsonl").write("INC-000031", [better])
    failed = [check for check in evidence(store, tmp_path).checks if not check.holds]
    assert [check.detail for check in failed] == ["log 3 of 3, store 2 of 3"]


def test_a_torn_line_is_counted(store: IncidentStore, tmp_path: Path) -> None:
    log_everything(store, tmp_path / "logs")
    with (tmp_path / "logs" / "self_healing.jsonl").open("a") as log:
        log.write('{"run": "r1", "ver')
    failed = [check for check in evidence(store, tmp_path).checks if not check.holds]
    assert [check.detail for check in failed] == ["1 are not"]


def test_writing_again_gives_the_same_files(store: IncidentStore, tmp_path: Path) -> None:
    folder = evidence(store, tmp_path).folder
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    evidence(store, tmp_path)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_a_folder_with_other_files_is_left_alone(store: IncidentStore, tmp_path: Path) -> None:
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="holds other files"):
        evidence(store, tmp_path)
    assert [path.name for path in (tmp_path / "evidence").iterdir()] == ["thesis.txt"]


def test_the_configuration_of_the_recommender_is_kept(store: IncidentStore, tmp_path: Path) -> None:
    configuration = tmp_path / "mine.toml"
    configuration.write_text("[caps]\nopen_per_service = 3\n")
    folder = evidence(store, tmp_path, configuration).folder
    assert (folder / "recommendations.toml").read_text() == configuration.read_text()
    configuration.unlink()
    with pytest.raises(ConfigurationError, match="PARAMEDIC_RECOMMENDATIONS_FILE"):
        evidence(store, tmp_path, configuration)
