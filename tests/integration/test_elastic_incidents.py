"""The Elasticsearch incident store keeps every law of an incident store, on a real server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import httpx
import pytest

from libs.contracts.document import IncidentContext, LogSample, Section, TimelineEntry
from libs.stores import elastic_backfill, elastic_pages
from libs.stores.elastic_bulk import write_bulk
from libs.stores.elastic_incident_document import with_section
from libs.stores.elastic_incidents import ElasticIncidentStore
from libs.stores.elastic_provision import provision
from libs.stores.elastic_templates import INCIDENTS, index_body
from libs.stores.incidents import IncidentQuery
from tests.integration.elastic_servers import Space, address, empty_space, own_prefix
from tests.unit.libs.stores.incident_store_laws import (
    NOON,
    IncidentStoreLaws,
    every_section,
    found,
    investigation,
    put,
    root_cause,
)

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

    def test_a_column_that_weighs_more_ranks_higher(self, store: ElasticIncidentStore) -> None:
        """Every incident is as long as the others and holds the word once, in another column."""
        order = ("title", "root cause", "hypothesis", "comment", "log")
        for name in order:
            put_text(store, name, {one: "zebra" if one == name else "other" for one in order})
        assert found(store, text="zebra") == found(store, text="zeb") == list(order)


def put_text(store: ElasticIncidentStore, identity: str, words: dict[str, str]) -> None:
    """An incident that says one word in each column."""
    put(store, identity, title=words["title"])
    store.put(identity, Section.ROOT_CAUSE, root_cause("ann", words["root cause"]))
    store.put(identity, Section.INVESTIGATION, investigation(identity, words["hypothesis"]))
    comment = TimelineEntry(id="t", at=NOON, actor="x", kind="comment", text=words["comment"])
    store.put(identity, Section.TIMELINE, (comment,))
    log = LogSample(timestamp=NOON, service="x", severity=9, body=words["log"])
    store.put(identity, Section.CONTEXT, IncidentContext(logs=(log,)))


@pytest.fixture
def earlier() -> Iterator[Space]:
    """Seven incidents in an index that an earlier release made: six search columns, none that holds them all."""
    body = index_body(INCIDENTS)
    columns = body["mappings"]["properties"]["search"]["properties"]
    del columns["all"]
    for column in columns.values():
        column.pop("copy_to", None)
    with own_prefix() as prefix, httpx.Client(base_url=address(), timeout=60.0) as http:
        index = f"{prefix}-{INCIDENTS}-000001"
        alias = {f"{prefix}-{INCIDENTS}": {"is_write_index": True}}
        http.put(f"/{index}", json={**body, "aliases": alias}).raise_for_status()
        for n in range(7):
            source: dict[str, Any] = {}
            for section, value in every_section(f"i{n}").items():
                source = with_section(source, section, value, 1)
            http.put(f"/{index}/_doc/i{n}", params={"refresh": "true"}, json=source).raise_for_status()
        with ExitStack() as stack:
            yield Space(address=address(), prefix=prefix, stack=stack)


class TestIncidentsOfAnEarlierRelease:
    """An index made before `search.all`."""

    def test_are_found_before_and_after_they_are_indexed_anew(self, earlier: Space) -> None:
        store = earlier.incidents()
        put(store, "new", title="Title of new")
        texts = ("title", "title of i3", "query", "quer", "n+1", "deploy titl")

        def answers() -> list[tuple[set[str], int]]:
            pages = [store.search(IncidentQuery(text=text)) for text in texts]
            return [({core.id for core in page.incidents}, page.total) for page in pages]

        before = answers()
        assert before[0] == ({*(f"i{n}" for n in range(7)), "new"}, 8)
        assert before[1] == ({"i3"}, 1)
        assert provision(earlier.options(), "incident", dry_run=True).lacking == 7
        assert answers() == before
        assert provision(earlier.options(), "incident", dry_run=False).lacking == 7
        assert provision(earlier.options(), "incident", dry_run=False).lacking == 0
        assert answers() == before
        assert earlier.incidents().get("i3") == store.get("i3")

    def test_that_a_service_writes_meanwhile_are_left_as_it_wrote_them(
        self, earlier: Space, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = earlier.incidents()

        def interrupted(connection: Any, items: Any) -> int:
            read = list(items)
            put(store, "i3", title="Written meanwhile")
            return write_bulk(connection, read)

        monkeypatch.setattr(elastic_backfill, "write_bulk", interrupted)
        assert provision(earlier.options(), "incident", dry_run=False).lacking == 7
        assert found(store, text="meanwhile") == ["i3"]
        assert store.search(IncidentQuery(text="deploy")).total == 7
