"""What a request carries, and what came of it."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from libs.contracts.codec import ns_from_utc
from libs.contracts.topics import OTLP_LOGS, OTLP_METRICS, OTLP_SPANS
from libs.streaming.handler import Emit


class Signal(StrEnum):
    """What a request carries; the value is the last part of its OTLP/HTTP path."""

    METRICS = "metrics"
    LOGS = "logs"
    SPANS = "traces"
    CHANGES = "changes"


SIGNAL_OF_TOPIC: Final = {
    OTLP_METRICS: Signal.METRICS,
    OTLP_LOGS: Signal.LOGS,
    OTLP_SPANS: Signal.SPANS,
}

FUTURE_NS: Final = 10 * 60 * 1_000_000_000  # a clock further ahead would push every watermark into the future
PAST_NS: Final = 24 * 3600 * 1_000_000_000  # what the telemetry topics keep
RECORDING_PAST_NS: Final = 50 * 365 * 24 * 3600 * 1_000_000_000  # any: a line may hold months
CHANGE_PAST_NS: Final = 30 * 24 * 3600 * 1_000_000_000  # what the changes topic keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What came of one request.

    Attributes:
        emits: Batches to write, in order.
        accepted: Points, spans, records or changes that they hold; a histogram point counts once.
        rejected: Points, spans or records that were refused.
        reason: Why they were refused, with counts; "" when none was.
        skipped: Points that were right and add nothing: duplicates, and first cumulative points.
    """

    emits: tuple[Emit, ...] = ()
    accepted: int = 0
    rejected: int = 0
    reason: str = ""
    skipped: int = 0


class Tally:
    """Counts what came of the items of one request.

    Args:
        observed_at: When the request was received; times are judged against it.
        past_ns: Oldest accepted event time, nanoseconds before `observed_at`.
    """

    def __init__(self, observed_at: datetime, past_ns: int = PAST_NS) -> None:
        observed_ns = ns_from_utc(observed_at)
        self.earliest_ns = max(1, observed_ns - past_ns)
        self.latest_ns = observed_ns + FUTURE_NS
        self._past_h = past_ns / 3.6e12
        self.accepted = 0
        self.skipped = 0
        self.rejected = 0
        self._reasons: dict[str, tuple[int, str]] = {}

    def reject(self, reason: str, example: str, count: int = 1) -> None:
        """Refuse items.

        Args:
            reason: One of few texts.
            example: Name of the metric, span or logger; the first one of each reason is kept.
            count: How many items.
        """
        self.rejected += count
        known, first = self._reasons.get(reason, (0, example[:100]))
        self._reasons[reason] = (known + count, first)

    def reject_time(self, time_ns: int, example: str) -> None:
        """Refuse an item whose time is not between `earliest_ns` and `latest_ns`."""
        if time_ns > self.latest_ns:
            self.reject(f"more than {FUTURE_NS / 6e10:g} min in the future", example)
        elif time_ns == 0:
            self.reject("no timestamp", example)
        else:
            self.reject(f"older than {self._past_h:g} h", example)

    @property
    def reason(self) -> str:
        """Every reason with its count and first example, most frequent first."""
        ordered = sorted(self._reasons.items(), key=lambda entry: -entry[1][0])
        return "; ".join(f"{count} x {reason} (first: {example})" for reason, (count, example) in ordered)
