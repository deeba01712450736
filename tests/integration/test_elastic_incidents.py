"""The Elasticsearch incident store keeps every law of an incident store, on a real server."""

from collections.abc import Callable, Iterator

import pytest

from libs.stores.elastic_incidents import ElasticIncidentStore
from tests.integration.elastic_servers import Space, empty_space, own_prefix
from tests.unit.libs.stores.incident_store_laws import IncidentStoreLaws

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
