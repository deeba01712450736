"""The Elasticsearch incident store keeps every law of an incident store, on a real server."""

from collections.abc import Callable, Iterator

import pytest

from libs.stores.elastic_incidents import ElasticIncidentStore
from tests.integration.elastic_servers import Space, own_space
from tests.unit.libs.stores.incident_store_laws import IncidentStoreLaws

pytestmark = pytest.mark.stack


@pytest.fixture
def space() -> Iterator[Space]:
    with own_space() as space:
        yield space


class TestElasticIncidentStore(IncidentStoreLaws):
    """Every law."""

    @pytest.fixture
    def reopen(self, space: Space) -> Callable[[], ElasticIncidentStore]:
        return space.incidents

    @pytest.fixture
    def store(self, space: Space) -> ElasticIncidentStore:
        return space.incidents()
