"""kill -9 of Elasticsearch in the middle of writes: what was acknowledged is there, once, and writers go on."""

import importlib
import importlib.util
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from libs.contracts.document import Section, TimelineEntry
from libs.errors import Conflict, Unavailable
from libs.stores.incidents import IncidentQuery
from libs.stores.telemetry import SpanQuery
from tests.integration.elastic_servers import Space, empty_space, own_prefix
from tests.unit.libs.stores.incident_store_laws import NOON, incident
from tests.unit.libs.stores.telemetry_samples import CLIENT, EVER, Span, metric_batch, span_batch

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

T = TypeVar("T")
WRITERS, INCIDENTS = 4, 15
PATIENCE_S = 240.0
PAUSE = threading.Event()  # never set: `wait` is the back-off of a service that holds


@pytest.fixture
def space() -> Iterator[Space]:
    with own_prefix() as prefix, empty_space(prefix) as space:
        yield space


@pytest.fixture
def stack() -> Any:
    """The servers of `make test-stack`, to kill and start."""
    if importlib.util.find_spec("deploy") is None or importlib.util.find_spec("deploy.stack") is None:
        pytest.skip("needs the stack's own servers to kill: make test-stack")
    layout = importlib.import_module("deploy.stack.layout").layout_from_environment()
    return importlib.import_module("deploy.stack.stack").Stack(layout)


class Progress:
    """Counts acknowledged writes and wakes whoever waits for enough of them."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def acknowledge(self) -> None:
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    def wait(self, count: int) -> None:
        with self._condition:
            assert self._condition.wait_for(lambda: self._count >= count, 300)


def held(attempt: Callable[[], T]) -> T:
    """As a service does: hold while the store is away, then do the same thing again; a store that stays away fails."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return attempt()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            PAUSE.wait(0.2)


def test_incidents_survive_a_kill_in_the_middle_of_writing(space: Space, stack: Any) -> None:
    progress, numbers, failures = Progress(), dict[str, str](), list[BaseException]()
    store = space.incidents()

    def write(writer: int) -> None:
        try:
            for place in range(INCIDENTS):
                identity = f"w{writer}-{place}"
                number = held(lambda identity=identity: store.number(identity))  # type: ignore[misc]
                numbers[identity] = number
                core = incident(identity, number=number)
                held(lambda core=core: store.put(core.id, Section.INCIDENT, core))  # type: ignore[misc]
                line = (TimelineEntry(id=identity, at=NOON, actor="x", kind="comment", text="acknowledged"),)
                held(lambda core=core, line=line: store.put(core.id, Section.TIMELINE, line))  # type: ignore[misc]
                progress.acknowledge()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(WRITERS)]
    for thread in threads:
        thread.start()
    progress.wait(WRITERS * INCIDENTS // 3)
    stack.kill("elasticsearch")
    stack.up(["elasticsearch"])
    for thread in threads:
        thread.join()
    assert failures == []
    page = held(lambda: store.search(IncidentQuery(limit=1_000)))
    assert page.total == len({core.id for core in page.incidents}) == WRITERS * INCIDENTS
    assert sorted(numbers.values()) == [f"INC-{n:06d}" for n in range(1, WRITERS * INCIDENTS + 1)]
    for identity, number in numbers.items():
        document = store.get(identity)
        assert document is not None
        assert (document.incident.number, len(document.timeline)) == (number, 1)


def test_a_guarded_count_is_never_doubled_by_a_kill(space: Space, stack: Any) -> None:
    """Each success counts once: a write whose answer was lost is recognised as one's own or not counted."""
    progress, store, failures = Progress(), space.incidents(), list[BaseException]()
    successes: list[int] = []

    def write() -> None:
        try:
            for _ in range(INCIDENTS):
                known = held(lambda: store.state("counter"))
                value, version = (int(known.value), known.version) if known else (0, 0)
                try:
                    successes.append(store.put_state("counter", str(value + 1), expected_version=version))
                except (Conflict, Unavailable):
                    PAUSE.wait(0.05)
                progress.acknowledge()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=write) for _ in range(WRITERS)]
    for thread in threads:
        thread.start()
    progress.wait(WRITERS * INCIDENTS // 3)
    stack.kill("elasticsearch")
    stack.up(["elasticsearch"])
    for thread in threads:
        thread.join()
    assert failures == []
    counter = held(lambda: store.state("counter"))
    assert counter is not None
    assert len(set(successes)) == len(successes) > 0
    assert set(successes) <= set(range(1, counter.version + 1))
    assert int(counter.value) == counter.version


def test_telemetry_written_again_after_a_kill_is_there_once(space: Space, stack: Any) -> None:
    progress, store, failures = Progress(), space.telemetry(), list[BaseException]()
    batches = [
        (
            span_batch("cart", [Span(trace=n, span=k, kind=CLIENT, peer="bank", start_s=n) for k in range(1, 6)]),
            metric_batch("cart", [("cpu", n, float(n))]),
        )
        for n in range(1, 41)
    ]

    def write(mine: list[Any]) -> None:
        try:
            for spans, metrics in mine:
                held(lambda spans=spans, metrics=metrics: store.write(spans=[spans], metrics=[metrics]))  # type: ignore[misc]
                progress.acknowledge()
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=write, args=(batches[start::2],)) for start in range(2)]
    for thread in threads:
        thread.start()
    progress.wait(15)
    stack.kill("elasticsearch")
    stack.up(["elasticsearch"])
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(held(lambda: store.series(EVER))[0].timestamps_ns) == 40
    assert len(store.spans(SpanQuery(window=EVER, limit=10_000))) == 200
    assert sum(red.requests for red in store.red(EVER, 5.0)) == 200
    store.write(metrics=[metric_batch("clock", [("time", 100, 0.0)])])
    assert [(edge.caller, edge.callee, edge.calls) for edge in store.edges()] == [("cart", "bank", 200)]
