"""Answers of any length: one search when it fits a page, else pages over one point in time."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from libs.stores.elastic_connection import ElasticConnection, segment

PAGE: Final = 5_000  # below index.max_result_window; a page of spans is some 3 MB
_DEEP: Final = 5_000  # below, counting first costs more than it saves
_KEEP_ALIVE: Final = "1m"
_SOME_OR_NONE: Final = {"ignore_unavailable": "true", "allow_no_indices": "true"}
_ALL_SHARDS: Final = {"allow_partial_search_results": "false"}  # a part of the answer would pass for the whole

Hit = Mapping[str, Any]
SortKey = Mapping[str, str]  # field: asc or desc


def refresh(connection: ElasticConnection, index: str) -> None:
    """Make everything that was acknowledged visible to searches; costs 1 to 2 ms when nothing is new."""
    connection.request("POST", f"/{segment(index)}/_refresh", params=_SOME_OR_NONE)


def search(connection: ElasticConnection, index: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """One search; an index pattern that matches nothing finds nothing."""
    path = f"/{segment(index)}/_search"
    answer: Mapping[str, Any] = connection.request("POST", path, body, params={**_SOME_OR_NONE, **_ALL_SHARDS})
    return answer


def page_of(
    connection: ElasticConnection,
    index: str,
    body: Mapping[str, Any],
    *,
    sort: Sequence[Mapping[str, str]],
    offset: int,
) -> tuple[list[Hit], int]:
    """One page of a listing, and how many hits there are in all.

    The server gathers and sorts everything up to the end of a page: a page near the end is asked for from the end.

    Args:
        body: Query, `_source` and size.
        sort: Sort keys that leave no ties.
        offset: Hits to skip.
    """
    counted = {**body, "track_total_hits": True}
    if offset > _DEEP:
        answer = search(connection, index, {"query": body["query"], "size": 0, "track_total_hits": True})
        total = int(answer["hits"]["total"]["value"])
        size = min(body["size"], total - offset)
        if size <= 0:
            return [], total
        if offset > total // 2:
            request = {**body, "sort": _reversed(sort), "from": total - offset - size, "size": size}
            return search(connection, index, {**request, "track_total_hits": False})["hits"]["hits"][::-1], total
    answer = search(connection, index, {**counted, "sort": list(sort), "from": offset})
    return answer["hits"]["hits"], int(answer["hits"]["total"]["value"])


def _reversed(sort: Sequence[SortKey]) -> list[SortKey]:
    return [{name: "asc" if order == "desc" else "desc" for name, order in key.items()} for key in sort]


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
