"""What each cumulative series last said: bounded, and undone when a request could not be written.

A client whose request failed sends it again; had its points moved the state, their rates would be lost as duplicates.
So every change is kept in a journal until `commit`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from libs.contracts.batches import AttributePairs

SERIES_MAX: Final = 100_000  # 0.9 KB per counter, 1.6 KB per histogram: tests/bench/intake_throughput.py prints it

State = TypeVar("State")
StateKey = tuple[str, str, str, AttributePairs]  # resource identity, scope, metric name, sorted attributes


class SeriesStates(Generic[State]):
    """State per series; the least recently written ones are forgotten beyond `capacity`."""

    def __init__(self, capacity: int = SERIES_MAX) -> None:
        self._capacity = capacity
        self._states: dict[StateKey, State] = {}
        self._journal: list[tuple[StateKey, State | None]] = []
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._states)

    def get(self, key: StateKey) -> State | None:
        """What a series last said."""
        return self._states.get(key)

    def put(self, key: StateKey, state: State) -> None:
        """Remember what a series says now; it becomes the most recent one."""
        self._journal.append((key, self._states.pop(key, None)))
        self._states[key] = state

    def commit(self) -> None:
        """Make every change final, and forget the least recent series beyond the capacity."""
        self._journal.clear()
        while len(self._states) > self._capacity:
            del self._states[next(iter(self._states))]
            self.evicted += 1

    def rollback(self, mark: int = 0) -> None:
        """Undo every change since the last commit, or since a mark."""
        while len(self._journal) > mark:
            key, before = self._journal.pop()
            if before is None:
                self._states.pop(key, None)
            else:
                self._states[key] = before

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo what the block changed when it raises."""
        mark, done = len(self._journal), False
        try:
            yield
            done = True
        finally:
            if not done:
                self.rollback(mark)
