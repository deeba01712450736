"""The SQLite telemetry store keeps every law of a telemetry store."""

from collections.abc import Callable

import pytest

from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from tests.unit.libs.stores.call_graph_laws import CallGraphLaws
from tests.unit.libs.stores.telemetry_store_laws import TelemetryStoreLaws


class _Adapter:
    @pytest.fixture
    def reopen(self, open_telemetry: Callable[[], SqliteTelemetryStore]) -> Callable[[], SqliteTelemetryStore]:
        return open_telemetry

    @pytest.fixture
    def store(self, open_telemetry: Callable[[], SqliteTelemetryStore]) -> SqliteTelemetryStore:
        return open_telemetry()


class TestSqliteTelemetryStore(_Adapter, TelemetryStoreLaws):
    """Every law."""


class TestSqliteCallGraph(_Adapter, CallGraphLaws):
    """Every law of the graph that is learned from spans."""
