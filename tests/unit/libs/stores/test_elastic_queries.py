"""What people type becomes words and filters, never syntax; vectors and slices are the same everywhere."""

import math
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pytest

from libs.contracts.incident import IncidentState
from libs.stores.elastic_connection import segment
from libs.stores.elastic_incident_query import LACKING, incident_query, moment, phrases
from libs.stores.elastic_incidents import ElasticIncidentStore
from libs.stores.elastic_slices import Slicing, slice_end_ns, slice_width_s
from libs.stores.elastic_vector import DIMENSIONS, feature_vector
from libs.stores.folded_words import folded, words
from libs.stores.incidents import IncidentQuery
from tests.unit.libs.stores.elastic_fake import Answer, FakeCluster
from tests.unit.libs.stores.incident_store_laws import HOSTILE

GOLDEN = (249, -1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Latency in Zürich", ["latency", "in", "zurich"]),
        ("java.lang.OutOfMemoryError: heap", ["java", "lang", "outofmemoryerror", "heap"]),
        ("INC-000042", ["inc", "000042"]),
        ("Straße ÀÉ snake_case", ["strasse", "ae", "snake", "case"]),
        ("?!*", []),
    ],
)
def test_words_have_neither_case_nor_accents(text: str, expected: list[str]) -> None:
    assert words(text) == expected
    assert folded(text) == " ".join(expected)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_query_is_parsed_by_the_server(text: str) -> None:
    query, terms = IncidentQuery(text=text), phrases(text)
    both = [incident_query(query, terms), incident_query(query, terms, by_column=True)]
    asked = msgspec.json.encode(both).decode()
    assert "query_string" not in asked
    assert "script" not in asked
    assert '"wildcard"' not in asked


def test_searches_go_by_the_columns_until_no_incident_of_an_earlier_release_is_left() -> None:
    lacking, queries = [{"_id": "old"}], list[str]()

    def answer(_: str, path: str, body: Any) -> Answer | None:
        if not path.endswith("/_search"):
            return None
        if body["query"] == LACKING:
            queries.append("lacking")
            return 200, {"hits": {"hits": lacking}}
        queries.append("columns" if "multi_match" in msgspec.json.encode(body).decode() else "all")
        return 200, {"hits": {"total": {"value": 0}, "hits": []}}

    with closing(ElasticIncidentStore(FakeCluster(answer=answer).options())) as store:
        store.search(IncidentQuery(text="slow cart"))
        lacking.clear()
        store.search(IncidentQuery(text="slow cart"))
        store.search(IncidentQuery(text="slow cart"))
        store.search(IncidentQuery())
    assert queries == ["lacking", "columns", "lacking", "all", "all", "all"]


def test_every_filter_is_asked_for() -> None:
    query = IncidentQuery(
        states=(IncidentState.NEW,),
        services=("cart", "\ud800"),
        opened_from=datetime(1, 1, 1, tzinfo=UTC),
        opened_to=datetime(9999, 1, 1, tzinfo=UTC),
    )
    assert incident_query(query, [])["bool"]["filter"] == [
        {"exists": {"field": "incident.id"}},
        {"terms": {"incident.state": ["new"]}},
        {"terms": {"incident.services": ["cart", "?"]}},
        {"range": {"incident.opened_at": {"gte": "1970-01-01T00:00:00+00:00", "lt": "2262-01-01T00:00:00+00:00"}}},
    ]
    assert moment(datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC)) == "2026-01-01T12:00:00.000001+00:00"


def test_a_vector_has_length_1_and_is_the_same_for_the_same_features() -> None:
    first, second = feature_vector(["a", "b"], "slow cart"), feature_vector(["b", "a", "a"], "SLOW cart")
    assert first is not None
    assert second is not None
    assert len(first) == DIMENSIONS
    assert math.isclose(sum(value * value for value in first), 1.0, rel_tol=1e-4)
    assert np.allclose(first, second)
    assert feature_vector([], "?") is None


def test_vectors_do_not_change_between_releases() -> None:
    """Stored vectors are compared with new ones: a change here needs every incident to be indexed anew."""
    vector = feature_vector(["cart|latency|p95|up"], "")
    assert vector is not None
    assert [(place, value) for place, value in enumerate(vector) if value] == [GOLDEN]


def test_more_common_tokens_are_nearer() -> None:
    def likeness(left: list[str], right: list[str]) -> float:
        return float(np.dot(np.array(feature_vector(left, "")), np.array(feature_vector(right, ""))))

    tokens = [f"t{n}" for n in range(8)]
    likenesses = [likeness(tokens, tokens[:n] + [f"u{k}" for k in range(8 - n)]) for n in (8, 6, 4, 0)]
    assert likenesses == sorted(likenesses, reverse=True)
    assert likenesses[0] > 0.999
    assert abs(likenesses[-1]) < 0.3


def test_tokens_weigh_more_than_words() -> None:
    both = np.array(feature_vector(["a"], "pool exhausted"))
    assert np.dot(both, np.array(feature_vector(["a"], ""))) > np.dot(
        both, np.array(feature_vector([], "pool exhausted"))
    )


@pytest.mark.parametrize(
    ("retention_s", "width_s"), [(60, 600), (3_600, 600), (21_600, 3_600), (86_400, 21_600), (10**9, 604_800)]
)
def test_about_six_slices_cover_the_retention(retention_s: float, width_s: int) -> None:
    assert slice_width_s(retention_s) == width_s


def test_a_slice_tells_when_it_ends() -> None:
    slicing = Slicing(prefix="p", width_s=3_600)
    noon_ns = 1_767_268_800 * 10**9
    index = slicing.of("spans", noon_ns + 10)
    assert index == "p-spans-2026.01.01-12.00-3600s"
    assert slice_end_ns(index) == noon_ns + 3_600 * 10**9
    assert slice_end_ns("p-incidents-000001") is None


@pytest.mark.parametrize(
    ("text", "path"), [("a/b", "a%2Fb"), ("..", "%2E%2E"), (".", "%2E"), ("\ud800", "%3F"), ("é", "%C3%A9")]
)
def test_an_id_is_one_segment_of_a_path(text: str, path: str) -> None:
    assert segment(text) == path
