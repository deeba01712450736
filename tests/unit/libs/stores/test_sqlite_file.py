"""A SQLite file survives crashes, other processes, full disks, and files of older and newer releases."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from libs.contracts.document import Section
from libs.errors import ConfigurationError, Unavailable
from libs.stores import sqlite_incidents, sqlite_telemetry
from libs.stores.sqlite_file import SqliteFile, SqliteKind
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from tests.unit.libs.stores.incident_store_laws import found, incident, put
from tests.unit.libs.stores.telemetry_samples import EVER, Span, metric_batch, span_batch

ROOT = Path(__file__).parents[4]
KIND = SqliteKind(
    name="sample", application_id=7, migrations=("CREATE TABLE a (x TEXT); INSERT INTO a VALUES ('1;2');",)
)
GROWN = replace(KIND, migrations=(*KIND.migrations, "ALTER TABLE a ADD COLUMN y TEXT;\nCREATE TABLE b (z);"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "er" / "sample.sqlite"


def delete_and_fail(file: SqliteFile) -> None:
    with file.write() as connection:
        connection.execute("DELETE FROM a")
        raise ZeroDivisionError


def rows(path: Path, kind: SqliteKind, query: str) -> list[tuple[object, ...]]:
    with closing(SqliteFile(path, kind)) as file, file.read() as connection:
        return connection.execute(query).fetchall()


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.touch()
    assert rows(path, KIND, "SELECT x FROM a") == [("1;2",)]


def test_an_older_file_keeps_its_rows_and_gains_what_is_new(path: Path) -> None:
    with closing(SqliteFile(path, KIND)) as file, file.write() as connection:
        connection.execute("INSERT INTO a VALUES ('kept')")
    assert rows(path, GROWN, "SELECT x, y FROM a ORDER BY x") == [("1;2", None), ("kept", None)]
    assert rows(path, GROWN, "PRAGMA user_version") == [(2,)]


def test_a_migration_that_fails_leaves_the_older_file(path: Path) -> None:
    SqliteFile(path, KIND).close()
    broken = replace(GROWN, migrations=(*KIND.migrations, "CREATE TABLE b (z);\nINSERT INTO nowhere VALUES (1);"))
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        SqliteFile(path, broken)
    assert rows(path, KIND, "SELECT count(*) FROM sqlite_schema WHERE name = 'b'") == [(0,)]


def test_a_newer_file_is_left_alone_with_a_clear_word(path: Path) -> None:
    SqliteFile(path, GROWN).close()
    with pytest.raises(ConfigurationError, match=r"written by a newer release.*version 2, this release knows 1"):
        SqliteFile(path, KIND)
    assert rows(path, GROWN, "SELECT x FROM a") == [("1;2",)]


def test_a_store_does_not_open_the_file_of_another(tmp_path: Path) -> None:
    SqliteIncidentStore(tmp_path / "x").close()
    with pytest.raises(ConfigurationError, match="not one of the telemetry store"):
        SqliteTelemetryStore(tmp_path / "x")
    sqlite3.connect(tmp_path / "foreign").executescript("CREATE TABLE theirs (x)").connection.close()
    with pytest.raises(ConfigurationError, match="not one of the incident store"):
        SqliteIncidentStore(tmp_path / "foreign")


def test_a_file_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(ConfigurationError, match="not a SQLite file"):
        SqliteTelemetryStore(tmp_path / "x")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be created"):
        SqliteIncidentStore(tmp_path / "file" / "x.sqlite")


@pytest.mark.parametrize("attempt", range(5))
def test_many_threads_may_open_the_same_new_file(path: Path, attempt: int) -> None:
    opened: list[SqliteFile] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            opened.append(SqliteFile(path, GROWN))
        except (ConfigurationError, Unavailable, sqlite3.Error) as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for file in opened:
        file.close()
    assert failures == []
    assert len(opened) == 8


@pytest.mark.parametrize("kind", [sqlite_incidents.KIND, sqlite_telemetry.KIND])
def test_deleting_does_not_leave_the_file_large_for_ever(tmp_path: Path, kind: SqliteKind) -> None:
    assert rows(tmp_path / "x", kind, "PRAGMA auto_vacuum") == [(2,)]  # incremental


def test_a_file_that_is_locked_for_too_long_is_unavailable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libs.stores.sqlite_file.BUSY_S", 0.05)
    with closing(SqliteFile(path, KIND)) as file, closing(SqliteFile(path, KIND)) as other:
        with other.write(), pytest.raises(Unavailable, match="locked"), file.write():
            pass
        with file.read() as connection:
            assert connection.execute("SELECT count(*) FROM a").fetchone() == (1,)
        with file.write() as connection:
            connection.execute("INSERT INTO a VALUES ('again')")


def test_readers_do_not_wait_for_a_writer_and_see_one_moment(path: Path) -> None:
    with closing(SqliteFile(path, KIND)) as file:
        with file.write() as writing, file.read() as reading:
            writing.execute("INSERT INTO a VALUES ('2')")
            assert reading.execute("SELECT count(*) FROM a").fetchone() == (1,)
        with file.read() as reading:
            before = reading.execute("SELECT count(*) FROM a").fetchone()
            with file.write() as writing:
                writing.execute("INSERT INTO a VALUES ('3')")
            assert reading.execute("SELECT count(*) FROM a").fetchone() == before == (2,)


def test_an_error_inside_a_transaction_undoes_it(path: Path) -> None:
    with closing(SqliteFile(path, KIND)) as file:
        with pytest.raises(ZeroDivisionError):
            delete_and_fail(file)
        with file.read() as connection:
            assert connection.execute("SELECT count(*) FROM a").fetchone() == (1,)


def test_a_bug_in_a_statement_is_no_outage(path: Path) -> None:
    with (
        closing(SqliteFile(path, KIND)) as file,
        pytest.raises(sqlite3.OperationalError, match="no such table"),
        file.read() as connection,
    ):
        connection.execute("SELECT * FROM nowhere")


def test_a_full_disk_is_unavailable_and_afterwards_everything_goes_on(
    open_telemetry: Callable[[], SqliteTelemetryStore],
) -> None:
    store = open_telemetry()
    store.write(spans=[span_batch("cart", [Span(trace=1, span=1)])])
    limit_pages(store, 1)
    many = span_batch("cart", [Span(trace=2, span=n + 1, attributes={"n": f"{n * 7919:x}"}) for n in range(5_000)])
    with pytest.raises(Unavailable, match="full"):
        store.write(spans=[many], metrics=[metric_batch("new", [("cpu", 0, 1.0)])])
    assert [entry.service for entry in store.services()] == ["cart"]
    limit_pages(store, 1_000_000)
    store.write(spans=[many], metrics=[metric_batch("new", [("cpu", 0, 1.0)])])
    assert [entry.service for entry in store.services()] == ["cart", "new"]
    assert sum(red.requests for red in store.red(EVER, 5.0)) == 5_001
    assert [entry.service for entry in store.series(EVER)] == ["new"]


def limit_pages(store: SqliteTelemetryStore, pages: int) -> None:
    """SQLite fails with "database or disk is full" beyond max_page_count, as it does on a full disk."""
    store._file._writer.execute(f"PRAGMA max_page_count={pages}").fetchone()


WRITE_TELEMETRY = """
import sys
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from tests.unit.libs.stores.telemetry_samples import Span, metric_batch, span_batch
store, worker = SqliteTelemetryStore(sys.argv[1]), int(sys.argv[2])
for n in range(60):
    shared = metric_batch("shared", [("cpu", n, float(n))])
    store.write(spans=[span_batch(f"s{n % 3}", [Span(trace=worker + 1, span=n + 1, start_s=n)])], metrics=[shared])
store.close()
"""

WRITE_INCIDENTS = """
import sys
from libs.contracts.document import Section
from libs.errors import Conflict
from libs.stores.sqlite_incidents import SqliteIncidentStore
store = SqliteIncidentStore(sys.argv[1])
won = 0
for n in range(40):
    store.number(f"i{n}")
    value, version = store.section("shared", Section.INCIDENT)
    try:
        store.put("shared", Section.INCIDENT, value, expected_version=version)
        won += 1
    except Conflict:
        pass
print(won)
store.close()
"""

DIE_IN_TRANSACTION = """
import os, signal, sys
from libs.contracts.document import Section
from libs.stores.sqlite_incidents import SqliteIncidentStore
from tests.unit.libs.stores.incident_store_laws import put
store = SqliteIncidentStore(sys.argv[1])
put(store, "kept")
with store._file.write() as connection:
    connection.execute("UPDATE incidents SET state = 'closed'")
    connection.execute("DELETE FROM sections")
    connection.execute("PRAGMA cache_spill").fetchall()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def spawn(script: str, *arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )


def test_two_processes_write_telemetry_at_once(
    telemetry_path: Path, open_telemetry: Callable[[], SqliteTelemetryStore]
) -> None:
    writers = [spawn(WRITE_TELEMETRY, telemetry_path, worker) for worker in range(2)]
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    store = open_telemetry()
    assert [len(store.trace(f"{worker + 1:032x}")) for worker in range(2)] == [60, 60]
    assert store.series(EVER)[0].values.tolist() == [float(n) for n in range(60)]
    assert [entry.service for entry in store.services()] == ["s0", "s1", "s2", "shared"]


def test_two_processes_write_incidents_at_once(
    incidents_path: Path, open_incidents: Callable[[], SqliteIncidentStore]
) -> None:
    store = open_incidents()
    put(store, "shared")
    writers = [spawn(WRITE_INCIDENTS, incidents_path) for _ in range(2)]
    won = [int(writer.communicate(timeout=60)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    section = store.section("shared", Section.INCIDENT)
    assert section is not None
    assert section[1] == 1 + sum(won)
    assert len({store.number(f"i{n}") for n in range(40)}) == 40
    assert store.number("one more") == "INC-000041"


def test_a_process_killed_in_a_transaction_leaves_what_was_committed(
    incidents_path: Path, open_incidents: Callable[[], SqliteIncidentStore]
) -> None:
    process = spawn(DIE_IN_TRANSACTION, incidents_path)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    store = open_incidents()
    assert found(store) == ["kept"]
    document = store.get("kept")
    assert document is not None
    assert document.incident == incident("kept")
    put(store, "next")
    assert found(store, text="title") == ["next", "kept"]
