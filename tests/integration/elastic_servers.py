"""The Elasticsearch that stack tests talk to, with indices of their own that are dropped afterwards."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest

from libs.stores.elastic_connection import ElasticOptions, parse_addresses
from libs.stores.elastic_incidents import ElasticIncidentStore
from libs.stores.elastic_telemetry import ElasticTelemetryStore

VARIABLE: Final = "PARAMEDIC_STACK_ELASTICSEARCH"


@dataclass(frozen=True, kw_only=True)
class Space:
    """Indices of one test.

    Attributes:
        address: http://host:port.
        prefix: What their names begin with.
        stack: Closes what was opened.
    """

    address: str
    prefix: str
    stack: ExitStack = field(default_factory=ExitStack)

    def options(self, **changes: Any) -> ElasticOptions:
        """How to reach them."""
        fields: dict[str, Any] = {"addresses": parse_addresses(self.address, VARIABLE), "prefix": self.prefix}
        return ElasticOptions(**{**fields, **changes})

    def incidents(self) -> ElasticIncidentStore:
        """An incident store over them."""
        return self.stack.enter_context(closing(ElasticIncidentStore(self.options())))

    def telemetry(self) -> ElasticTelemetryStore:
        """A telemetry store over them."""
        return self.stack.enter_context(closing(ElasticTelemetryStore(self.options())))


@contextmanager
def own_space() -> Iterator[Space]:
    """Fresh names on the server of the environment; the test is skipped when there is none."""
    address = os.environ.get(VARIABLE, "")
    if not address:
        pytest.skip(f"needs a real Elasticsearch: make test-stack, or set {VARIABLE}=http://host:port")
    space = Space(address=address, prefix=f"test-{uuid.uuid4().hex[:12]}")
    with space.stack:
        try:
            yield space
        finally:
            drop(address, space.prefix)


def drop(address: str, prefix: str) -> None:
    """Delete the indices and templates of a prefix."""
    with httpx.Client(base_url=address, timeout=30.0) as http:
        names = [index["index"] for index in http.get(f"/_cat/indices/{prefix}-*", params={"format": "json"}).json()]
        for name in names:
            http.delete(f"/{name}").raise_for_status()
        http.delete(f"/_index_template/{prefix}-*")


Opener = Callable[[], Any]
