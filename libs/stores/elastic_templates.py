"""What is put in place before the first document: templates, indices, aliases, and a lifecycle where there is one.

The mappings are the JSON files beside this module, one per kind of index; every field has an explicit mapping, and a
field that has none is kept but not indexed (`dynamic: false`), so that no sender can make a mapping grow.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

import msgspec

from libs.errors import InvalidMessage
from libs.stores.elastic_connection import ElasticConnection, Server, segment

INCIDENTS: Final = "incidents"
STATE: Final = "state"
# Telemetry indices are named <prefix>-<kind>-<start of the slice>, such as paramedic-spans-2026.01.01-12.00.
SLICED: Final = ("spans", "span-columns", "logs", "metrics")
CHANGES: Final = "changes"
GRAPH: Final = "graph"
_FIRST: Final = "000001"
_PRIORITY: Final = 200  # above Elastic's own templates (100), below what a team puts above ours


def index_body(kind: str) -> dict[str, Any]:
    """Settings and mappings of a kind of index."""
    name = f"elastic_{kind.replace('-', '_')}.json"
    body: dict[str, Any] = msgspec.json.decode((resources.files("libs.stores") / name).read_bytes())
    return body


def prepare_incidents(connection: ElasticConnection, _: Server) -> None:
    """Templates, indices and aliases of the incident store."""
    for kind in (INCIDENTS, STATE):
        _put_template(connection, kind, index_body(kind))
        _put_index(connection, kind)


def prepare_telemetry(connection: ElasticConnection, server: Server) -> None:
    """Templates, aliases and, where the cluster has it, the lifecycle of the telemetry store."""
    policy = f"{connection.options.prefix}-telemetry"
    if server.has_ilm:
        connection.raw("PUT", f"/_ilm/policy/{segment(policy)}", lifecycle(connection.options.retention_s))
    else:
        connection.options.notice(
            "this Elasticsearch has no index lifecycle management: telemetry indices are dropped by the recorder alone"
        )
    for kind in SLICED:
        body = index_body(kind)
        if server.has_ilm:
            body["settings"]["index"]["lifecycle"] = {"name": policy}
        _put_template(connection, kind, body)
    for kind in (CHANGES, GRAPH, STATE):
        _put_template(connection, kind, index_body(kind))
        _put_index(connection, kind)


def lifecycle(retention_s: float) -> Mapping[str, Any]:
    """A policy that drops telemetry indices should no recorder be there to do it: a day after twice the retention."""
    age_h = math.ceil(2 * retention_s / 3600) + 24
    phases = {
        "hot": {"actions": {"set_priority": {"priority": 100}}},
        "delete": {"min_age": f"{age_h}h", "actions": {"delete": {}}},
    }
    return {"policy": {"phases": phases}}


def _put_template(connection: ElasticConnection, kind: str, body: Mapping[str, Any]) -> None:
    name = f"{connection.options.prefix}-{kind}"
    connection.raw(
        "PUT",
        f"/_index_template/{segment(name)}",
        {
            "index_patterns": [f"{name}-*"],
            "priority": _PRIORITY,
            "template": body,
            "_meta": {"managed_by": "paramedic"},
        },
    )


def _put_index(connection: ElasticConnection, kind: str) -> None:
    """The index behind an alias; one that is there gets the fields that a newer release added."""
    alias = f"{connection.options.prefix}-{kind}"
    index = f"{alias}-{_FIRST}"
    if _exists(connection, alias):
        connection.raw("PUT", f"/{segment(alias)}/_mapping", index_body(kind)["mappings"])
        return
    _tolerating(
        "resource_already_exists_exception",
        lambda: connection.raw("PUT", f"/{segment(index)}", {"aliases": {alias: {"is_write_index": True}}}),
    )


def _exists(connection: ElasticConnection, alias: str) -> bool:
    return connection.raw("GET", f"/_alias/{segment(alias)}", missing_ok=True) is not None


def _tolerating(kind: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except InvalidMessage as error:
        if kind not in str(error):
            raise


def alias(prefix: str, kind: str) -> str:
    """Name under which an index is read and written."""
    return f"{prefix}-{kind}"


def patterns(prefix: str, kinds: Sequence[str]) -> str:
    """Every slice of some kinds."""
    return ",".join(f"{prefix}-{kind}-*" for kind in kinds)
