"""Put templates, indices and aliases in place before any service runs, and say what was missing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from libs.stores.elastic_backfill import backfill, count_lacking
from libs.stores.elastic_connection import ElasticConnection, Server, segment
from libs.stores.elastic_options import ElasticOptions
from libs.stores.elastic_templates import (
    CHANGES,
    GRAPH,
    INCIDENTS,
    SLICED,
    STATE,
    alias,
    prepare_incidents,
    prepare_telemetry,
)

Prepare = Callable[[ElasticConnection, Server], None]
_STORES: Final[Mapping[str, tuple[tuple[str, ...], Prepare]]] = {
    "incident": ((INCIDENTS, STATE), prepare_incidents),
    "telemetry": ((*SLICED, CHANGES, GRAPH, STATE), prepare_telemetry),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provisioned:
    """Index templates of a store.

    Attributes:
        missing: Those that were not there.
        present: Those that were; they are written again, so that they are those of this release.
        lacking: Incidents of an earlier release that this release's search field held nothing of; they were written
            again unless this was a dry run.
        notices: What the cluster cannot do.
    """

    missing: tuple[str, ...] = ()
    present: tuple[str, ...] = ()
    lacking: int = 0
    notices: tuple[str, ...] = ()


def provision(options: ElasticOptions, store: str, *, dry_run: bool) -> Provisioned:
    """Do what the first connection of a service would do, and write incidents of an earlier release again.

    Args:
        options: How to reach the cluster.
        store: incident or telemetry.
        dry_run: Look, write nothing.
    Raises:
        ConfigurationError: Address, credentials or server version are wrong, or names are taken by something else.
        Unavailable: The cluster cannot be reached.
    """
    kinds, prepare = _STORES[store]
    names = tuple(f"{options.prefix}-{kind}" for kind in kinds)
    missing: list[str] = []
    notices: list[str] = []

    def look_then_prepare(connection: ElasticConnection, server: Server) -> None:
        missing[:] = [name for name in names if _template(connection, name) is None]
        if not dry_run:
            prepare(connection, server)

    connection = ElasticConnection(replace(options, notice=notices.append), look_then_prepare)
    try:
        connection.request("GET", "/_cluster/health")  # `Unavailable` where opening could only promise
        incidents = alias(options.prefix, INCIDENTS)
        lacking = count_lacking(connection, incidents) if INCIDENTS in kinds else 0
        if lacking and not dry_run:
            backfill(connection, incidents)
    finally:
        connection.close()
    present = tuple(name for name in names if name not in missing)
    return Provisioned(missing=tuple(missing), present=present, lacking=lacking, notices=tuple(notices))


def _template(connection: ElasticConnection, name: str) -> object:
    return connection.raw("GET", f"/_index_template/{segment(name)}", missing_ok=True)
