"""A fixed number of worker threads, each with its own SQLite connection, under an asyncio server."""

import asyncio
import contextvars
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from opentelemetry import context
from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

from examples.shop.code_places import with_code_place
from examples.shop.occupancy import Occupancy

P = ParamSpec("P")
T = TypeVar("T")

_BUSY_TIMEOUT_S = 2.0  # two instances write the same file; a transaction here takes under 5 ms


class Database:
    """Runs functions that take a connection, in order of arrival, at most `size` at once."""

    def __init__(self, path: Path, *, size: int) -> None:
        self.occupancy = Occupancy(size)
        self._path = path
        self._free = asyncio.Semaphore(size)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=path.stem, initializer=self._connect)
        self._own = threading.local()

    async def run(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work(connection, ...)` in a worker thread; its spans name it as their place in the code."""
        self.occupancy.move(queued=1)
        try:
            await self._free.acquire()
        finally:
            self.occupancy.move(queued=-1)
        self.occupancy.move(busy=1)
        try:
            here = contextvars.copy_context()
            return await asyncio.get_running_loop().run_in_executor(
                self._threads,
                lambda: here.run(self._in_thread, lambda: work(self._own.connection, *args, **kwargs), work),
            )
        finally:
            self.occupancy.move(busy=-1)
            self._free.release()

    def _in_thread(self, bound: Callable[[], T], work: Callable[..., T]) -> T:
        token = context.attach(with_code_place(context.get_current(), work))
        try:
            return bound()
        finally:
            context.detach(token)

    def _connect(self) -> None:
        plain = open_database(self._path)
        self._own.connection = SQLite3Instrumentor.instrument_connection(plain)


def open_database(path: Path) -> sqlite3.Connection:
    """Open one of the shop's databases; a write transaction takes the lock at its start, so that it cannot deadlock."""
    connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level="IMMEDIATE")
    connection.execute("PRAGMA synchronous=NORMAL")
    return connection
