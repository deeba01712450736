"""The SQLite incident store keeps every law of an incident store."""

from collections.abc import Callable

import pytest

from libs.stores.sqlite_incidents import SqliteIncidentStore
from tests.unit.libs.stores.incident_store_laws import IncidentStoreLaws


class TestSqliteIncidentStore(IncidentStoreLaws):
    """Every law."""

    @pytest.fixture
    def reopen(self, open_incidents: Callable[[], SqliteIncidentStore]) -> Callable[[], SqliteIncidentStore]:
        return open_incidents

    @pytest.fixture
    def store(self, open_incidents: Callable[[], SqliteIncidentStore]) -> SqliteIncidentStore:
        return open_incidents()
