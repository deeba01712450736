"""`paramedic setup` on real servers: everything once, nothing twice."""

import json
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from libs.contracts.topics import topics
from paramedic.cli import app
from tests.integration.elastic_servers import own_prefix
from tests.integration.stack_servers import address
from tests.unit.paramedic.fake_kibana import FakeKibana, running

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeKibana]:
    """Settings for the real servers, and for a Kibana in memory: no real one is to be had."""
    monkeypatch.setenv("PARAMEDIC_BROKER", address("kafka"))
    monkeypatch.setenv("PARAMEDIC_SCHEMA_REGISTRY", address("registry"))
    for store in ("INCIDENT", "TELEMETRY"):
        monkeypatch.setenv(f"PARAMEDIC_{store}_STORE", address("elasticsearch"))
    with own_prefix() as prefix, running(FakeKibana()) as kibana:
        monkeypatch.setenv("PARAMEDIC_ELASTICSEARCH_PREFIX", prefix)
        monkeypatch.setenv("PARAMEDIC_KIBANA_URL", kibana.url)
        yield kibana


def run(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and status and detail by step."""
    result = CliRunner().invoke(app, ["setup", "--json", *arguments], catch_exceptions=False)
    return result.exit_code, {line["step"]: (line["status"], line["detail"]) for line in json.loads(result.stdout)}


def test_everything_is_put_in_place_once(configured: FakeKibana) -> None:
    code, planned = run("--dry-run")
    assert code == 0
    assert planned["incident store"] == ("to do", "2 index templates to make, 0 there")
    assert configured.stored == {}
    code, first = run()
    assert code == 0, first
    assert first["incident store"] == ("done", "2 index templates made, 0 there and brought up to date")
    assert first["kibana"] == ("done", "30 objects new, 0 replaced")
    code, second = run()
    assert code == 0
    assert {status for status, _ in second.values()} == {"already so"}
    assert second["topics"][1].startswith(f"0 changed, {2 * len(topics())} as declared")
    assert second["telemetry store"][1].startswith("0 index templates made, 7 there and brought up to date")
