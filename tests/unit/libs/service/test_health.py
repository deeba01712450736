"""The health endpoint of a service, and the check that containers run."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from libs.contracts.codec import Codec
from libs.errors import ConfigurationError
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service import health
from libs.service.platform import Platform
from libs.service.run import HealthServer
from libs.service.settings import load_settings


class Service:
    """A service whose state a test sets."""

    state = "ready"
    reason = ""

    def run(self) -> None:
        """Nothing runs."""

    def stop(self) -> None:
        """Nothing stops."""


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    settings = load_settings(data_dir=tmp_path, _env_file=None)
    return Platform(
        service="recorder",
        settings=settings,
        log=Logger("recorder", stream=StringIO()),
        metrics=ServiceMetrics(),
        codec=Codec(),
    )


@pytest.fixture
def service(platform: Platform) -> Iterator[Service]:
    running = Service()
    with HealthServer("recorder", running, platform):
        yield running


def test_a_ready_service_is_ready(service: Service, platform: Platform) -> None:
    assert health.readiness(platform.settings, "recorder")[0]


def test_a_held_service_says_why(service: Service, platform: Platform) -> None:
    service.state, service.reason = "held", "the store is down"
    ready, text = health.readiness(platform.settings, "recorder")
    assert not ready
    assert "the store is down" in text


def test_a_service_that_does_not_run_is_not_ready(platform: Platform) -> None:
    ready, text = health.readiness(platform.settings, "recorder")
    assert not ready
    assert "is not running" in text


def test_the_check_of_a_container_exits_by_readiness(
    service: Service, platform: Platform, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARAMEDIC_DATA_DIR", str(platform.settings.data_dir))
    assert health.main(["recorder"]) == 0
    assert health.main(["detector"]) == 1
    assert health.main([]) == 2
    assert "usage" in capsys.readouterr().out


def test_a_taken_health_port_says_what_to_do(service: Service, platform: Platform, tmp_path: Path) -> None:
    port = int((tmp_path / "run" / "recorder.json").read_text().rsplit(":", 1)[1].rstrip('"}'))
    platform.settings = load_settings(data_dir=tmp_path, health_port=port, _env_file=None)
    with pytest.raises(ConfigurationError, match="PARAMEDIC_HEALTH_PORT"):
        HealthServer("detector", service, platform)
