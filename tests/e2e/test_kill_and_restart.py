"""kill -9 of any one service in the middle of a fault, and restart: the same tickets, none lost, none double."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libs.contracts.codec import ns_from_utc
from libs.contracts.document import IncidentDocument
from libs.service.platform import Platform, open_platform, utc_now
from libs.service.settings import Settings, load_settings
from libs.stores.incidents import IncidentQuery
from paramedic.supervisor import SERVICES, Supervisor, run_file
from tests.e2e.traffic import INTERVAL_S, post, telemetry

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]
RUN_S = 240
SLOW_FROM_S, SLOW_UNTIL_S = 120, 170
KILL_AT_S = 140
SEEN_AT_S = 160


def eventually(condition: Callable[[], bool], supervisor: Supervisor, what: str, timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        supervisor.tend()
        threading.Event().wait(0.05)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in {
        "DATA_DIR": str(tmp_path),
        "INTAKE_PORT": "0",
        "API_PORT": "0",
        "CORRELATION_S": "30",
        "BROKER": "embedded",
    }.items():
        monkeypatch.setenv(f"PARAMEDIC_{name}", value)
    return load_settings()


@pytest.fixture
def supervisor(settings: Settings) -> Iterator[Supervisor]:
    with Supervisor(settings) as running:
        running.start_broker()
        running.wait_broker()
        for service in SERVICES:
            running.start_service(service)
        for service in SERVICES:
            running.wait_ready(service)
        yield running


def play(supervisor: Supervisor, settings: Settings, platform: Platform, kill: str | None) -> list[IncidentDocument]:
    """Send a run with one fault; kill a service in its middle; return the tickets when all is settled."""
    start_ns = ns_from_utc(utc_now()) - RUN_S * 1_000_000_000
    run = telemetry(start_ns, RUN_S, slow_from_s=SLOW_FROM_S, slow_until_s=SLOW_UNTIL_S)
    for number, exported in enumerate(run):
        if number * INTERVAL_S == KILL_AT_S and kill is not None:
            os.kill(supervisor.pid(kill), signal.SIGKILL)
        if exported.change is not None:
            deliver(supervisor, settings, "/v1/changes", exported.change)
        deliver(supervisor, settings, "/v1/traces", exported.traces)
        if number * INTERVAL_S == SEEN_AT_S:  # a fault is not over before anybody could look at it
            if kill is not None:
                eventually(lambda: restarted(supervisor, settings, kill), supervisor, f"{kill} is ready again")
            eventually(lambda: investigated(platform), supervisor, "a ticket is open and investigated")
    eventually(lambda: settled(platform), supervisor, "every ticket is resolved and investigated")
    return tickets(platform)


def deliver(supervisor: Supervisor, settings: Settings, path: str, body: dict[str, object]) -> None:
    """Send as an exporter does: again until it is accepted."""

    def accepted() -> bool:
        try:
            return post(str(run_file(settings, "intake")["url"]), path, body) in (200, 202)
        except (OSError, KeyError):
            return False

    eventually(accepted, supervisor, f"intake accepts {path}")


def restarted(supervisor: Supervisor, settings: Settings, service: str) -> bool:
    supervisor.wait_ready(service)
    return True


def tickets(platform: Platform) -> list[IncidentDocument]:
    page = platform.incidents.search(IncidentQuery(limit=100))
    return [d for i in page.incidents if (d := platform.incidents.get(i.id)) is not None]


def investigated(platform: Platform) -> bool:
    return any(document.investigation for document in tickets(platform))


def settled(platform: Platform) -> bool:
    found = tickets(platform)
    return bool(found) and all(d.incident.state == "resolved" and d.investigation for d in found)


@pytest.mark.parametrize("kill", [None, *SERVICES])
def test_the_tickets_are_the_same_whichever_service_is_killed(
    kill: str | None, supervisor: Supervisor, settings: Settings
) -> None:
    platform = open_platform("test", settings)
    found = play(supervisor, settings, platform, kill)
    assert len(found) == 1, [d.incident.title for d in found]
    (document,) = found
    assert {"catalog", "gateway"} >= set(document.incident.services) >= {"catalog"}
    assert document.investigation is not None
    first = document.investigation.hypotheses[0]
    assert (first.service, first.kind) == ("catalog", "deploy")
    ids = [anomaly.id for anomaly in document.incident.anomalies]
    assert len(ids) == len(set(ids))
    log = (settings.data_dir / "logs" / "tickets.jsonl").read_text().splitlines()
    assert sum('"opened"' in line for line in log) == 1
    platform.incidents.close()
