"""Log records in Elasticsearch: one ECS document a record."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from libs.stores.elastic_attributes import attributes_of, label_fields
from libs.stores.elastic_bulk import BulkItem
from libs.stores.elastic_connection import ElasticConnection, encodable
from libs.stores.elastic_pages import hits
from libs.stores.elastic_slices import Slicing
from libs.stores.elastic_span_read import of_services
from libs.stores.telemetry import LogQuery, LogRow
from libs.stores.telemetry_columns import LogColumns

LOGS: Final = "logs"
# A term of the index has at most 32,766 bytes: 8,000 characters of any script.
_LONGEST_TERM: Final = 8_000
_NO_TRACE: Final = bytes(16)
_LEVELS: Final = ((21, "fatal"), (17, "error"), (13, "warn"), (9, "info"), (5, "debug"), (1, "trace"))


def log_items(columns: LogColumns, slicing: Slicing) -> Iterator[BulkItem]:
    """One document a record; the id is the batch and the place in it, so that a batch is stored once."""
    batch = columns.batch
    service: dict[str, Any] = {"name": batch.service}
    if batch.resource.get("service.instance.id"):
        service["node"] = {"name": batch.resource["service.instance.id"]}
    digest = columns.digest.hex()
    for position, (time_ns, logger, user, attributes_at, severity, trace) in enumerate(columns.rows.tolist()):
        labels = label_fields(batch.attribute_sets[attributes_at]) if attributes_at >= 0 else {}
        body = batch.bodies[position]
        words = body.casefold()
        own: dict[str, Any] = {
            "time_ns": time_ns,
            "position": position,
            "severity": severity,
            "folded": words[:_LONGEST_TERM],
        }
        log: dict[str, Any] = {"level": _level(severity)}
        source: dict[str, Any] = {
            "@timestamp": time_ns // 1_000_000,
            "message": body,
            "service": service,
            "log": log,
            "paramedic": own,
        }
        if len(words) > _LONGEST_TERM:
            own["is_long"] = True
        if logger >= 0:
            log["logger"] = batch.loggers[logger]
        if trace != _NO_TRACE:
            source["trace"] = {"id": trace.hex()}
        if user >= 0:
            source["user"] = {"id": batch.users[user]}
        if "labels" in labels:
            source["labels"] = labels["labels"]
        if "attributes" in labels:
            own["attributes"] = labels["attributes"]
        yield BulkItem(slicing.of(LOGS, time_ns), f"{digest}-{position}", source, create=True)


def find_logs(connection: ElasticConnection, index: str, query: LogQuery) -> list[LogRow]:
    """Log records that match, in the order asked for."""
    filters: list[dict[str, Any]] = [
        {"range": {"paramedic.time_ns": {"gte": query.window.start_ns, "lt": query.window.end_ns}}},
        *of_services(query.services),
    ]
    if query.least_severity > 0:
        filters.append({"range": {"paramedic.severity": {"gte": query.least_severity}}})
    if query.trace_id:
        filters.append({"term": {"trace.id": encodable(query.trace_id).lower()}})
    wanted = query.text.casefold()
    if wanted:
        holding = {"wildcard": {"paramedic.folded": {"value": f"*{_literal(wanted[:_LONGEST_TERM])}*"}}}
        # The end of a very long message is in no term: it is looked at below.
        filters.append({"bool": {"should": [holding, {"term": {"paramedic.is_long": True}}]}})
    direction = "asc" if query.order == "oldest" else "desc"
    order = [{"paramedic.time_ns": direction}, {"paramedic.position": "asc"}]
    limit = None if wanted else query.limit
    page = max(1, min(query.limit, 1_000)) if wanted else 5_000
    found: list[LogRow] = []
    asked = {"query": {"bool": {"filter": filters}}}
    for hit in hits(connection, index, asked, sort=order, limit=limit, page=page):
        if len(found) >= query.limit:
            break
        if not wanted or wanted in hit["_source"]["message"].casefold():
            found.append(_row(hit["_source"]))
    return found


def _literal(text: str) -> str:
    return "".join(f"\\{character}" if character in "\\*?" else character for character in encodable(text))


def _level(severity: int) -> str:
    return next((name for least, name in _LEVELS if severity >= least), "unspecified")


def _row(source: Mapping[str, Any]) -> LogRow:
    own, service = source["paramedic"], source["service"]
    return LogRow(
        timestamp_ns=own["time_ns"],
        service=service["name"],
        instance=service.get("node", {}).get("name", ""),
        severity=own["severity"],
        logger=source["log"].get("logger", ""),
        body=source["message"],
        trace_id=source.get("trace", {}).get("id", ""),
        user=source.get("user", {}).get("id", ""),
        attributes=attributes_of(source),
    )
