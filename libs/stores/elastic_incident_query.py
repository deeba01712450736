"""What people ask of incidents, as Elasticsearch queries; nothing that is typed is query syntax."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from libs.contracts.document import Section
from libs.contracts.incident import IncidentState
from libs.stores.elastic_connection import encodable
from libs.stores.folded_words import words
from libs.stores.incidents import IncidentQuery
from libs.stores.search_text import search_terms

# A word in the title says more than the same word in one of fifty log lines (as in the SQLite adapter). The mapping
# copies each column into `search.all` as often as it weighs: BM25 of that field is BM25 over weighted frequencies, as
# FTS5's bm25() computes it, and a word is one list of postings instead of six.
WEIGHTS: Final = {"title": 8, "services": 6, "hypotheses": 4, "root_cause": 6, "logs": 1, "comments": 2}
ALL: Final = "search.all"
_WEIGHTED: Final = tuple(f"search.{column}^{weight}" for column, weight in WEIGHTS.items())
_PLAIN: Final = tuple(f"search.{column}" for column in WEIGHTS)
_MOST_EXPANSIONS: Final = 1_000
# date_nanos ends here; nothing is opened outside.
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2262, 1, 1, tzinfo=UTC)

Query = dict[str, Any]

NEWEST_FIRST: Final = ({"incident.opened_at": "desc"}, {"search.number": "desc"})
BEST_FIRST: Final = ({"_score": "desc"}, *NEWEST_FIRST)
# Written before `search.all` was in the mapping; a document without any text needs no such field.
LACKING: Final[Query] = {
    "bool": {
        "filter": [{"bool": {"should": [{"exists": {"field": column}} for column in _PLAIN]}}],
        "must_not": [{"exists": {"field": ALL}}],
    }
}


def phrases(text: str) -> list[list[str]]:
    """Folded words of each term that was typed."""
    return [found for found in map(words, search_terms(text)) if found]


def incident_query(query: IncidentQuery, terms: Sequence[Sequence[str]], *, by_column: bool = False) -> Query:
    """Filters, and every term, the last one as a prefix.

    Args:
        query: What is asked.
        terms: Its text as `phrases`.
        by_column: Look into the six columns, for incidents that `search.all` holds nothing of.
    """
    filters: list[Query] = [{"exists": {"field": "incident.id"}}]
    if query.states:
        filters.append({"terms": {"incident.state": [state.value for state in query.states]}})
    if query.priorities:
        filters.append({"terms": {"incident.priority": [priority.value for priority in query.priorities]}})
    if query.services:
        filters.append({"terms": {"incident.services": [encodable(service) for service in query.services]}})
    opened = {}
    if query.opened_from is not None:
        opened["gte"] = moment(query.opened_from)
    if query.opened_to is not None:
        opened["lt"] = moment(query.opened_to)
    if opened:
        filters.append({"range": {"incident.opened_at": opened}})
    asked: Query = {"filter": filters}
    if terms:
        whole, beginning = (_any_column, _any_column_begins) if by_column else (_word, _beginning)
        asked["must"] = [*map(whole, terms[:-1]), beginning(terms[-1])]
    return {"bool": asked}


def holding(section: Section, incident_ids: Sequence[str] | None) -> Query:
    """Incidents that have a section, all of them or those of some ids."""
    filters: list[Query] = [{"exists": {"field": "incident.id"}}, {"exists": {"field": f"sections.{section.value}"}}]
    if incident_ids is not None:
        filters.append({"ids": {"values": [encodable(one) for one in incident_ids]}})
    return {"bool": {"filter": filters}}


def past(before: datetime, exclude: str) -> Query:
    """Incidents opened before a moment, but one, and none that was canceled."""
    return {
        "bool": {
            "filter": [
                {"exists": {"field": "incident.id"}},
                {"range": {"incident.opened_at": {"lt": moment(before)}}},
            ],
            "must_not": [
                {"term": {"incident.state": IncidentState.CANCELED.value}},
                {"term": {"incident.id": encodable(exclude)}},
            ],
        }
    }


def any_of(terms: Sequence[Sequence[str]]) -> Query:
    """At least one of the terms; the more and the rarer, the better."""
    return {
        "bool": {
            "should": [
                {"multi_match": {"query": " ".join(term), "fields": list(_PLAIN), "type": _type_of(term)}}
                for term in terms
            ],
            "minimum_should_match": 1,
        }
    }


def moment(value: datetime) -> str:
    """A time as the index takes it."""
    return min(max(value, _EARLIEST), _LATEST).astimezone(UTC).isoformat()


def _type_of(term: Sequence[str]) -> str:
    return "phrase" if len(term) > 1 else "best_fields"


def _word(term: Sequence[str]) -> Query:
    return {"match_phrase" if len(term) > 1 else "match": {ALL: {"query": " ".join(term)}}}


def _beginning(term: Sequence[str]) -> Query:
    if len(term) > 1:
        return {"match_phrase_prefix": {ALL: {"query": " ".join(term), "max_expansions": _MOST_EXPANSIONS}}}
    return {"dis_max": {"queries": [_word(term), *_begins(term[0], 1_000)]}}


def _begins(word: str, whole: float) -> list[Query]:
    """A word that only begins so says less than the word itself, which counts `whole` times its column's weight.

    BM25 of a word that 82 % of 90,783 incidents hold is 0.19 to 0.44 in `search.all`, where weights are frequencies,
    not factors: a thousandth stays below it.
    """
    return [{"prefix": {f"search.{column}": {"value": word, "boost": w / whole}}} for column, w in WEIGHTS.items()]


def _any_column(term: Sequence[str]) -> Query:
    return {"multi_match": {"query": " ".join(term), "fields": list(_WEIGHTED), "type": _type_of(term)}}


def _any_column_begins(term: Sequence[str]) -> Query:
    if len(term) > 1:
        prefixed: Query = {
            "multi_match": {
                "query": " ".join(term),
                "fields": list(_WEIGHTED),
                "type": "phrase_prefix",
                "max_expansions": _MOST_EXPANSIONS,
            }
        }
        return prefixed
    return {"dis_max": {"queries": [_any_column(term), *_begins(term[0], 10)]}}
