"""Templates are put in place before any service runs, and what was missing is told."""

from typing import Any

import pytest
from elastic_transport import ConnectionError as NoConnection

from libs.errors import Unavailable
from libs.stores.elastic_provision import provision
from tests.unit.libs.stores.elastic_fake import Answer, FakeCluster

TELEMETRY = ("spans", "span-columns", "logs", "metrics", "changes", "graph", "state")


def having(*templates: str) -> FakeCluster:
    """A cluster with some templates."""

    def answer(method: str, path: str, body: Any) -> Answer | None:
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


def test_what_the_cluster_cannot_do_is_told() -> None:
    found = provision(having().options(), "telemetry", dry_run=False)
    assert any("lifecycle" in notice for notice in found.notices)


def test_a_cluster_that_is_down_is_unavailable() -> None:
    cluster = having()
    cluster.down = NoConnection("refused")
    with pytest.raises(Unavailable, match="refused"):
        provision(cluster.options(), "incident", dry_run=False)
