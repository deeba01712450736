"""Forgetting keeps the file bounded, gives up ids safely and never keeps readers or writers waiting for long."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from libs.stores import sqlite_retention
from libs.stores.sqlite_file import SqliteFile
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from tests.unit.libs.stores.telemetry_samples import (
    CLIENT,
    EVER,
    Log,
    Span,
    at,
    log_batch,
    metric_batch,
    span_batch,
)


def fill(store: SqliteTelemetryStore, start_s: int, seconds: int) -> None:
    """Telemetry of one service with ever new instances, users and peers."""
    for second in range(start_s, start_s + seconds, 5):
        spans = [
            Span(
                trace=second * 1000 + n,
                span=n + 1,
                parent=99,
                kind=2 + n % 2,
                peer=f"p{second}",
                start_s=second,
                user=f"u{second}-{n}",
                attributes={"order": f"{second}-{n}"},
            )
            for n in range(20)
        ]
        store.write(
            metrics=[metric_batch("cart", [(f"m{n}", second, 1.0) for n in range(30)], instance=f"i{second}")],
            logs=[log_batch("cart", [Log(at_s=second, body=f"order {second}-{n}") for n in range(10)])],
            spans=[span_batch("cart", spans)],
        )


def test_a_file_stays_bounded_while_telemetry_flows(
    telemetry_path: Path, open_telemetry: Callable[[], SqliteTelemetryStore]
) -> None:
    store = open_telemetry()
    sizes = []
    for start_s in range(0, 2_000, 200):
        fill(store, start_s, 200)
        store.prune(at(start_s + 150))
        sizes.append(telemetry_path.stat().st_size)
    assert max(sizes[4:]) < 1.5 * max(sizes[1:4])


def test_a_file_shrinks_when_most_of_it_is_forgotten(
    telemetry_path: Path, open_telemetry: Callable[[], SqliteTelemetryStore]
) -> None:
    store = open_telemetry()
    fill(store, 0, 1_000)
    checkpoint(store)
    before = telemetry_path.stat().st_size
    store.prune(at(1_500))
    checkpoint(store)
    assert telemetry_path.stat().st_size < before / 2


def test_nothing_refers_to_what_was_forgotten(open_telemetry: Callable[[], SqliteTelemetryStore]) -> None:
    store = open_telemetry()
    fill(store, 0, 1_500)
    fill(store, 40_000, 100)
    store.prune(at(39_000))
    with store._file.read() as connection:
        for query in (
            "SELECT count(*) FROM span_keys WHERE chunk NOT IN (SELECT id FROM span_chunks)",
            "SELECT count(*) FROM series WHERE service NOT IN (SELECT id FROM services)",
            "SELECT count(*) FROM callees WHERE call NOT IN (SELECT id FROM calls)",
            "SELECT count(*) FROM waiting WHERE end_ns < (SELECT watermark_ns - 600000000000 FROM progress)",
        ):
            assert connection.execute(query).fetchone() == (0,), query
        assert connection.execute("SELECT count(*) FROM span_keys").fetchone() == (400,)
        assert connection.execute("SELECT count(*) FROM series").fetchone() == (600,)


def test_an_answer_that_has_met_its_call_waits_no_longer(open_telemetry: Callable[[], SqliteTelemetryStore]) -> None:
    store = open_telemetry()
    counts = []
    for batch in (
        span_batch("bank", [Span(trace=1, span=2, parent=1)]),
        span_batch("cart", [Span(trace=1, span=1, kind=CLIENT, peer="x")]),
    ):
        store.write(spans=[batch])
        with store._file.read() as connection:
            counts.append(connection.execute("SELECT count(*) FROM waiting").fetchone()[0])
    assert counts == [1, 0]


def test_forgetting_happens_in_small_transactions(
    open_telemetry: Callable[[], SqliteTelemetryStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_telemetry()
    fill(store, 0, 1_000)
    deleted: list[int] = []
    monkeypatch.setattr(sqlite_retention, "_SLICE_S", 0.0)
    original = SqliteFile.write

    def counting(file: SqliteFile):  # type: ignore[no-untyped-def]  # wraps a context manager
        deleted.append(1)
        return original(file)

    monkeypatch.setattr(SqliteFile, "write", counting)
    store.prune(at(2_500))
    assert len(deleted) > 3 * (200 // 16)
    assert store.services() == []


def test_readers_and_writers_go_on_while_a_large_past_is_forgotten(
    open_telemetry: Callable[[], SqliteTelemetryStore],
) -> None:
    store = open_telemetry()
    fill(store, 0, 1_500)
    pruning = threading.Thread(target=lambda: store.prune(at(1_490)))
    pruning.start()
    rounds = 0
    while pruning.is_alive() or rounds < 3:
        second = 1_500 + rounds
        store.write(
            spans=[span_batch("bank", [Span(trace=2**100 + rounds, span=1, kind=CLIENT, peer="x", start_s=second)])]
        )
        assert len(store.trace(f"{2**100 + rounds:032x}")) == 1
        assert store.red(EVER, 5.0)
        rounds += 1
    pruning.join()
    assert [entry.service for entry in store.services()] == ["bank", "cart"]


def checkpoint(store: SqliteTelemetryStore) -> None:
    store._file._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
