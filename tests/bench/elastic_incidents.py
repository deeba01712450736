"""100,000 incidents in Elasticsearch: times of the incident API over real HTTP, and how well similar ones are found.

Run: make bench-elastic, or python -m tests.bench.elastic_incidents [incidents] with PARAMEDIC_STACK_ELASTICSEARCH set.
Prints median, p95 and worst of each question, one request after the other, what HTTP itself costs here, and how much of
the time the server says it worked (`took`). The requirement is p95 <= 200 ms for lists and searches. `similar` is
compared with ranking every incident exactly.
"""

import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

import httpx
import numpy as np
import uvicorn
from elastic_transport import Urllib3HttpNode

from libs.contracts.anomaly import AnomalyDetected, Contribution, EpisodeState, Severity, Signal
from libs.contracts.codec import Codec
from libs.contracts.document import IncidentContext, LogSample, RootCause, Section, TimelineEntry
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState, Level, Priority
from libs.contracts.investigation import CauseKind, Evidence, Hypothesis, InvestigationCompleted
from libs.contracts.remediation import Mode, RemediationChanged, RunState
from libs.stores.elastic_bulk import BulkItem, write_bulk
from libs.stores.elastic_connection import ElasticConnection
from libs.stores.elastic_incident_document import with_section
from libs.stores.elastic_incidents import ElasticIncidentStore
from libs.stores.elastic_pages import refresh
from libs.stores.elastic_templates import INCIDENTS, alias, prepare_incidents
from libs.stores.similarity import token_weights, weighted_jaccard
from services.ticketing.api import ApiParts, create_app
from services.ticketing.decisions import Decisions
from tests.integration.elastic_servers import VARIABLE, Space, empty_space, own_prefix

INCIDENTS_DEFAULT: Final = 100_000
REQUESTS: Final = 100
REQUESTS_OF_ALL: Final = 5  # each reads the runs of every incident
WRITERS: Final = 4
LIMIT_MS: Final = 200.0
NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
_AREAS: Final = "cart catalog checkout payments search mail stock users orders pricing"
SERVICES: Final = tuple(
    f"{area}-{part}" for area in _AREAS.split() for part in ("api", "worker", "cache", "db", "edge")
)
METRICS: Final = {
    Signal.LATENCY: ("span.server.duration", "span.client.duration", "http.server.request.duration"),
    Signal.ERRORS: ("span.server.errors", "span.client.errors", "rpc.server.errors"),
    Signal.TRAFFIC: ("span.server.requests", "kafka.consumer.records"),
    Signal.SATURATION: ("system.cpu.utilization", "process.memory.usage", "db.client.connections.usage"),
    Signal.LOGS: ("log.pattern.rate",),
    Signal.SILENCE: ("telemetry.presence",),
}
_WORDS: Final = """deadlock timeout pool exhausted connection refused heap garbage collector pause certificate expired
dns resolution leader election rebalance throttled quota disk full replication lag cache stampede retry storm
serialization schema migration index bloat vacuum circuit breaker open rate limit"""
WORDS: Final = _WORDS.split()
Question = tuple[
    str, bool, Callable[[], tuple[str, dict[str, Any]]]
]  # name, whether LIMIT_MS holds, path and parameters


class TimedNode(Urllib3HttpNode):
    """HTTP that notes how long the server says each search took, in milliseconds."""

    took_ms: ClassVar[list[int]] = []

    def perform_request(self, *arguments: Any, **named: Any) -> Any:
        """As the client asks."""
        answer = super().perform_request(*arguments, **named)
        found = re.match(rb'{"(?:pit_id":"[^"]*",")?took":(\d+)', answer[1])
        if found:
            self.took_ms.append(int(found[1]))
        return answer


def main() -> None:
    """Fill, ask, print; exit code 1 when lists or searches are slower than they may be."""
    if not os.environ.get(VARIABLE):
        raise SystemExit(f"set {VARIABLE}=http://host:port of a running Elasticsearch")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else INCIDENTS_DEFAULT
    print(f"{count:,} incidents; load average before the run {os.getloadavg()[0]:.1f}")
    with own_prefix() as prefix, empty_space(prefix) as space:
        tokens = fill(space, count)
        store = space.incidents(node_class=TimedNode)
        slow = ask_api(store, space, count)
        ask_similar(store, tokens)
    raise SystemExit(1 if slow else 0)


def fill(space: Space, count: int) -> dict[str, frozenset[str]]:
    """Write incidents in bulk, as the store would one by one; fingerprints by id."""
    connection = ElasticConnection(space.options(), prepare_incidents)
    index, tokens, begun = alias(space.prefix, INCIDENTS), dict[str, frozenset[str]](), time.perf_counter()

    def items(numbers: range) -> Iterator[BulkItem]:
        chance = random.Random(numbers.start)
        for number in numbers:
            source = incident(chance, number, count)
            tokens[source["incident"]["id"]] = frozenset(source["incident"]["fingerprint"])
            yield BulkItem(index, source["incident"]["id"], source)

    with ThreadPoolExecutor(WRITERS) as pool:
        parts = [range(1 + place, count + 1, WRITERS) for place in range(WRITERS)]
        written = sum(pool.map(lambda numbers: write_bulk(connection, items(numbers)), parts))
    refresh(connection, index)
    took_s = time.perf_counter() - begun
    size = connection.request("GET", f"/{index}/_stats/store")["_all"]["primaries"]["store"]["size_in_bytes"]
    connection.close()
    print(
        f"{'written in bulk':44} {written / took_s:8.0f} /s   {size / written / 1024:.1f} KiB an incident in the index"
    )
    return tokens


def incident(chance: random.Random, number: int, count: int) -> dict[str, Any]:
    """A document with anomalies, logs, hypotheses, a history, and often a run and a root cause."""
    identity, opened = f"incident-{number:06d}", NOW - timedelta(minutes=5 * (count - number))
    service = chance.choice(SERVICES)
    signals = chance.sample(list(METRICS), chance.randint(1, 4))
    anomalies = tuple(anomaly(chance, identity, service, signal, opened) for signal in signals)
    words = some_words(chance, 4)
    is_open = number > count - 200
    state = chance.choice((IncidentState.NEW, IncidentState.IN_PROGRESS)) if is_open else IncidentState.CLOSED
    what = {f"{one.signal.value}|{one.metric}|up" for one in anomalies}
    hypotheses = tuple(
        Hypothesis(
            rank=rank, service=service, kind=chance.choice(list(CauseKind)), confidence=0.6 / rank,
            cause=f"{service} {some_words(chance, 3)}",
            evidence_for=(Evidence(text=f"{chance.randint(2, 90)}x over {some_words(chance, 5)}", weight=0.5),),
        )
        for rank in (1, 2)
    )  # fmt: skip
    sections: dict[Section, Any] = {
        Section.CONTEXT: IncidentContext(
            logs=tuple(
                LogSample(timestamp=opened, service=service, severity=17, body=f"ERROR {some_words(chance, 9)}")
                for _ in range(3)
            )
        ),
        Section.TIMELINE: tuple(
            TimelineEntry(id=f"{identity}-{n}", at=opened, actor="ticketing", kind=kind, text=some_words(chance, 6))
            for n, kind in enumerate(("anomaly", "investigation", "comment", "state"))
        ),
        Section.INVESTIGATION: InvestigationCompleted(
            id=f"i-{number}", incident_id=identity, revision=1, as_of=opened + timedelta(seconds=10), started_at=opened,
            duration_s=chance.uniform(0.5, 8), hypotheses=hypotheses,
        ),
    }  # fmt: skip
    if number % 2:
        sections[Section.REMEDIATION] = (run(chance, identity, service, opened),)
    if number % 3 == 0:
        sections[Section.ROOT_CAUSE] = RootCause(
            service=service, kind="deploy", text=words, confirmed_by="ann", confirmed_at=opened
        )
    sections[Section.INCIDENT] = IncidentChanged(
        id=identity, number=f"INC-{number:06d}", version=3, change=IncidentChange.RESOLVED,
        title=f"{service}: {words}", state=state, priority=chance.choice(list(Priority)),
        impact=Level.HIGH, urgency=Level.MEDIUM,
        services=(service, *chance.sample(SERVICES, chance.randint(0, 2))),
        neighbours=tuple(chance.sample(SERVICES, 3)),
        fingerprint=tuple(sorted({*what, *(f"{service}|{one}" for one in what)})), anomalies=anomalies,
        started_at=opened - timedelta(seconds=20), opened_at=opened, updated_at=opened,
        resolved_at=None if is_open else opened + timedelta(seconds=chance.randint(60, 3_600)), observed_at=opened,
    )  # fmt: skip
    source: dict[str, Any] = {}
    for section, value in sections.items():
        source = with_section(source, section, value, 1)
    return source


def some_words(chance: random.Random, count: int) -> str:
    """Words of the trade."""
    return " ".join(chance.sample(WORDS, count))


def anomaly(chance: random.Random, identity: str, service: str, signal: Signal, opened: datetime) -> AnomalyDetected:
    """One episode."""
    return AnomalyDetected(
        id=f"{identity}-{signal.value}", state=EpisodeState.CLOSED, service=service, signal=signal,
        metric=chance.choice(METRICS[signal]), statistic="p95", unit="s", attributes={"http.route": "/buy"},
        detector="novelty_forest", severity=chance.choice(list(Severity)), score=0.9, observed=1.5, expected=0.2,
        expected_lower=0.1, expected_upper=0.3, deviation=9.0, started_at=opened, detected_at=opened, updated_at=opened,
        window_s=5.0, contributions=(Contribution(feature="distance", value=4.0, share=0.7),),
        explanation=f"p95 of {service} is 7.5 times what is usual", trace_ids=(f"{chance.getrandbits(128):032x}",),
    )  # fmt: skip


def run(chance: random.Random, identity: str, service: str, at: datetime) -> RemediationChanged:
    """One run of a known fix."""
    return RemediationChanged(
        id=f"r-{identity}", incident_id=identity, pattern="roll-back-deploy", mode=Mode.AUTO, action="rollback_deploy",
        target=service, state=chance.choice([RunState.SUCCEEDED] * 4 + [RunState.ROLLED_BACK]), version=5,
        applied_at=at, requested_at=at, updated_at=at,
    )  # fmt: skip


def ask_api(store: ElasticIncidentStore, space: Space, count: int) -> bool:
    """Ask everything that people ask; whether a list or a search was too slow."""
    decisions = Decisions(store, _no_producer, Codec(), clock=lambda: NOW)
    telemetry = space.telemetry()
    app = create_app(
        ApiParts(
            incidents=store, telemetry=telemetry, decisions=decisions, state=lambda: "ready", token=None, local=True
        )
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False, lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            threading.Event().wait(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0) as http:
            return _ask(http, count)
    finally:
        server.should_exit = True
        thread.join()


def _no_producer() -> Any:
    raise AssertionError("the bench decides nothing")


def _ask(http: httpx.Client, count: int) -> bool:
    chance = random.Random(11)
    month = {"from": "2026-04-20T00:00:00Z", "to": "2026-05-20T00:00:00Z"}
    questions: list[Question] = [
        ("healthz (HTTP alone)", False, lambda: ("/healthz", {})),
        ("list, newest 50", True, lambda: ("/api/v1/incidents", {})),
        ("list, page 200", True, lambda: ("/api/v1/incidents", {"offset": min(10_000, count // 2)})),
        ("list, last page", True, lambda: ("/api/v1/incidents", {"offset": count - 50})),
        ("open incidents of a service", True,
         lambda: ("/api/v1/incidents", {"state": ["new", "in_progress"], "service": chance.choice(SERVICES)})),
        ("P1 of a month", True, lambda: ("/api/v1/incidents", {"priority": "P1", **month})),
        ("search, one word", True, lambda: ("/api/v1/incidents", {"text": chance.choice(WORDS)})),
        ("search, three words", True, lambda: ("/api/v1/incidents", {"text": some_words(chance, 3)})),
        ("search, a beginning and a service", True,
         lambda: ("/api/v1/incidents", {"text": chance.choice(WORDS)[:3], "service": chance.choice(SERVICES)})),
        ("get by number", False, lambda: (f"/api/v1/incidents/INC-{chance.randint(1, count):06d}", {})),
        ("get by id", False, lambda: (f"/api/v1/incidents/incident-{chance.randint(1, count):06d}", {})),
    ]  # fmt: skip
    whole: list[Question] = [
        ("remediation runs, newest 50", False, lambda: ("/api/v1/remediations", {})),
        ("scorecard of every run", False, lambda: ("/api/v1/scorecard", {})),
    ]
    return _slow(http, questions, REQUESTS) | _slow(http, whole, REQUESTS_OF_ALL)


def _slow(http: httpx.Client, questions: Sequence[Question], requests: int) -> bool:
    """Ask each so many times; whether one that has a limit took longer."""
    slow = False
    for name, limited, question in questions:
        times, served, answer = [], [], httpx.Response(500)
        for _ in range(requests):
            path, parameters = question()
            TimedNode.took_ms.clear()
            begun = time.perf_counter()
            answer = http.get(path, params=parameters)
            times.append((time.perf_counter() - begun) * 1e3)
            served.append(sum(TimedNode.took_ms))
            answer.raise_for_status()
        total = answer.json().get("total")
        remark = f"took {np.median(served):.0f} ms, p95 {np.percentile(served, 95):.0f} ms" if any(served) else ""
        remark += f"; {total:,} match" if total is not None else ""
        slow |= report(name, times, remark) > LIMIT_MS and limited
    return slow


def ask_similar(store: ElasticIncidentStore, tokens: dict[str, frozenset[str]]) -> None:
    """Time `similar` and count how many of the exact five it finds."""
    chance, times, found, wanted = random.Random(5), [], 0, 0
    documents: dict[str, int] = {}
    for one in tokens.values():
        for token in one:
            documents[token] = documents.get(token, 0) + 1
    for identity in chance.sample(sorted(tokens), 30):
        begun = time.perf_counter()
        hits = store.similar(sorted(tokens[identity]), "", before=NOW + timedelta(days=1), exclude=identity)
        times.append((time.perf_counter() - begun) * 1e3)
        weights = token_weights(frozenset(documents), documents, len(tokens))
        exact = sorted(
            (
                round(weighted_jaccard(tokens[identity], other, weights), 6)
                for name, other in tokens.items()
                if name != identity
            ),
            reverse=True,
        )
        least = exact[4]
        got = [weighted_jaccard(tokens[identity], tokens[hit.document.incident.id], weights) for hit in hits]
        found += sum(round(overlap, 6) >= least for overlap in got)
        wanted += 5
    report("similar, 5 (store)", times, f"{found} of {wanted} are among the five that overlap most")


def report(name: str, times: Sequence[float], remark: str) -> float:
    """Print a line; the 95th percentile in milliseconds."""
    median, p95 = np.percentile(times, (50, 95))
    print(f"{name:44} {median:8.1f} ms median {p95:8.1f} ms p95 {max(times):8.1f} ms worst   {remark}")
    return float(p95)


if __name__ == "__main__":
    main()
