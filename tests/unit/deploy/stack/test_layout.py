"""Folders and ports of the stack come from the environment, and a wrong one is named."""

from dataclasses import fields
from pathlib import Path

import pytest

from deploy.stack.layout import FIRST_OUTGOING, Ports, free_ports, layout_from_environment, port_variables, versions
from libs.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[4]


def test_every_port_can_be_chosen() -> None:
    wanted = Ports(**{field.name: 20_000 + number for number, field in enumerate(fields(Ports))})
    assert layout_from_environment(port_variables(wanted)).ports == wanted


@pytest.mark.parametrize("text", ["0", "65536", "-1", "kafka"])
def test_a_wrong_port_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match="PARAMEDIC_STACK_KAFKA_PORT"):
        layout_from_environment({"PARAMEDIC_STACK_KAFKA_PORT": text})


def test_folders_can_be_chosen() -> None:
    layout = layout_from_environment({"PARAMEDIC_STACK_CACHE": "/c", "PARAMEDIC_STACK_DATA": "/d"})
    assert (layout.cache_dir, layout.data_dir, layout.addresses_file) == (
        Path("/c"),
        Path("/d"),
        Path("/d/addresses.json"),
    )


def test_no_two_ports_are_the_same() -> None:
    for ports in (Ports(), free_ports()):
        numbers = [getattr(ports, field.name) for field in fields(Ports)]
        assert len(set(numbers)) == len(numbers)


def test_a_port_is_never_one_that_an_outgoing_connection_may_get() -> None:
    """While a killed server is down, a client that calls it may be given its port; it could not come back then."""
    for ports in (Ports(), free_ports()):
        assert all(1024 <= getattr(ports, field.name) < FIRST_OUTGOING for field in fields(Ports))


def test_the_collector_is_built_from_the_version_of_the_versions_file() -> None:
    modules = (ROOT / "deploy" / "stack" / "collector" / "go.mod").read_text()
    for module in ("otelcol", "service", "receiver/otlpreceiver"):
        assert f"go.opentelemetry.io/collector/{module} v{versions()['collector']}" in modules
    assert f"exporter/kafkaexporter v{versions()['collector']}" in modules
    assert f'Version: "{versions()["collector"]}"' in (ROOT / "deploy/stack/collector/main.go").read_text()


def test_every_setting_of_the_stack_is_documented() -> None:
    page = (ROOT / "docs" / "stack.md").read_text()
    for name in ("PARAMEDIC_STACK_CACHE", "PARAMEDIC_STACK_DATA", "PARAMEDIC_STACK_USER", *port_variables(Ports())):
        assert f"`{name}`" in page, name
