"""The filled shop once per module, and empty stores."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.service.platform import Platform
from services.mcp.sources import Sources
from tests.unit.services.mcp.shop import fill_incidents, fill_telemetry, open_shop


def _close(platform: Platform) -> None:
    platform.telemetry.close()
    platform.incidents.close()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    platform = open_shop(tmp_path_factory.mktemp("shop"))
    fill_telemetry(platform)
    fill_incidents(platform)
    yield platform
    _close(platform)


@pytest.fixture(scope="module")
def sources(shop: Platform) -> Sources:
    return Sources(shop)


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Platform]:
    platform = open_shop(tmp_path / "empty")
    yield platform
    _close(platform)
