"""Answers of any length: one search when it fits a page, else pages over one point in time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from libs.stores.elastic_connection import ElasticConnection, segment

PAGE: Final = 5_000  # below index.max_result_window; a page of spans is some 3 MB
_KEEP_ALIVE: Final = "1m"
_SOME_OR_NONE: Final = {"ignore_unavailable": "true", "allow_no_indices": "true"}
_ALL_SHARDS: Final = {"allow_partial_search_results": "false"}  # a part of the answer would pass for the whole

Hit = Mapping[str, Any]


def refresh(connection: ElasticConnection, index: str) -> None:
    """Make everything that was acknowledged visible to searches; costs 1 to 2 ms when nothing is new."""
    connection.request("POST", f"/{segment(index)}/_refresh", params=_SOME_OR_NONE)


def search(connection: ElasticConnection, index: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """One search; an index pattern that matches nothing finds nothing."""
    path = f"/{segment(index)}/_search"
    answer: Mapping[str, Any] = connection.request("POST", path, body, params={**_SOME_OR_NONE, **_ALL_SHARDS})
    return answer


def hits(
    connection: ElasticConnection,
    index: str,
    body: Mapping[str, Any],
    *,
    sort: Sequence[Any],
    limit: int | None = None,
    page: int = PAGE,
) -> Iterator[Hit]:
    """Hits in order, at most `limit`.

    Args:
        body: Query and `_source`; no sort, no size.
        sort: Sort keys; equal ones come in an order of their own that stays the same within one call.
    """
    if limit is not None and limit <= page:
        if limit > 0:
            yield from search(
                connection, index, {**body, "sort": list(sort), "size": limit, "track_total_hits": False}
            )["hits"]["hits"]
        return
    opened = connection.request("POST", f"/{segment(index)}/_pit", params={"keep_alive": _KEEP_ALIVE, **_SOME_OR_NONE})
    point, left = opened["id"], limit
    try:
        after: Sequence[Any] | None = None
        while left is None or left > 0:
            size = page if left is None else min(page, left)
            request = {
                **body,
                "sort": list(sort),
                "size": size,
                "track_total_hits": False,
                "pit": {"id": point, "keep_alive": _KEEP_ALIVE},
            }
            if after is not None:
                request["search_after"] = after
            answer = connection.request("POST", "/_search", request, params=_ALL_SHARDS)
            point = answer.get("pit_id", point)
            found = answer["hits"]["hits"]
            yield from found
            if len(found) < size:
                return
            left = None if left is None else left - len(found)
            after = found[-1]["sort"]
    finally:
        connection.request("DELETE", "/_pit", {"id": point}, missing_ok=True)
