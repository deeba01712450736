"""The platform on real Kafka, Schema Registry and store: kill -9 of servers and services loses and doubles nothing."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from libs.contracts.codec import ns_from_utc
from libs.contracts.document import IncidentDocument
from libs.contracts.incident import IncidentChanged
from libs.contracts.topics import ANOMALIES, INCIDENTS, topics
from libs.errors import Unavailable
from libs.service.open_registry import open_registry
from libs.service.platform import Platform, open_platform, utc_now
from libs.service.settings import Settings, load_settings
from libs.stores.incidents import IncidentQuery
from paramedic.schema_registration import register
from paramedic.supervisor import SERVICES, Supervisor, is_ready, run_file
from tests.e2e.traffic import INTERVAL_S, post, telemetry
from tests.integration.stack_servers import address, renew_topics, stack

pytestmark = [pytest.mark.stack, pytest.mark.timeout(480)]
RUN_S = 240
SLOW_FROM_S, SLOW_UNTIL_S = 120, 170
FIRST_KILL_AT_S = 130
SEEN_AT_S = 165
PATIENCE_S = 180.0
SERVERS = ("kafka", "elasticsearch")


class Scenario:
    """The services on real servers, and somebody who kills.

    Args:
        settings: Of the services.
        supervisor: Runs them.
    """

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self.settings = settings
        self.supervisor = supervisor
        self.platform = open_platform("test", settings)
        self._starter = ThreadPoolExecutor(1)
        self._restarts: list[Future[Mapping[str, str]]] = []

    def eventually(self, condition: Callable[[], bool], what: str) -> None:
        """Wait while dead services are started again; what an outage interrupts is asked again."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for restart in self._restarts:
                if restart.done():
                    restart.result()  # a server that did not come back is why
            try:
                if condition():
                    return
            except Unavailable:
                pass
            if time.monotonic() > deadline:
                logs = "\n".join(f"== {name}\n{self.supervisor.log_tail(name, 4)}" for name in SERVICES)
                raise AssertionError(f"not in time: {what}\n{logs}")
            self.supervisor.tend()
            threading.Event().wait(0.05)

    def close(self) -> None:
        """Let go of stores and restarts."""
        self._starter.shutdown()
        self.platform.incidents.close()
        self.platform.telemetry.close()

    def kill(self, name: str) -> None:
        """kill -9; a server is started again at once, a service by its supervisor."""
        if name not in SERVERS:
            os.kill(self.supervisor.pid(name), signal.SIGKILL)
            return
        stack().kill(name)
        self._restarts.append(self._starter.submit(stack().up, [name]))

    def recovered(self) -> None:
        """Wait until every server and service is ready again."""
        self.eventually(lambda: all(restart.done() for restart in self._restarts), "every server is up again")
        self.eventually(lambda: all(is_ready(self.settings, name) for name in SERVICES), "every service is ready again")

    def deliver(self, path: str, body: dict[str, object]) -> None:
        """Send as an exporter does: again until it is accepted."""

        def accepted() -> bool:
            try:
                return post(str(run_file(self.settings, "intake")["url"]), path, body) in (200, 202)
            except (OSError, KeyError):
                return False

        self.eventually(accepted, f"intake accepts {path}")

    def tickets(self) -> list[IncidentDocument]:
        """Every ticket whole."""
        store = self.platform.incidents
        page = store.search(IncidentQuery(limit=100))
        return [document for core in page.incidents if (document := store.get(core.id)) is not None]

    def investigated(self) -> bool:
        """Whether a ticket has been investigated."""
        return any(document.investigation for document in self.tickets())

    def settled(self) -> bool:
        """Whether every ticket is resolved and investigated."""
        found = self.tickets()
        return bool(found) and all(d.incident.state == "resolved" and d.investigation for d in found)

    def first_causes(self) -> list[tuple[str, str]]:
        """Service and kind of the first hypothesis of every ticket that has one."""
        return [
            (document.investigation.hypotheses[0].service, str(document.investigation.hypotheses[0].kind))
            for document in self.tickets()
            if document.investigation and document.investigation.hypotheses
        ]

    def play(self, kills: tuple[str, ...]) -> None:
        """Send a run with one fault; kill one after the other in its middle; wait until all is settled."""
        start_ns = ns_from_utc(utc_now()) - RUN_S * 1_000_000_000
        waiting = list(kills)
        for number, exported in enumerate(
            telemetry(start_ns, RUN_S, slow_from_s=SLOW_FROM_S, slow_until_s=SLOW_UNTIL_S)
        ):
            at_s = number * INTERVAL_S
            if waiting and at_s >= FIRST_KILL_AT_S:
                self.kill(waiting.pop(0))
            if exported.change is not None:
                self.deliver("/v1/changes", exported.change)
            self.deliver("/v1/traces", exported.traces)
            if at_s == SEEN_AT_S:  # a fault is not over before anybody could look at it
                assert not waiting, "the kills must fit between the first kill and the look"
                self.recovered()
                self.eventually(self.investigated, "a ticket is open and investigated")
        self.eventually(self.settled, "every ticket is resolved and investigated")


@pytest.fixture
def settings(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    if store == "elasticsearch":
        store = address("elasticsearch")
        empty_elasticsearch(store)
    for name, value in {
        "DATA_DIR": str(tmp_path),
        "INTAKE_PORT": "0",
        "API_PORT": "0",
        "CONSOLE_PORT": "0",
        "CORRELATION_S": "30",
        "BROKER": address("kafka"),
        "SCHEMA_REGISTRY": address("registry"),
        "INCIDENT_STORE": store,
        "TELEMETRY_STORE": store,
    }.items():
        monkeypatch.setenv(f"PARAMEDIC_{name}", value)
    return load_settings()


@pytest.fixture
def scenario(settings: Settings) -> Iterator[Scenario]:
    stack().up(["kafka", "registry"])
    renew_topics([name for topic in topics().values() for name in (topic.name, topic.dead_letter)])
    register(open_registry(settings))
    with Supervisor(settings) as supervisor:
        for service in SERVICES:
            supervisor.start_service(service)
        for service in SERVICES:
            supervisor.wait_ready(service, PATIENCE_S)
        running = Scenario(settings, supervisor)
        yield running
        running.close()


def empty_elasticsearch(url: str) -> None:
    """Delete every index: each scenario begins with empty stores."""
    with urlopen(f"{url}/_cat/indices?format=json&expand_wildcards=all", timeout=30) as answer:
        names = [index["index"] for index in json.loads(answer.read())]
    for name in names:
        urlopen(Request(f"{url}/{name}", method="DELETE"), timeout=30).close()


@pytest.mark.parametrize(
    ("store", "kills"),
    [
        pytest.param("sqlite", (), id="sqlite-nothing"),
        pytest.param("sqlite", ("kafka",), id="sqlite-the-broker"),
        pytest.param("sqlite", SERVICES, id="sqlite-every-service"),
        pytest.param("elasticsearch", (), id="elasticsearch-nothing"),
        pytest.param("elasticsearch", ("kafka",), id="elasticsearch-the-broker"),
        pytest.param("elasticsearch", ("elasticsearch",), id="elasticsearch-the-store"),
        pytest.param("elasticsearch", SERVICES, id="elasticsearch-every-service"),
    ],
)
def test_the_ticket_is_the_same_whatever_is_killed(kills: tuple[str, ...], scenario: Scenario) -> None:
    scenario.play(kills)
    # A recorder that waits for its store may write the deploy after the first look: then it is looked at again.
    scenario.eventually(lambda: scenario.first_causes() == [("catalog", "deploy")], "the deploy is blamed")
    found = scenario.tickets()
    assert len(found) == 1, [document.incident.title for document in found]
    (document,) = found
    assert {"catalog", "gateway"} >= set(document.incident.services) >= {"catalog"}
    ids = [anomaly.id for anomaly in document.incident.anomalies]
    assert len(ids) == len(set(ids))
    log = (scenario.settings.data_dir / "logs" / "tickets.jsonl").read_text().splitlines()
    assert sum('"opened"' in line for line in log) == 1
    scenario.eventually(lambda: newest_told(scenario.platform) == newest(scenario), "the topic says what is stored")
    nothing_lost_or_doubled(scenario.platform, document)


def newest(scenario: Scenario) -> dict[str, int]:
    """Newest version of each stored ticket."""
    return {document.incident.id: document.incident.version for document in scenario.tickets()}


def newest_told(platform: Platform) -> dict[str, int]:
    """Newest version of each ticket in the topic; the ones before may be compacted away."""
    return {record.id: record.version for record in sorted(incidents_told(platform), key=lambda r: r.version)}


def incidents_told(platform: Platform) -> list[IncidentChanged]:
    """What other teams read."""
    told = [platform.codec.decode(INCIDENTS, m.value) for m in platform.broker.read_to_end([INCIDENTS])]
    return [record for record in told if isinstance(record, IncidentChanged)]


def nothing_lost_or_doubled(platform: Platform, document: IncidentDocument) -> None:
    """A version may be told twice and never differently; nothing was refused."""
    by_version: dict[int, IncidentChanged] = {}
    for record in incidents_told(platform):
        assert by_version.setdefault(record.version, record) == record
    anomalies = [platform.codec.decode(ANOMALIES, m.value) for m in platform.broker.read_to_end([ANOMALIES])]
    assert {anomaly.id for anomaly in document.incident.anomalies} <= {str(getattr(a, "id", "")) for a in anomalies}
    refused = [m for topic in topics().values() for m in platform.broker.read_to_end([topic.dead_letter])]
    assert refused == []
