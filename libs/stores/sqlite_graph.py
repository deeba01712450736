"""The learned calls of the SQLite telemetry store."""

import sqlite3
from collections import defaultdict

from libs.stores.call_graph import Call, Callee, CallGraph


def load_graph(connection: sqlite3.Connection) -> CallGraph:
    """Read the learned calls."""
    callees: dict[int, list[Callee]] = defaultdict(list)
    for call, service, calls, errors, first_ns, last_ns in connection.execute(
        "SELECT call, callee, calls, errors, first_ns, last_ns FROM callees ORDER BY call, callee"
    ):
        callees[call].append(Callee(service=service, calls=calls, errors=errors, first_ns=first_ns, last_ns=last_ns))
    loaded = {
        row[0]: Call(
            caller=row[1],
            peer=row[2],
            name=row[3],
            calls=row[4],
            errors=row[5],
            first_ns=row[6],
            last_ns=row[7],
            callees=tuple(callees[row[0]]),
        )
        for row in connection.execute("SELECT id, caller, peer, name, calls, errors, first_ns, last_ns FROM calls")
    }
    services = frozenset(name for (name,) in connection.execute("SELECT name FROM services"))
    watermark_ns = connection.execute("SELECT watermark_ns FROM progress").fetchone()[0]
    return CallGraph(loaded, services, watermark_ns)
