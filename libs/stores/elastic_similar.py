"""Similar past incidents in Elasticsearch: candidates by nearest vectors, by common tokens and by words.

The candidates are then ranked by the exact overlap and the fused ranks of `similarity`, as in the SQLite adapter: the
reciprocal-rank fusion of the server itself is a paid feature.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from libs.stores.elastic_connection import ElasticConnection, encodable
from libs.stores.elastic_incident_query import BEST_FIRST, Query, any_of, past, phrases
from libs.stores.elastic_pages import search
from libs.stores.elastic_vector import feature_vector
from libs.stores.similarity import fuse, ranks, token_weights, weighted_jaccard

_MOST_TEXT_HITS: Final = 50  # beyond rank 50 reciprocal rank fusion adds less than 0.06
# Of 100,000 incidents 200 by tokens and 100 by vector leave 147 of 150 of the five most alike in place
# (tests/bench/elastic_incidents.py compares with ranking every incident).
_MOST_TOKEN_HITS: Final = 200
_MOST_NEIGHBOURS: Final = 100
_NEIGHBOUR_CANDIDATES: Final = 200
_FIELDS: Final = ("incident.id", "incident.fingerprint", "incident.opened_at", "search.confirmed")
_MOST_TOKENS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    identity: str
    tokens: frozenset[str]
    opened_at: str
    confirmed: int


def ranked_similar(
    connection: ElasticConnection, alias: str, fingerprint: Sequence[str], text: str, before: datetime, exclude: str
) -> list[tuple[str, float]]:
    """Incident ids with their similarity, best first; confirmed root causes, then the newest, win ties."""
    wanted = frozenset(map(encodable, fingerprint))
    terms = phrases(text)
    earlier = past(before, exclude)
    known: dict[str, _Candidate] = {}
    if wanted:
        _find(connection, alias, _by_tokens(earlier, wanted), known)
        _find(connection, alias, _by_vector(earlier, sorted(wanted), text), known)
    by_text: dict[str, int] = {}
    if terms:
        found = _find(connection, alias, _by_words(earlier, terms), known)
        by_text = {identity: rank for rank, identity in enumerate(found, start=1)}
    sharing = {name: candidate for name, candidate in known.items() if candidate.tokens & wanted}
    weights = _weights(connection, alias, earlier, wanted.union(*(one.tokens for one in sharing.values())))
    overlaps = {name: weighted_jaccard(wanted, one.tokens, weights) for name, one in sharing.items()}
    by_overlap = ranks(overlaps.items())
    scored = [
        (fuse(overlaps.get(name, 0.0), by_overlap.get(name), by_text.get(name)), known[name])
        for name in sharing.keys() | by_text.keys()
    ]
    scored.sort(key=lambda entry: entry[1].identity)
    scored.sort(key=lambda entry: (entry[0], entry[1].confirmed, entry[1].opened_at), reverse=True)
    return [(candidate.identity, similarity) for similarity, candidate in scored]


def _find(connection: ElasticConnection, alias: str, body: Query, known: dict[str, _Candidate]) -> list[str]:
    """Ids in order; what is needed of each goes to `known`."""
    answer = search(connection, alias, {**body, "_source": list(_FIELDS), "track_total_hits": False})
    order = []
    for hit in answer["hits"]["hits"]:
        incident: Mapping[str, Any] = hit["_source"]["incident"]
        candidate = _Candidate(
            identity=incident["id"],
            tokens=frozenset(incident.get("fingerprint", ())),
            opened_at=_sortable(incident["opened_at"]),
            confirmed=hit["_source"].get("search", {}).get("confirmed", 0),
        )
        known[candidate.identity] = candidate
        order.append(candidate.identity)
    return order


def _sortable(moment: str) -> str:
    """RFC 3339 in UTC with six digits, which order as text."""
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    return f"{whole}.{fraction:0<6}"


def _by_tokens(earlier: Query, wanted: AbstractSet[str]) -> Query:
    tokens = [{"term": {"incident.fingerprint": token}} for token in sorted(wanted)[:_MOST_TOKENS]]
    shared = {"bool": {"filter": earlier, "should": tokens, "minimum_should_match": 1}}
    return {"query": shared, "size": _MOST_TOKEN_HITS, "sort": list(BEST_FIRST)}


def _by_vector(earlier: Query, fingerprint: Sequence[str], text: str) -> Query:
    vector = feature_vector(fingerprint, text)
    if vector is None:
        return {"query": {"match_none": {}}}
    nearest = {
        "field": "search.vector",
        "query_vector": vector,
        "k": _MOST_NEIGHBOURS,
        "num_candidates": _NEIGHBOUR_CANDIDATES,
        "filter": earlier,
    }
    return {"knn": nearest, "size": _MOST_NEIGHBOURS}


def _by_words(earlier: Query, terms: Sequence[Sequence[str]]) -> Query:
    worded = {"bool": {"filter": earlier, "must": any_of(terms)}}
    return {"query": worded, "size": _MOST_TEXT_HITS, "sort": list(BEST_FIRST)}


def _weights(connection: ElasticConnection, alias: str, earlier: Query, tokens: Iterable[str]) -> Mapping[str, float]:
    """Inverse document frequency of each token over the past incidents."""
    every = frozenset(tokens)
    if not every:
        return {}
    counting = {"terms": {"field": "incident.fingerprint", "include": sorted(every), "size": len(every)}}
    answer = search(
        connection,
        alias,
        {"query": earlier, "size": 0, "track_total_hits": True, "aggs": {"tokens": counting}},
    )
    counts = {bucket["key"]: bucket["doc_count"] for bucket in answer["aggregations"]["tokens"]["buckets"]}
    return token_weights(every, counts, answer["hits"]["total"]["value"])
