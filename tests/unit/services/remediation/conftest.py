"""A control server and a handler's world that goes by it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.services.remediation.control_server import ControlServer
from tests.unit.services.remediation.world import World


@pytest.fixture
def control() -> Iterator[ControlServer]:
    """A fresh control server."""
    with ControlServer() as server:
        yield server


@pytest.fixture
def world(tmp_path: Path, control: ControlServer) -> Iterator[World]:
    """A fresh world."""
    made = World(tmp_path, control.url)
    yield made
    made.close()
