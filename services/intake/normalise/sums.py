"""Counters become rates.

The rate of an interval is its increase over its length. A counter that dropped, or whose start moved to or behind the
last point, began anew: what it shows now is its increase. So no rate is ever negative, and a restart costs at most what
was counted between the last export and the end of the old process.

Source: OpenTelemetry metrics data model, "Resets and gaps"; Prometheus `rate()` treats resets the same way.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SumState:
    """What a counter last said: unix nanoseconds, value, and unix nanoseconds of its start (0 when unknown)."""

    time_ns: int
    value: float
    start_ns: int


def began_anew(last_time_ns: int, last_start_ns: int, start_ns: int, *, dropped: bool) -> bool:
    """Whether a cumulative stream was reset between its last point and this one.

    A start that moved but still lies before the last point is jitter of a sender that estimates it, not a restart.
    """
    return dropped or (start_ns != last_start_ns and start_ns >= last_time_ns)


def cumulative_rate(last: SumState, now: SumState) -> float:
    """Rate per second between two points of one counter, never negative; `now` is later than `last`."""
    fresh = began_anew(last.time_ns, last.start_ns, now.start_ns, dropped=now.value < last.value)
    increase = now.value if fresh else now.value - last.value
    return increase * 1e9 / (now.time_ns - last.time_ns)
