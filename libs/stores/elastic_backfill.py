"""Incidents that an earlier release wrote, written again as they are, so that the fields of this release index them.

A new field of a mapping holds nothing of the documents that were there before it. `search.all` (copied by the mapping
from the six columns of `search`) is such a field: until every incident has it, searches go by the columns.
"""

from collections.abc import Iterator
from typing import Final

from libs.stores.elastic_bulk import BulkItem, write_bulk
from libs.stores.elastic_connection import ElasticConnection
from libs.stores.elastic_incident_query import LACKING
from libs.stores.elastic_pages import hits, refresh, search

# An incident with its logs is 5 to some 100 KiB: a page stays far below the server's 100 MB a response.
_PAGE: Final = 200


def has_lacking(connection: ElasticConnection, index: str) -> bool:
    """Whether an incident is there that `search.all` holds nothing of; sees what the last refresh saw."""
    answer = search(connection, index, {"query": LACKING, "size": 1, "_source": False, "terminate_after": 1})
    return bool(answer["hits"]["hits"])


def count_lacking(connection: ElasticConnection, index: str) -> int:
    """How many incidents `search.all` holds nothing of."""
    refresh(connection, index)
    answer = search(connection, index, {"query": LACKING, "size": 0, "track_total_hits": True})
    return int(answer["hits"]["total"]["value"])


def backfill(connection: ElasticConnection, index: str) -> None:
    """Write those incidents again; one that a service writes meanwhile is left as the service wrote it.

    May be broken off at any time and run again, also beside services of either release: what is done stays done.
    """
    refresh(connection, index)
    write_bulk(connection, _lacking(connection, index))
    refresh(connection, index)


def _lacking(connection: ElasticConnection, index: str) -> Iterator[BulkItem]:
    asked = {"query": LACKING, "seq_no_primary_term": True}
    for hit in hits(connection, index, asked, sort=[{"_shard_doc": "asc"}], page=_PAGE):
        yield BulkItem(hit["_index"], hit["_id"], hit["_source"], seen=(hit["_seq_no"], hit["_primary_term"]))
