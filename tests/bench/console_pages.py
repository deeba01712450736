"""Page times of the console with ten thousand incidents in SQLite, and what the browser is sent.

Run: python -m tests.bench.console_pages. Prints median, p95 and worst of every page over real HTTP, one request after
the other, next to a static file of the same server (what HTTP itself costs here), and the time that the runs of history
take to be read once at start. The requirement is p95 <= 150 ms.
"""

import os
import random
import tempfile
import threading
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any, Final

import httpx

from libs.contracts.codec import Codec
from libs.contracts.document import IncidentDocument, Section, TimelineEntry
from libs.contracts.incident import IncidentState, Priority
from libs.contracts.remediation import Mode, RunState
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from services.console.runs import RunIndex
from services.console.service import ConsoleService
from tests.unit.services.console import filled

INCIDENTS: Final = 10_000
OPEN: Final = 200
REQUESTS: Final = 60
LIMIT_MS: Final = 150.0
SERVICES: Final = ("catalog", "cart", "checkout", "payments", "inventory", "gateway", "search", "mail")


def main() -> None:
    """Fill, serve, ask, print; exit code 1 when a page is slower than it may be."""
    print(f"{INCIDENTS:,} incidents, {OPEN} of them open; load average before the run {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder, EmbeddedBroker() as broker:
        fields: dict[str, Any] = {"data_dir": Path(folder), "console_port": 0, "_env_file": None}
        platform = Platform(
            service="console", settings=Settings(**fields), log=Logger("console", stream=StringIO()),
            metrics=ServiceMetrics(), codec=Codec(), clock=lambda: filled.NOW,
        )  # fmt: skip
        platform.__dict__["broker"] = KafkaBroker(broker.bootstrap)
        fill(platform)
        begun = time.perf_counter()
        runs = len(RunIndex(platform.incidents).runs())
        print(f"{'runs read once at start':42} {(time.perf_counter() - begun) * 1e3:8.1f} ms   {runs:,} runs")
        service = ConsoleService(platform.settings, platform)
        thread = threading.Thread(target=service.run)
        thread.start()
        try:
            while service.state != "ready" and thread.is_alive():
                threading.Event().wait(0.05)
            slow = ask(service)
        finally:
            service.stop()
            thread.join()
            platform.incidents.close()
            platform.telemetry.close()
    raise SystemExit(1 if slow else 0)


def fill(platform: Platform) -> None:
    """Ten thousand incidents, every second with a run, and ten minutes of telemetry."""
    chance = random.Random(3)
    store = platform.incidents
    begun = time.perf_counter()
    for number in range(1_000, 1_000 + INCIDENTS):
        identity, service = f"incident-{number}", chance.choice(SERVICES)
        core = filled.a_core(
            number, title=f"{service}: p95 latency {chance.randint(100, 900)} ms", services=(service, "gateway"),
            priority=chance.choice(list(Priority)),
        )  # fmt: skip
        if number < 1_000 + INCIDENTS - OPEN:
            core = filled.at_rest(core, filled.NOW - timedelta(minutes=11_000 - number))
        store.put(identity, Section.INCIDENT, core)
        store.put(identity, Section.INVESTIGATION, filled.an_investigation(identity))
        if number % 2:
            ended = core.state is IncidentState.CLOSED
            state = chance.choice([RunState.SUCCEEDED] * 4 + [RunState.ROLLED_BACK]) if ended else RunState.VERIFYING
            run = filled.a_run(identity, state=state, mode=Mode.AUTO, applied_at=core.opened_at)
            store.put(identity, Section.REMEDIATION, (run,))
    document = filled.a_document()
    lines = tuple(
        TimelineEntry(id=f"l{n}", at=filled.moment(n), actor="ticketing", kind="anomaly", text=f"line {n}")
        for n in range(300)
    )
    filled.put(store, IncidentDocument(**{**_fields(document), "timeline": lines}))
    filled.put_recommendation(store)
    filled.put_telemetry(platform.telemetry)
    print(f"{'filled':42} {time.perf_counter() - begun:8.1f} s")


def _fields(document: IncidentDocument) -> dict[str, Any]:
    return {name: getattr(document, name) for name in document.__dataclass_fields__}


def ask(service: ConsoleService) -> bool:
    """Ask for every page; whether one was too slow."""
    pages = {
        "a static file (HTTP alone)": "/static/icon.svg",
        "Now": "/",
        "Now, search for a word in every ticket": "/?q=latency",
        "Now, search for one incident": "/?q=INC-000042+catalog",
        "Now, service and state": "/?service=cart&state=closed&page=20",
        "Now, last page of history": "/?page=392",
        "Incident with metric, graph and trace": "/incidents/INC-000042",
        "Self-healing, 5,000 runs": "/healing",
        "Self-healing, last page": "/healing?page=200",
        "Recommendations": "/recommendations",
    }
    slow = False
    with httpx.Client(base_url=service.url, timeout=30.0) as browser:
        for name, path in pages.items():
            browser.get(path)
            took_ms = []
            for _ in range(REQUESTS):
                begun = time.perf_counter()
                answer = browser.get(path)
                took_ms.append((time.perf_counter() - begun) * 1e3)
                assert answer.status_code == 200, path
            took_ms.sort()
            median, p95 = took_ms[len(took_ms) // 2], took_ms[int(len(took_ms) * 0.95)]
            print(
                f"{name:42} median {median:6.1f} ms  p95 {p95:6.1f} ms  worst {took_ms[-1]:6.1f} ms  "
                f"{len(answer.content) / 1024:5.0f} KiB"
            )
            slow |= p95 > LIMIT_MS
    return slow


if __name__ == "__main__":
    main()
