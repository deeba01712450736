"""A fresh SQLite store of each kind, and further clients of the same file."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore


@pytest.fixture
def telemetry_path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.sqlite"


@pytest.fixture
def open_telemetry(telemetry_path: Path) -> Iterator[Callable[[], SqliteTelemetryStore]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(SqliteTelemetryStore(telemetry_path)))


@pytest.fixture
def incidents_path(tmp_path: Path) -> Path:
    return tmp_path / "incidents.sqlite"


@pytest.fixture
def open_incidents(incidents_path: Path) -> Iterator[Callable[[], SqliteIncidentStore]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(SqliteIncidentStore(incidents_path)))
