"""Telemetry indices cut by event time, so that forgetting drops whole indices and deletes no document."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

NS: Final = 1_000_000_000
# About six indices of each kind over the retention: a shard costs a node about a megabyte of heap.
_WIDTHS_S: Final = (600, 3_600, 6 * 3_600, 86_400, 7 * 86_400)
_SLICES: Final = 6
_NAME: Final = re.compile(r"-(\d{4}\.\d{2}\.\d{2}-\d{2}\.\d{2})-(\d+)s$")
_STAMP: Final = "%Y.%m.%d-%H.%M"


def slice_width_s(retention_s: float) -> int:
    """Width of the slices for a retention: 1 hour for the default 6 hours."""
    return next((width for width in _WIDTHS_S if width >= retention_s / _SLICES), _WIDTHS_S[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Slicing:
    """Names of sliced indices.

    Attributes:
        prefix: What they begin with.
        width_s: Width of a slice in seconds.
    """

    prefix: str
    width_s: int

    def number(self, time_ns: int) -> int:
        """Slice of an event time."""
        return time_ns // (self.width_s * NS)

    def index(self, kind: str, number: int) -> str:
        """Index of a slice: <prefix>-<kind>-<start, UTC>-<width>s."""
        start = datetime.fromtimestamp(number * self.width_s, UTC)
        return f"{self.prefix}-{kind}-{start.strftime(_STAMP)}-{self.width_s}s"

    def of(self, kind: str, time_ns: int) -> str:
        """Index of an event time."""
        return self.index(kind, self.number(time_ns))


def slice_end_ns(index: str) -> int | None:
    """Where the slice of an index ends, unix nanoseconds; None when the name is of no slice."""
    found = _NAME.search(index)
    if found is None:
        return None
    start = datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC)
    return (int(start.timestamp()) + int(found[2])) * NS
