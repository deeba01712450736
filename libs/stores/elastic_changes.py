"""Changes to production in Elasticsearch: one ECS document a change."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from libs.contracts.codec import ns_from_utc
from libs.contracts.telemetry import ChangeEvent
from libs.stores.elastic_attributes import label_fields
from libs.stores.elastic_bulk import BulkDeletion, BulkItem, write_bulk
from libs.stores.elastic_connection import ElasticConnection
from libs.stores.elastic_pages import hits, refresh
from libs.stores.elastic_span_read import of_services
from libs.stores.telemetry import Window

_NEWEST: Final = [{"paramedic.at_ns": "desc"}, {"event.id": "asc"}]


def change_item(change: ChangeEvent, alias: str) -> BulkItem:
    """A document; a later change of the same id replaces it."""
    fields = msgspec.to_builtins(change)
    source: dict[str, Any] = {
        "@timestamp": fields["timestamp"],
        "message": change.summary,
        "event": {
            "kind": "event",
            "category": ["configuration"],
            "type": ["change"],
            "action": change.kind.value,
            "id": change.id,
        },
        "service": {"name": change.service, **({"version": change.version} if change.version else {})},
        "user": {"name": change.actor},
        "paramedic": {"at_ns": ns_from_utc(change.timestamp), "change": fields},
    }
    labels = label_fields(change.attributes)
    if "labels" in labels:
        source["labels"] = labels["labels"]
    return BulkItem(alias, change.id, source)


def find_changes(
    connection: ElasticConnection, alias: str, window: Window, services: Sequence[str], limit: int
) -> list[ChangeEvent]:
    """Changes that took effect in a window, newest first."""
    refresh(connection, alias)
    filters = [{"range": {"paramedic.at_ns": {"gte": window.start_ns, "lt": window.end_ns}}}, *of_services(services)]
    asked = {"query": {"bool": {"filter": filters}}}
    found = hits(connection, alias, asked, sort=_NEWEST, limit=limit)
    return [msgspec.convert(hit["_source"]["paramedic"]["change"], ChangeEvent) for hit in found]


def forget_changes(connection: ElasticConnection, alias: str, before_ns: int) -> int:
    """Delete the changes before a moment; how many."""
    refresh(connection, alias)
    asked = {"query": {"range": {"paramedic.at_ns": {"lt": before_ns}}}, "_source": False}
    gone = [BulkDeletion(hit["_index"], hit["_id"]) for hit in hits(connection, alias, asked, sort=_NEWEST)]
    write_bulk(connection, gone)
    return len(gone)
