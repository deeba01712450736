"""Single spans out of Elasticsearch: by window, by trace, and their users."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from libs.stores.elastic_attributes import attributes_of
from libs.stores.elastic_connection import ElasticConnection, encodable
from libs.stores.elastic_pages import hits, search
from libs.stores.telemetry import SpanQuery, SpanRow, UserCount, Window

MOST_TRACE_SPANS: Final = 5_000
_SERVER: Final = 2
_SAMPLE_USERS: Final = 20
_USERS_A_PAGE: Final = 10_000
_ORDERS: Final = {
    "newest": {"paramedic.end_ns": "desc"},
    "oldest": {"paramedic.end_ns": "asc"},
    "slowest": {"event.duration": "desc"},
}


def find_spans(connection: ElasticConnection, index: str, query: SpanQuery) -> list[SpanRow]:
    """Spans that match, in the order asked for."""
    filters = [ended_in(query.window), *of_services(query.services)]
    if query.trace_id:
        filters.append({"term": {"trace.id": encodable(query.trace_id).lower()}})
    if query.errors_only:
        filters.append({"term": {"paramedic.status": 2}})
    if query.kinds:
        filters.append({"terms": {"paramedic.kind": list(query.kinds)}})
    asked = {"query": {"bool": {"filter": filters}}}
    return [
        _row(hit["_source"]) for hit in hits(connection, index, asked, sort=[_ORDERS[query.order]], limit=query.limit)
    ]


def find_trace(connection: ElasticConnection, index: str, trace_id: str, horizon_ns: int) -> list[SpanRow]:
    """All spans of a trace by start."""
    if not trace_id:
        return []
    filters = [
        {"term": {"trace.id": encodable(trace_id).lower()}},
        {"range": {"paramedic.end_ns": {"gte": horizon_ns}}},
    ]
    order = [{"paramedic.start_ns": "asc"}, {"event.duration": "desc"}, {"span.id": "asc"}]
    asked = {"query": {"bool": {"filter": filters}}}
    return [_row(hit["_source"]) for hit in hits(connection, index, asked, sort=order, limit=MOST_TRACE_SPANS)]


def count_users(
    connection: ElasticConnection,
    index: str,
    window: Window,
    services: Sequence[str],
    *,
    failed_only: bool,
    slower_than_s: float,
) -> UserCount:
    """Distinct users of server spans, counted exactly: a cardinality aggregation would only estimate."""
    felt: list[Any] = [{"term": {"paramedic.status": 2}}]
    if not failed_only:
        felt.append({"range": {"event.duration": {"gte": slower_than_s * 1e9}}})
    filters = [ended_in(window), {"term": {"paramedic.kind": _SERVER}}, *of_services(services)]
    query = {"bool": {"filter": filters, "should": felt, "minimum_should_match": 1}}
    composite: dict[str, Any] = {"size": _USERS_A_PAGE, "sources": [{"user": {"terms": {"field": "user.id"}}}]}
    aggregations = {"without": {"missing": {"field": "user.id"}}, "users": {"composite": composite}}
    body = {"query": query, "size": 0, "track_total_hits": False, "aggs": aggregations}
    count, sample, without = 0, list[str](), 0
    while True:
        answer = search(connection, index, body).get("aggregations")
        if answer is None:  # no index yet
            return UserCount(count=0, sample=(), spans_without_user=0)
        buckets = answer["users"]["buckets"]
        without = answer["without"]["doc_count"]
        sample.extend(bucket["key"]["user"] for bucket in buckets[: _SAMPLE_USERS - len(sample)])
        count += len(buckets)
        if len(buckets) < _USERS_A_PAGE:
            return UserCount(count=count, sample=tuple(sample), spans_without_user=without)
        composite["after"] = answer["users"]["after_key"]


def ended_in(window: Window) -> dict[str, Any]:
    """Spans that ended in a window."""
    return {"range": {"paramedic.end_ns": {"gte": window.start_ns, "lt": window.end_ns}}}


def of_services(services: Sequence[str]) -> list[dict[str, Any]]:
    """Documents of some services; no condition when none is named."""
    return [{"terms": {"service.name": [encodable(service) for service in services]}}] if services else []


def _row(source: Mapping[str, Any]) -> SpanRow:
    own, service = source["paramedic"], source["service"]
    return SpanRow(
        trace_id=source["trace"]["id"],
        span_id=source["span"]["id"],
        parent_span_id=source.get("parent", {}).get("id", ""),
        service=service["name"],
        instance=service.get("node", {}).get("name", ""),
        version=service.get("version", ""),
        name=source["span"]["name"],
        kind=own["kind"],
        status=own["status"],
        start_ns=own["start_ns"],
        duration_ns=source["event"]["duration"],
        peer=service.get("target", {}).get("name", ""),
        user=source.get("user", {}).get("id", ""),
        attributes=attributes_of(source),
        exceptions=tuple(own.get("exceptions", ())),
    )
