"""The demo on real servers, shop -> Collector -> Kafka -> intake: a bad deploy is noticed, explained and healed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.shop.shop import Shop
from libs.contracts.document import IncidentDocument
from libs.contracts.remediation import RemediationChanged, RunState
from libs.contracts.topics import OTLP_LOGS, OTLP_METRICS, OTLP_SPANS, REMEDIATIONS, topics
from libs.service.open_registry import open_registry
from libs.service.settings import Settings, load_settings
from paramedic.schema_registration import register
from paramedic.supervisor import SERVICES, Supervisor, run_file
from tests.e2e.test_stack_kill_and_restart import PATIENCE_S, Scenario, empty_elasticsearch
from tests.integration.stack_servers import address, renew_topics, stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]
EVERY_TOPIC = [name for topic in topics().values() for name in (topic.name, topic.dead_letter)]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    empty_elasticsearch(address("elasticsearch"))
    for name, value in {
        "DATA_DIR": str(tmp_path),
        "INTAKE_PORT": "0",
        "API_PORT": "0",
        "CONSOLE_PORT": "0",
        "CORRELATION_S": "30",
        "HOLD_S": "5",
        "VERIFY_S": "90",
        "BROKER": address("kafka"),
        "SCHEMA_REGISTRY": address("registry"),
        "INCIDENT_STORE": address("elasticsearch"),
        "TELEMETRY_STORE": address("elasticsearch"),
    }.items():
        monkeypatch.setenv(f"PARAMEDIC_{name}", value)
    for signal in ("traces", "metrics", "logs"):  # the shop's changes still go to intake, as a deployment system's do
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", f"{address('collector')}/v1/{signal}")
    return load_settings()


@pytest.fixture
def scenario(settings: Settings) -> Iterator[Scenario]:
    stack().up(["kafka", "registry", "collector"])
    renew_topics(EVERY_TOPIC)
    register(open_registry(settings))
    with Supervisor(settings) as supervisor:
        for service in SERVICES:
            if service != "remediation":
                supervisor.start_service(service)
        for service in SERVICES:
            if service != "remediation":
                supervisor.wait_ready(service, PATIENCE_S)
        running = Scenario(settings, supervisor)
        yield running
        running.close()


@pytest.fixture
def shop(scenario: Scenario, tmp_path: Path) -> Iterator[Shop]:
    """The shop, and remediation with its control API as executor."""
    intake = str(run_file(scenario.settings, "intake")["url"])
    with Shop.start(intake, tmp_path / "shop", rate_per_s=12.0) as running:
        scenario.supervisor.add_environment({"PARAMEDIC_EXECUTOR_URL": running.control_url})
        scenario.supervisor.start_service("remediation")
        scenario.supervisor.wait_ready("remediation", PATIENCE_S)
        yield running


def test_a_bad_deploy_seen_through_the_collector_is_explained_and_rolled_back(scenario: Scenario, shop: Shop) -> None:
    settings, platform = scenario.settings, scenario.platform
    needed_ns = int((settings.warmup_s + 2 * settings.window_s + settings.lateness_s) * 1e9)
    scenario.eventually(lambda: platform.telemetry.watermark_ns() > 0, "telemetry has arrived")
    first_ns = platform.telemetry.watermark_ns()
    scenario.eventually(lambda: platform.telemetry.watermark_ns() - first_ns > needed_ns, "what is normal is learned")
    assert scenario.tickets() == []
    shop.inject("slow-query")
    scenario.eventually(lambda: any(healed(run) for run in runs(scenario)), "the fault is healed")
    scenario.eventually(scenario.settled, "the ticket is resolved")
    (document,) = scenario.tickets()
    assert_explained(document)
    for topic in (OTLP_METRICS, OTLP_LOGS, OTLP_SPANS):
        assert platform.broker.read_to_end([topic]), f"nothing came through the Collector on {topic}"
    assert platform.broker.read_to_end([f"{topic}-dlq" for topic in (OTLP_METRICS, OTLP_LOGS, OTLP_SPANS)]) == []


def assert_explained(document: IncidentDocument) -> None:
    assert "catalog" in document.incident.services
    assert document.investigation is not None
    first = document.investigation.hypotheses[0]
    assert (first.service, first.kind) == ("catalog", "deploy")


def runs(scenario: Scenario) -> list[RemediationChanged]:
    platform = scenario.platform
    records = [platform.codec.decode(REMEDIATIONS, m.value) for m in platform.broker.read_to_end([REMEDIATIONS])]
    return [record for record in records if isinstance(record, RemediationChanged)]


def healed(run: RemediationChanged) -> bool:
    return (run.action, run.target, run.state) == ("rollback_deploy", "catalog", RunState.SUCCEEDED)
