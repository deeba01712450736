"""One SQLite file for several processes and threads at once: connections, transactions, migrations, errors.

Readers never wait for a writer (WAL); writers wait for one another, at most BUSY_S. Every failure of the file itself
becomes `Unavailable`; a file that this code must not touch becomes `ConfigurationError`.

Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html
"""

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, TypeVar

from libs.errors import ConfigurationError, Unavailable

T = TypeVar("T")

# A write transaction of the platform lasts well under 1 s; a lock that outlives this is a hung process.
BUSY_S: Final = 5.0
_OPEN_ATTEMPTS: Final = 50
_OPEN_PAUSE_S: Final = 0.05
# What the file system or another process does to the file; everything else is a bug of ours and must fly.
_OUTAGES: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)
_LOCKS: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})


@dataclass(frozen=True, slots=True, kw_only=True)
class SqliteKind:
    """What a file is used for.

    Attributes:
        name: For people.
        application_id: int32 written into the header, so that one store never opens the file of another.
        migrations: SQL scripts; the n-th brings user_version n - 1 to n. Released scripts never change.
        synchronous: FULL survives a power cut, NORMAL may lose the last transactions in one (never consistency).
        cache_kib: Page cache of each connection.
    """

    name: str
    application_id: int
    migrations: tuple[str, ...]
    synchronous: str = "NORMAL"
    cache_kib: int = 8192


def read_migrations(stem: str) -> tuple[str, ...]:
    """Migration scripts `<stem>.<n>.sql` of this package, in order from 1."""
    scripts: list[str] = []
    folder = resources.files("libs.stores")
    while (script := folder / f"{stem}.{len(scripts) + 1}.sql").is_file():
        scripts.append(script.read_text(encoding="utf-8"))
    return tuple(scripts)


class SqliteFile:
    """Connections to one file: one for writing, guarded by a lock, and as many for reading as threads read at once.

    Args:
        path: The file; it and its folder are created when missing.
        kind: What it is used for.
    Raises:
        ConfigurationError: the file is not one of this kind, or was written by a newer release.
        Unavailable: the file cannot be opened now.
    """

    def __init__(self, path: Path, kind: SqliteKind) -> None:
        self.path = path
        self._kind = kind
        self._lock = threading.Lock()
        self._readers: deque[sqlite3.Connection] = deque()
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"{path.parent}: cannot be created: {error}") from error
        with translated(path):
            self._writer = self._connect()
            try:
                _patiently(self._prepare)
            except BaseException:
                self._writer.close()
                raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """A transaction that holds the file's write lock from its start; an error rolls everything back."""
        with self._lock, translated(self.path):
            self._require_open()
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A snapshot: every statement inside sees the same state of the file."""
        with translated(self.path):
            self._require_open()
            try:
                connection = self._readers.pop()
            except IndexError:
                connection = self._connect()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                self._give_back(connection)

    def reclaim(self, pages: int) -> None:
        """Give up to `pages` free pages at the end of the file back to the file system."""
        with self._lock, translated(self.path):
            self._require_open()
            # `execute` would stop after the first page: the statement steps once per page and yields no row.
            self._writer.executescript(f"PRAGMA incremental_vacuum({pages:d})")

    def close(self) -> None:
        """Close every connection; later calls raise `Unavailable`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            while self._readers:
                self._readers.pop().close()
            self._writer.close()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        self._readers.append(connection)
        if self._closed:  # closed while this thread was reading
            while self._readers:
                self._readers.pop().close()

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self.path}: closed")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute(f"PRAGMA synchronous={self._kind.synchronous}")
        connection.execute(f"PRAGMA cache_size=-{self._kind.cache_kib}")
        connection.execute("PRAGMA temp_store=MEMORY")
        # Some builds overwrite deleted content with zeros; retention then costs as much as writing.
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("PRAGMA journal_size_limit=67108864")
        return connection

    def _prepare(self) -> None:
        connection, kind = self._writer, self._kind
        connection.execute("BEGIN")  # one moment: another process may be creating the file just now
        try:
            version = _pragma(connection, "user_version")
            application_id = _pragma(connection, "application_id")
            tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        finally:
            connection.execute("ROLLBACK")
        if application_id != kind.application_id and (tables or application_id):
            raise ConfigurationError(f"{self.path} is a SQLite file, but not one of the {kind.name}; name another path")
        if version > len(kind.migrations):
            raise ConfigurationError(
                f"{self.path} was written by a newer release: the {kind.name} there has version {version}, this "
                f"release knows {len(kind.migrations)}; upgrade, or name another path"
            )
        if not tables:
            connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        mode = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigurationError(f"{self.path}: this file system cannot share a SQLite file; use a local disk")
        if version < len(kind.migrations):
            self._migrate()

    def _migrate(self) -> None:
        connection, kind = self._writer, self._kind
        connection.execute("BEGIN IMMEDIATE")
        try:
            # Read again under the lock: another process may have migrated the file meanwhile.
            for number in range(_pragma(connection, "user_version") + 1, len(kind.migrations) + 1):
                for statement in _statements(kind.migrations[number - 1]):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number:d}")
            connection.execute(f"PRAGMA application_id={kind.application_id:d}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn failures of the file into `Unavailable`; bugs (bad SQL, broken constraints) pass through."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is None or code & 0xFF not in _OUTAGES:
            raise
        if code & 0xFF == sqlite3.SQLITE_NOTADB:
            raise ConfigurationError(f"{path} is not a SQLite file; name another path") from error
        raise Unavailable(f"{path}: {error}") from error


def _patiently(attempt: Callable[[], T]) -> T:
    """Switching to WAL and recovering after a crash do not always wait for the busy timeout: try again, bounded."""
    for _ in range(_OPEN_ATTEMPTS):
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _LOCKS:
                raise
            time.sleep(_OPEN_PAUSE_S)
    return attempt()


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _statements(script: str) -> Sequence[str]:
    statements: list[str] = []
    pending = ""
    for part in script.split(";"):
        pending += part + ";"
        if sqlite3.complete_statement(pending):  # not inside a string, a comment or a trigger
            statements.append(pending)
            pending = ""
    return statements
