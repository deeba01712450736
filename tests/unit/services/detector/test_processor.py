"""Three fates for every message, and snapshots that commit only what they hold."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.contracts.codec import Codec
from libs.contracts.topics import TELEMETRY_SPANS
from libs.errors import Unavailable
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.broker import Consumer, RawMessage
from libs.streaming.dead_letters import TooManyRefused
from libs.streaming.loop import LoopState
from services.detector.processor import Processor
from services.detector.snapshots import Snapshot, SnapshotStore
from tests.unit.services.detector.new_handler import new_handler
from tests.unit.services.detector.test_handler import spans

CODEC = Codec()
PLACE = (TELEMETRY_SPANS, 0)


class FakeProducer:
    """Remembers what is acknowledged; is away for as many flushes as it is told."""

    def __init__(self) -> None:
        self.queued: list[tuple[str, bytes | None]] = []
        self.written: list[tuple[str, bytes | None]] = []
        self.away = 0

    def connect(self, topic: str, timeout_s: float) -> None:
        """It is connected."""

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self.queued.append((topic, value))

    def flush(self, timeout_s: float = 30.0) -> None:
        if self.away:
            self.away -= 1
            self.queued.clear()
            raise Unavailable("away")
        self.written += self.queued
        self.queued.clear()

    def close(self) -> None:
        pass


class FakeBroker:
    """Has one producer and nothing else."""

    def __init__(self) -> None:
        self.only = FakeProducer()

    def producer(self) -> FakeProducer:
        return self.only

    def consumer(self, group: str, topics: Sequence[str], *, from_beginning: bool = True) -> Consumer:
        raise NotImplementedError

    def topic_names(self, timeout_s: float = 5.0) -> frozenset[str]:
        raise NotImplementedError

    def read_to_end(self, topics: Sequence[str], timeout_s: float = 10.0) -> list[RawMessage]:
        raise NotImplementedError


class Bench:
    """A processor on a fake broker and a folder."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(_env_file=None, data_dir=folder)  # type: ignore[call-arg]  # pydantic-settings' own
        self.broker = FakeBroker()
        platform = Platform(
            service="detector",
            settings=settings,
            log=Logger("detector", level="error"),
            metrics=ServiceMetrics(),
            codec=CODEC,
            clock=lambda: datetime(2026, 3, 2, 9, tzinfo=UTC),
        )
        platform.__dict__["broker"] = self.broker  # a cached property
        self.damaged: list[str] = []
        self.store = SnapshotStore(folder / "detector", lambda name, _: self.damaged.append(name))
        self.stopping = threading.Event()
        self.processor = Processor(new_handler(), self.store, platform, self.stopping)
        self.processor.assign([PLACE])

    @property
    def written(self) -> list[tuple[str, bytes | None]]:
        return self.broker.only.written


def message(offset: int, value: bytes, timestamp_ms: int | None = None) -> RawMessage:
    when = 1000 + offset if timestamp_ms is None else timestamp_ms
    return RawMessage(topic=PLACE[0], partition=PLACE[1], offset=offset, key=b"cart", value=value, timestamp_ms=when)


def failing_run() -> list[RawMessage]:
    batches = [spans(second, 10, failed=5 if second >= 80 else 0) for second in range(110)]
    return [message(offset, CODEC.encode(TELEMETRY_SPANS, batch)) for offset, batch in enumerate(batches)]


def test_a_malformed_message_is_refused_and_its_batch_judged(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run = failing_run()
    bench.processor.take([*run[:5], message(5, b"garbage"), *run[6:]])
    topics = [topic for topic, _ in bench.written]
    assert topics.count("telemetry-spans-dlq") == 1
    assert topics.count("anomalies") >= 1


def test_an_outage_holds_and_writes_the_same_anomalies_once_it_is_over(tmp_path: Path) -> None:
    undisturbed, bench = Bench(tmp_path / "a"), Bench(tmp_path / "b")
    run = failing_run()
    undisturbed.processor.take(run)
    bench.broker.only.away = 2
    bench.processor.take(run)
    assert bench.written == undisturbed.written
    assert bench.processor.state is LoopState.READY


def test_a_stop_ends_a_hold_and_nothing_of_it_is_snapshotted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.broker.only.away = 1_000
    bench.stopping.set()
    bench.processor.take(failing_run())
    assert bench.processor.state is LoopState.HELD
    assert bench.processor.snapshot_if_due(force=True) == {}
    assert bench.store.read(PLACE) is None


def test_when_most_is_refused_the_worker_stops(tmp_path: Path) -> None:
    with pytest.raises(TooManyRefused):
        Bench(tmp_path).processor.take([message(n, b"garbage") for n in range(60)])


def test_offsets_are_committed_up_to_the_snapshot(tmp_path: Path) -> None:
    bench, run = Bench(tmp_path), failing_run()
    bench.processor.take(run[:40])
    assert bench.processor.snapshot_if_due() == {PLACE: 40}
    bench.processor.take(run[40:])
    assert bench.processor.snapshot_if_due() == {}, "the next one is due in ten seconds"
    assert bench.processor.snapshot_if_due(force=True) == {PLACE: 110}


def test_another_worker_goes_on_from_the_snapshot_and_skips_what_it_holds(tmp_path: Path) -> None:
    whole, first, run = Bench(tmp_path / "whole"), Bench(tmp_path), failing_run()
    whole.processor.take(run)
    first.processor.take(run[:100])
    first.processor.snapshot_if_due(force=True)
    second = Bench(tmp_path)
    second.processor.take(run[90:])
    assert first.written + second.written == whole.written


def test_a_partition_that_began_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    first, run = Bench(tmp_path), failing_run()
    first.processor.take(run[:70])
    first.processor.snapshot_if_due(force=True)
    second = Bench(tmp_path)
    again = [message(n, one.value or b"", timestamp_ms=5_000 + n) for n, one in enumerate(run[70:])]
    second.processor.take(again)
    assert [topic for topic, _ in second.written] != []


def test_revoked_partitions_are_snapshotted_and_left_alone(tmp_path: Path) -> None:
    bench, run = Bench(tmp_path), failing_run()
    bench.processor.take(run[:40])
    assert bench.processor.revoke([PLACE]) == {PLACE: 40}
    bench.processor.take(run[40:])
    assert bench.written == []


def test_lag_counts_what_waits(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    assert bench.processor.lag({PLACE: 7}) == {PLACE: 7}
    bench.processor.take(failing_run()[:3])
    assert bench.processor.lag({PLACE: 7}) == {PLACE: 4}


@pytest.mark.parametrize("damage", [b"", b"PMDS", b"garbage of some length", b"flip", b"version"])
def test_a_damaged_snapshot_is_left_aside(tmp_path: Path, damage: bytes) -> None:
    bench = Bench(tmp_path)
    bench.store.write(PLACE, Snapshot(offset=3, timestamp_ms=5, state=b"state"))
    path = bench.store.path(PLACE)
    raw = bytearray(path.read_bytes())
    if damage == b"flip":
        raw[-1] ^= 1
    elif damage == b"version":
        raw[4] += 1
    else:
        raw = bytearray(damage)
    path.write_bytes(bytes(raw))
    assert bench.store.read(PLACE) is None
    assert bench.damaged == ["telemetry-spans-0.snapshot"]


def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = SnapshotStore(tmp_path, lambda *_: None)
    snapshot = Snapshot(offset=3, timestamp_ms=5, state=b"state")
    store.write(PLACE, snapshot)
    assert store.read(PLACE) == snapshot
    assert store.read((TELEMETRY_SPANS, 1)) is None
    assert [path.suffix for path in tmp_path.iterdir()] == [".snapshot"]
