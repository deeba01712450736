"""The Elasticsearch that stack tests talk to, with indices of their own that are emptied and dropped afterwards."""

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from libs.stores.elastic_incidents import ElasticIncidentStore
from libs.stores.elastic_options import ElasticOptions, parse_addresses
from libs.stores.elastic_telemetry import ElasticTelemetryStore

VARIABLE: Final = "PARAMEDIC_STACK_ELASTICSEARCH"


@dataclass(frozen=True, kw_only=True)
class Space:
    """Indices under a prefix of their own.

    Attributes:
        address: http://host:port.
        prefix: What their names begin with.
        stack: Closes what was opened.
    """

    address: str
    prefix: str
    stack: ExitStack

    def options(self, **changes: Any) -> ElasticOptions:
        """How to reach them."""
        fields: dict[str, Any] = {"addresses": parse_addresses(self.address, VARIABLE), "prefix": self.prefix}
        return ElasticOptions(**{**fields, **changes})

    def incidents(self, **changes: Any) -> ElasticIncidentStore:
        """An incident store over them."""
        return self.stack.enter_context(closing(ElasticIncidentStore(self.options(**changes))))

    def telemetry(self, **changes: Any) -> ElasticTelemetryStore:
        """A telemetry store over them."""
        return self.stack.enter_context(closing(ElasticTelemetryStore(self.options(**changes))))


def address() -> str:
    """The server of the environment; the test is skipped when there is none."""
    named = os.environ.get(VARIABLE, "")
    if not named:
        pytest.skip(f"needs a real Elasticsearch: make test-stack, or set {VARIABLE}=http://host:port")
    return named


@contextmanager
def own_prefix() -> Iterator[str]:
    """A prefix whose indices and templates are dropped at the end."""
    server, prefix = address(), f"test-{uuid.uuid4().hex[:12]}"
    try:
        yield prefix
    finally:
        with httpx.Client(base_url=server, timeout=60.0) as http:
            for name in names(http, prefix):
                http.delete(f"/{name}").raise_for_status()
            http.delete(f"/_index_template/{prefix}-*")


@contextmanager
def empty_space(prefix: str) -> Iterator[Space]:
    """Indices without documents: emptying them takes a tenth of the time of making them anew."""
    server = address()
    with httpx.Client(base_url=server, timeout=60.0) as http:
        for name in names(http, prefix):
            empty(http, name)
    with ExitStack() as stack:
        yield Space(address=server, prefix=prefix, stack=stack)


def names(http: httpx.Client, prefix: str) -> list[str]:
    """Indices of a prefix."""
    found = http.get(f"/_cat/indices/{prefix}-*", params={"format": "json", "h": "index"}).raise_for_status().json()
    return [index["index"] for index in found]


def empty(http: httpx.Client, index: str) -> None:
    """Delete every document of an index."""
    while True:
        http.post(f"/{index}/_refresh").raise_for_status()
        found = http.post(f"/{index}/_search", json={"size": 5_000, "_source": False}).raise_for_status().json()
        actions = [json.dumps({"delete": {"_id": hit["_id"]}}) + "\n" for hit in found["hits"]["hits"]]
        if not actions:
            return
        http.post(
            f"/{index}/_bulk", content="".join(actions), headers={"Content-Type": "application/x-ndjson"}
        ).raise_for_status()
