"""The Elasticsearch telemetry store keeps every law of a telemetry store, on a real server."""

from collections.abc import Callable, Iterator

import pytest

from libs.stores.elastic_telemetry import ElasticTelemetryStore
from tests.integration.elastic_servers import Space, empty_space, own_prefix
from tests.unit.libs.stores.call_graph_laws import CallGraphLaws
from tests.unit.libs.stores.telemetry_store_laws import TelemetryStoreLaws

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def prefix() -> Iterator[str]:
    with own_prefix() as prefix:
        yield prefix


@pytest.fixture
def space(prefix: str) -> Iterator[Space]:
    with empty_space(prefix) as space:
        yield space


class _Adapter:
    @pytest.fixture
    def reopen(self, space: Space) -> Callable[[], ElasticTelemetryStore]:
        return space.telemetry

    @pytest.fixture
    def store(self, space: Space) -> ElasticTelemetryStore:
        return space.telemetry()


class TestElasticTelemetryStore(_Adapter, TelemetryStoreLaws):
    """Every law."""


class TestElasticCallGraph(_Adapter, CallGraphLaws):
    """Every law of the graph that is learned from spans."""
