"""How long a ticket's context takes to gather: ten minutes of 70 spans a second in SQLite. Run: make bench-context."""

import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from services.ticketing.context import gather
from services.ticketing.graph import call_graph
from tests.integration.ticketing.busy_shop import OF_A_BUSY_SHOP, write_busy_shop
from tests.integration.ticketing.running import NOW

ROUNDS = 9


def main() -> None:
    """Gather some times over and print."""
    with tempfile.TemporaryDirectory() as folder:
        telemetry = SqliteTelemetryStore(Path(folder) / "t.sqlite")
        incidents = SqliteIncidentStore(Path(folder) / "i.sqlite")
        write_busy_shop(telemetry, seconds=600)
        took_ms = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            gather(telemetry, incidents, OF_A_BUSY_SHOP, call_graph(telemetry.edges()), NOW + timedelta(seconds=60))
            took_ms.append((time.perf_counter() - begun) * 1e3)
        telemetry.close()
        incidents.close()
    print(f"context: median {statistics.median(took_ms):.0f} ms, worst {max(took_ms):.0f} ms over 42,000 spans")


if __name__ == "__main__":
    main()
