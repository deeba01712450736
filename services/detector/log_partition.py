"""Everything that one partition of logs remembers, and what a batch of logs does to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.batch_rows import LogIn, logs
from libs.contracts.codec import ns_from_utc
from libs.contracts.telemetry import LogBatch
from libs.errors import InvalidMessage
from libs.observability.log_patterns import PatternMiner, PatternState
from services.detector.detector import Detector, DetectorOptions, Feed
from services.detector.engine import StoredSubject
from services.detector.log_windows import LogWindow, LogWindows
from services.detector.watermark import Watermark
from services.detector.window_clock import DueWindow, WindowClock
from services.detector.windowed_partition import WindowedPartition, hear, present


@dataclass(slots=True)
class LogMemory:
    """What a snapshot holds of a log partition.

    Attributes:
        kind: Tells its snapshots from those of other topics.
        offset: Offset of the newest batch, -1 before the first.
        watermark: Event time.
        clock: Window that is due next.
        windows: Open windows.
        services: Last window with records, per service.
        patterns: Learned patterns.
        subjects: What detectors know.
    """

    kind: Literal["logs"] = "logs"
    offset: int = -1
    watermark: Watermark = field(default_factory=Watermark)
    clock: WindowClock = field(default_factory=WindowClock)
    windows: LogWindows = field(default_factory=LogWindows)
    services: dict[str, int] = field(default_factory=dict)
    patterns: list[PatternState] = field(default_factory=list)
    subjects: dict[str, dict[str, StoredSubject]] = field(default_factory=dict)


class LogPartition(WindowedPartition[LogMemory]):
    """Logs of one partition."""

    def __init__(
        self, detectors: Sequence[Detector[Any, Any]], options: DetectorOptions, width_ns: int, lateness_ns: int
    ) -> None:
        super().__init__(LogMemory(), Feed.LOGS, detectors, options, width_ns, lateness_ns)
        self._miner = PatternMiner()

    def parse(self, batch: LogBatch) -> list[LogIn]:
        """Check a batch before anything changes; `InvalidMessage` names the bad column."""
        records = list(logs(batch))
        if any(record.timestamp < 0 for record in records):
            raise InvalidMessage("column timestamps: a time lies before 1970")
        return records

    def add(self, batch: LogBatch, records: list[LogIn]) -> list[AnomalyDetected]:
        """Count a batch and judge the windows that it completes."""
        if not records:
            return []
        memory = self.memory
        times = [record.timestamp for record in records]
        newest_ns, observed_ns = max(times), ns_from_utc(batch.observed_at)
        memory.watermark.advance(batch.service, newest_ns, observed_ns)
        if self._from_the_future(newest_ns, observed_ns, len(records)):
            return []
        memory.clock.begin(min(times) // self._width_ns, newest_ns // self._width_ns)
        memory.windows.add(batch.service, records, self._miner, self._width_ns, memory.clock.next_number)
        return self._close_due(self._lateness_ns)

    def _close(self, due: DueWindow) -> list[AnomalyDetected]:
        finished = self.memory.windows.close(due.number, self._width_ns)
        services = self.memory.services
        hear(services, finished, due.number)
        emitted: list[AnomalyDetected] = []
        for service in present(services, due.number):
            window = finished.get(service) or self._empty(service, due.number)
            for detector in self._judges:
                emitted.extend(self.engine.observe(detector, service, window))
        return emitted

    def _empty(self, service: str, number: int) -> LogWindow:
        return LogWindow(
            service=service,
            start_ns=number * self._width_ns,
            end_ns=(number + 1) * self._width_ns,
            patterns={},
            ordinary=0,
        )

    def snapshot(self) -> bytes:
        """Everything that is remembered."""
        self.memory.patterns = self._miner.snapshot()
        content = super().snapshot()
        self.memory.patterns = []
        return content

    def restore(self, content: bytes) -> None:
        """Go on from a snapshot; `ValueError` when it does not fit."""
        super().restore(content)
        self._miner = PatternMiner.restore(self.memory.patterns)
        self.memory.patterns = []
