"""Templates are put in place before any service runs, and what was missing is told."""

from collections.abc import Sequence
from typing import Any

import pytest
from elastic_transport import ConnectionError as NoConnection

from libs.errors import Unavailable
from libs.stores.elastic_provision import provision
from tests.unit.libs.stores.elastic_fake import Answer, FakeCluster

TELEMETRY = ("spans", "span-columns", "logs", "metrics", "changes", "graph", "state")


def having(*templates: str, lacking: Sequence[str] = ()) -> FakeCluster:
    """A cluster with some templates, and with incidents that an earlier release wrote."""
    found = [
        {"_index": "p-1", "_id": name, "_seq_no": place, "_primary_term": 1, "_source": {"name": name}, "sort": [place]}
        for place, name in enumerate(lacking)
    ]

    def answer(method: str, path: str, body: Any) -> Answer | None:
        if path.endswith("/_pit"):
            return 200, {"id": "point"}
        if path.endswith("/_search"):
            return 200, {"hits": {"total": {"value": len(found)}, "hits": found}}
        if path.endswith("/_bulk"):
            return 200, {"items": [{"index": {"status": 200, "result": "updated"}} for _ in body[::2]]}
        template = path.removeprefix("/_index_template/")
        if method == "GET" and template != path and template not in templates:
            return 404, {"error": {"type": "resource_not_found_exception"}}
        return None

    return FakeCluster(answer=answer)


def test_what_was_missing_is_told_and_made() -> None:
    cluster = having("paramedic-state")
    found = provision(cluster.options(), "incident", dry_run=False)
    assert (found.missing, found.present) == (("paramedic-incidents",), ("paramedic-state",))
    assert {"/_index_template/paramedic-incidents", "/_index_template/paramedic-state"} <= set(cluster.paths("PUT"))


def test_a_dry_run_only_looks() -> None:
    cluster = having()
    found = provision(cluster.options(prefix="staging"), "telemetry", dry_run=True)
    assert found.missing == tuple(f"staging-{kind}" for kind in TELEMETRY)
    assert cluster.paths("PUT") == cluster.paths("POST") == []


def test_incidents_of_an_earlier_release_are_written_again_as_they_are() -> None:
    cluster = having(lacking=["a", "b"])
    assert provision(cluster.options(), "incident", dry_run=False).lacking == 2
    (written,) = [body for _, path, body in cluster.asked if path == "/_bulk"]
    assert written[1::2] == [{"name": "a"}, {"name": "b"}]
    assert [action["index"]["if_seq_no"] for action in written[::2]] == [0, 1]


def test_a_dry_run_only_counts_incidents_of_an_earlier_release() -> None:
    cluster = having(lacking=["a", "b"])
    assert provision(cluster.options(), "incident", dry_run=True).lacking == 2
    assert "/_bulk" not in cluster.paths("POST")


def test_what_the_cluster_cannot_do_is_told() -> None:
    found = provision(having().options(), "telemetry", dry_run=False)
    assert any("lifecycle" in notice for notice in found.notices)


def test_a_cluster_that_is_down_is_unavailable() -> None:
    cluster = having()
    cluster.down = NoConnection("refused")
    with pytest.raises(Unavailable, match="refused"):
        provision(cluster.options(), "incident", dry_run=False)
