"""The Elasticsearch incident store keeps every law of an incident store, on a real server."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from libs.stores import elastic_pages
from libs.stores.elastic_incidents import ElasticIncidentStore
from libs.stores.incidents import IncidentQuery
from tests.integration.elastic_servers import Space, empty_space, own_prefix
from tests.unit.libs.stores.incident_store_laws import NOON, IncidentStoreLaws, put

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def prefix() -> Iterator[str]:
    with own_prefix() as prefix:
        yield prefix


@pytest.fixture
def space(prefix: str) -> Iterator[Space]:
    with empty_space(prefix) as space:
        yield space


class TestElasticIncidentStore(IncidentStoreLaws):
    """Every law."""

    @pytest.fixture
    def reopen(self, space: Space) -> Callable[[], ElasticIncidentStore]:
        return space.incidents

    @pytest.fixture
    def store(self, space: Space) -> ElasticIncidentStore:
        return space.incidents()

    @pytest.mark.parametrize("text", ["", "title"])
    def test_pages_near_the_end_are_the_same_when_asked_for_from_the_end(
        self, store: ElasticIncidentStore, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n in range(11):
            put(store, f"i{n:02}", opened_at=NOON + timedelta(minutes=n // 2))
        whole = [core.id for core in store.search(IncidentQuery(text=text, limit=50)).incidents]
        monkeypatch.setattr(elastic_pages, "_DEEP", 0)
        for offset in range(13):
            page = store.search(IncidentQuery(text=text, limit=3, offset=offset))
            assert ([core.id for core in page.incidents], page.total) == (whole[offset : offset + 3], 11)
