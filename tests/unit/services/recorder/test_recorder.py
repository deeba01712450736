"""The recorder writes every batch it reads, loses nothing to a bad neighbour, and forgets by event time."""

import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.contracts.codec import Codec
from libs.contracts.command import Command, CommandKind
from libs.contracts.records import Record
from libs.contracts.telemetry import ChangeEvent, LogBatch, MetricBatch, SpanBatch
from libs.contracts.topics import topics
from libs.errors import InvalidMessage, Unavailable
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.stores.telemetry import LogQuery, SpanQuery, TelemetryStore
from libs.streaming.handler import Event
from libs.streaming.loop import Loop
from services.recorder.service import SUBSCRIPTIONS, RecorderHandler, build, handler
from tests.unit.libs.stores.telemetry_samples import (
    EVER,
    NOON_NS,
    Log,
    Span,
    at,
    change,
    log_batch,
    metric_batch,
    span_batch,
)

FAR_FUTURE = datetime(2999, 1, 1, tzinfo=UTC)
TOPIC_OF: dict[type, str] = {
    MetricBatch: "telemetry-metrics",
    LogBatch: "telemetry-logs",
    SpanBatch: "telemetry-spans",
    ChangeEvent: "changes",
}


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    settings = Settings(data_dir=tmp_path, telemetry_retention_s=100.0)
    log = Logger("recorder", stream=io.StringIO())
    return Platform(service="recorder", settings=settings, log=log, metrics=ServiceMetrics(), codec=Codec())


@pytest.fixture
def recorder(platform: Platform) -> Iterator[RecorderHandler]:
    made = handler(platform.settings, platform)
    yield made
    made.close()


@pytest.fixture
def store(recorder: RecorderHandler, platform: Platform) -> TelemetryStore:
    return platform.telemetry


def events(*records: Record) -> list[Event]:
    return [
        Event(topic=TOPIC_OF.get(type(record), "changes"), partition=0, offset=offset, key="cart", record=record)
        for offset, record in enumerate(records)
    ]


def points(at_s: float) -> MetricBatch:
    return metric_batch("cart", [("cpu", at_s, 1.0)])


def test_it_reads_what_topics_toml_says_it_consumes() -> None:
    assert set(SUBSCRIPTIONS) == {topic.name for topic in topics().values() if "recorder" in topic.consumers}


def test_every_signal_is_stored_and_nothing_emitted(recorder: RecorderHandler, store: TelemetryStore) -> None:
    spans = span_batch("cart", [Span(trace=1, span=1)])
    emitted = recorder.handle(events(points(0), log_batch("cart", [Log()]), spans, change("d", "cart", 0)))
    assert list(emitted) == []
    assert len(store.series(EVER)) == len(store.spans(SpanQuery(window=EVER))) == 1
    assert len(store.logs(LogQuery(window=EVER))) == len(store.changes(EVER)) == 1


def test_a_batch_read_again_after_a_crash_changes_nothing(recorder: RecorderHandler, store: TelemetryStore) -> None:
    batch = events(points(0), span_batch("cart", [Span(trace=1, span=1)]), change("d", "cart", 0))
    recorder.handle(batch)
    recorder.handle(batch[:1])
    recorder.handle(batch)
    assert store.series(EVER)[0].values.tolist() == [1.0]
    assert len(store.trace(f"{1:032x}")) == len(store.changes(EVER)) == 1


def test_a_bad_message_stores_nothing_of_its_batch_so_that_it_can_be_isolated(
    recorder: RecorderHandler, store: TelemetryStore
) -> None:
    bad = metric_batch("cart", [("cpu", 9_000, 1.0)], received_s=0)
    with pytest.raises(InvalidMessage):
        recorder.handle(events(points(0), bad))
    assert store.services() == []
    for event in events(points(0), points(5)):
        recorder.handle([event])
    assert store.series(EVER)[0].timestamps_ns.tolist() == [at(0), at(5)]


def test_a_record_of_another_kind_is_refused(recorder: RecorderHandler) -> None:
    command = Command(id="1", kind=CommandKind.COMMENT, actor="ann", issued_at=FAR_FUTURE)
    with pytest.raises(InvalidMessage, match="does not record a Command"):
        recorder.handle(events(command))
    with pytest.raises(InvalidMessage, match="does not record a bytes"):
        recorder.handle([Event(topic="changes", partition=0, offset=0, key="", record=b"raw")])


def test_telemetry_is_forgotten_by_event_time_whatever_the_clock_says(
    recorder: RecorderHandler, store: TelemetryStore
) -> None:
    recorder.handle(events(points(0), points(90)))
    assert list(recorder.tick(FAR_FUTURE)) == []
    assert _times(store) == [0, 90]
    recorder.handle(events(points(150)))
    recorder.tick(datetime(1971, 1, 1, tzinfo=UTC))
    assert _times(store) == [90, 150]


def test_pruning_waits_until_it_is_worth_it(platform: Platform) -> None:
    class Counting:
        def __init__(self) -> None:
            self.now_ns = NOON_NS
            self.pruned: list[int] = []

        def watermark_ns(self) -> int:
            return self.now_ns

        def prune(self, before_ns: int) -> int:
            self.pruned.append(before_ns)
            return 0

    counting = Counting()
    recorder = RecorderHandler(counting, retention_s=3600.0, log=platform.log)  # type: ignore[arg-type]  # two methods
    for _ in range(100):
        recorder.tick(FAR_FUTURE)
        counting.now_ns += 10**9
    assert counting.pruned == [NOON_NS - 3600 * 10**9 + n * 36 * 10**9 for n in range(3)]


def test_an_empty_store_is_not_pruned(recorder: RecorderHandler, store: TelemetryStore) -> None:
    recorder.tick(FAR_FUTURE)
    recorder.handle(events(points(0)))
    recorder.tick(FAR_FUTURE)
    assert _times(store) == [0]


def test_an_unavailable_store_holds_the_batch(recorder: RecorderHandler) -> None:
    recorder.close()
    with pytest.raises(Unavailable):
        recorder.handle(events(points(0)))
    with pytest.raises(Unavailable):
        recorder.tick(FAR_FUTURE)


def test_it_runs_in_the_loop_that_every_service_runs_in(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Platform, "bootstrap", "127.0.0.1:1")
    loop = build(platform.settings, platform)
    assert isinstance(loop, Loop)
    platform.telemetry.close()


def _times(store: TelemetryStore) -> Sequence[float]:
    return [(time - NOON_NS) / 1e9 for time in store.series(EVER)[0].timestamps_ns.tolist()]
