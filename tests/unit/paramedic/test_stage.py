"""The demo makes way for what runs already: a taken port becomes any free one."""

import os
import socket
from pathlib import Path

import pytest

from libs.errors import ConfigurationError
from libs.service.settings import Settings, load_settings
from paramedic.demo.cluster import require_own
from paramedic.demo.stage import TELEMETRY_ENDPOINTS, demo_environment, environment, free_port


def test_a_taken_port_is_left_to_whoever_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert free_port("127.0.0.1", taken.getsockname()[1]) == 0


def test_a_free_port_is_kept() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert free_port("127.0.0.1", port) == port


def test_the_demo_has_its_own_folder_and_takes_any_port_when_told_so(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, intake_port=0, api_port=0, console_port=0)
    added = demo_environment(settings)
    assert Path(added["PARAMEDIC_DATA_DIR"] or "").parent == tmp_path
    assert {added[f"PARAMEDIC_{name}_PORT"] for name in ("INTAKE", "API", "CONSOLE")} == {"0"}


def test_the_demo_embeds_everything_whatever_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named_servers(monkeypatch)
    with environment(demo_environment(Settings(data_dir=tmp_path))):
        settings = load_settings()
        assert (settings.broker, settings.schema_registry) == ("embedded", "")
        assert settings.incident_store == settings.telemetry_store == "sqlite"
        assert not set(TELEMETRY_ENDPOINTS) & set(os.environ)
    assert set(TELEMETRY_ENDPOINTS) <= set(os.environ)


def test_the_demo_on_a_stack_keeps_the_servers_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named_servers(monkeypatch)
    with environment(demo_environment(Settings(data_dir=tmp_path), stack=True)):
        settings = load_settings()
        assert (settings.broker, settings.schema_registry) == ("kafka:9092", "http://registry")
        assert settings.incident_store == settings.telemetry_store == "http://elastic:9200"
        assert set(TELEMETRY_ENDPOINTS) <= set(os.environ)
        assert settings.data_dir.parent == tmp_path


def named_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMEDIC_BROKER", "kafka:9092")
    monkeypatch.setenv("PARAMEDIC_SCHEMA_REGISTRY", "http://registry")
    monkeypatch.setenv("PARAMEDIC_INCIDENT_STORE", "http://elastic:9200")
    monkeypatch.setenv("PARAMEDIC_TELEMETRY_STORE", "http://elastic:9200")
    for name in TELEMETRY_ENDPOINTS:
        monkeypatch.setenv(name, "http://collector:4318")


def test_the_demo_on_a_stack_says_which_servers_to_name_when_none_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"PARAMEDIC_BROKER.*make demo-stack"):
        require_own(Settings(data_dir=tmp_path, broker="embedded"))
