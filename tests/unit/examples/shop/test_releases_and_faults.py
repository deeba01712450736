"""Laws over what the shop declares."""

import importlib.util
from pathlib import Path

import pytest

from examples.shop.faults import FAULTS
from examples.shop.releases import FLAGS, MAX_REPLICAS, SERVICES

DOCS = (Path(__file__).resolve().parents[4] / "docs" / "shop.md").read_text()


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_a_module_and_starts_with_one_of_its_releases(name: str) -> None:
    spec = SERVICES[name]
    assert importlib.util.find_spec(f"examples.shop.{name}") is not None
    assert spec.initial in spec.versions
    assert 1 <= spec.replicas <= MAX_REPLICAS
    assert len(set(spec.versions)) == len(spec.versions)


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_belongs_to_a_service(name: str) -> None:
    assert FLAGS[name].service in SERVICES


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_says_what_is_to_blame_and_what_helps(name: str) -> None:
    fault = FAULTS[name]
    assert fault.name == name
    assert fault.service in {*SERVICES, "bank"}
    assert fault.cause in {"deploy", "flag", "memory_leak", "dependency", "traffic", "deadlock"}
    assert fault.fix in {"rollback", "restart", "flag_off", "scale_out", "none"}


@pytest.mark.parametrize("name", [*SERVICES, *FLAGS, *FAULTS])
def test_everything_has_its_place_in_the_documentation(name: str) -> None:
    assert f"`{name}`" in DOCS


def test_the_shop_imports_nothing_of_the_platform() -> None:
    folder = Path(importlib.import_module("examples.shop").__file__ or "").parent
    for path in folder.glob("*.py"):
        for line in path.read_text().splitlines():
            assert not line.startswith(
                ("from libs", "import libs", "from services", "import services", "from schemas", "from paramedic")
            ), path
