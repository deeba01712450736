"""Log records to windows: counts per pattern and per severity of each service."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from libs.contracts.batch_rows import NO_TRACE_ID, LogIn
from libs.observability.log_patterns import PatternMiner

WARN: Final = 13
ERROR: Final = 17
_EXEMPLARS: Final = 5
_MAX_PATTERNS: Final = 500  # per service and window; a service that logs more kinds of trouble is in trouble anyway
_MAX_OPEN: Final = 20_000


@dataclass(slots=True)
class PatternCount:
    """Records of one pattern in one window.

    Attributes:
        logger: Logger name.
        template: The pattern in words.
        severity: Greatest OTLP SeverityNumber among them.
        count: Records.
        trace_ids: Exemplar traces in hex.
    """

    logger: str
    template: str
    severity: int = 0
    count: int = 0
    trace_ids: list[str] = field(default_factory=list)


@dataclass(slots=True)
class OpenLogWindow:
    """Records of one service in one window, still growing.

    Attributes:
        patterns: Records of severity WARN and up by pattern id.
        ordinary: Records below WARN: they go with the requests, so patterns are judged against them.
    """

    patterns: dict[str, PatternCount] = field(default_factory=dict)
    ordinary: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWindow:
    """Finished log window of one service.

    Attributes:
        service: service.name.
        start_ns: Beginning, inclusive.
        end_ns: End, exclusive.
        patterns: Records of severity WARN and up by pattern id.
        ordinary: Records below WARN.
    """

    service: str
    start_ns: int
    end_ns: int
    patterns: Mapping[str, PatternCount]
    ordinary: int


@dataclass(slots=True)
class LogWindows:
    """Open log windows of a partition.

    Attributes:
        windows: By window number, then by service.
        late: Records that came after their window was closed.
        dropped: Records beyond the bounds.
    """

    windows: dict[int, dict[str, OpenLogWindow]] = field(default_factory=dict)
    late: int = 0
    dropped: int = 0
    open_count: int = 0

    def add(self, service: str, records: list[LogIn], miner: PatternMiner, width_ns: int, first_open: int) -> None:
        """Count the records of a batch; those of windows below `first_open` are late."""
        for record in records:
            number = record.timestamp // width_ns
            if number < first_open:
                self.late += 1
                continue
            window = self._open(number, service)
            if window is None:
                self.dropped += 1
            elif record.severity < WARN:
                window.ordinary += 1
            else:
                self._count(window, service, record, miner)

    def _open(self, number: int, service: str) -> OpenLogWindow | None:
        known = self.windows.get(number, {}).get(service)
        if known is not None or self.open_count >= _MAX_OPEN:
            return known
        window = self.windows.setdefault(number, {})[service] = OpenLogWindow()
        self.open_count += 1
        return window

    def _count(self, window: OpenLogWindow, service: str, record: LogIn, miner: PatternMiner) -> None:
        pattern = miner.pattern_of(service, record.logger, record.body)
        counted = window.patterns.get(pattern.id)
        if counted is None:
            if len(window.patterns) >= _MAX_PATTERNS:
                self.dropped += 1
                return
            counted = window.patterns[pattern.id] = PatternCount(logger=record.logger, template=pattern.template)
        counted.count += 1
        counted.template = pattern.template
        counted.severity = max(counted.severity, record.severity)
        if record.trace_id != NO_TRACE_ID and len(counted.trace_ids) < _EXEMPLARS:
            trace = record.trace_id.hex()
            if trace not in counted.trace_ids:
                counted.trace_ids.append(trace)

    def close(self, number: int, width_ns: int) -> dict[str, LogWindow]:
        """Take the finished windows of a window number."""
        finished = self.windows.pop(number, {})
        self.open_count -= len(finished)
        return {
            service: LogWindow(
                service=service,
                start_ns=number * width_ns,
                end_ns=(number + 1) * width_ns,
                patterns=window.patterns,
                ordinary=window.ordinary,
            )
            for service, window in sorted(finished.items())
        }

    def first_number(self) -> int | None:
        """The oldest window number that is open."""
        return min(self.windows, default=None)
