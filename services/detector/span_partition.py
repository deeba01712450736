"""Everything that one partition of spans remembers, and what a batch of spans does to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.codec import ns_from_utc
from libs.contracts.telemetry import SpanBatch
from services.detector.detector import Detector, DetectorOptions, Feed
from services.detector.engine import StoredSubject
from services.detector.presence import PresenceLog
from services.detector.request_window import RequestWindow
from services.detector.span_windows import SpanColumns, SpanWindows, Target, empty_window, span_columns
from services.detector.watermark import Watermark
from services.detector.window_clock import DueWindow, WindowClock
from services.detector.windowed_partition import WindowedPartition, hear, present

# A partition that had spans in every window of 30 s and then none for 30 s lost its telemetry (an exporter's outage,
# samples of traces put one after the other): services that stop by themselves do not stop all in the same window.
_SILENT_WINDOWS: Final = 6
LEVEL_GAP_NS: Final = 3600 * 1_000_000_000  # after an hour the level may have drifted


@dataclass(slots=True)
class SpanMemory:
    """What a snapshot holds of a span partition.

    Attributes:
        kind: Tells its snapshots from those of other topics.
        offset: Offset of the newest batch, -1 before the first.
        watermark: Event time.
        clock: Window that is due next.
        windows: Open windows.
        targets: Last window with requests, per service and call edge.
        spoke: Last window with requests of anybody, -1 before the first.
        spoke_run: How many windows in a row up to that one had requests.
        presence: When services were last heard of.
        subjects: What detectors know.
    """

    kind: Literal["spans"] = "spans"
    offset: int = -1
    watermark: Watermark = field(default_factory=Watermark)
    clock: WindowClock = field(default_factory=WindowClock)
    windows: SpanWindows = field(default_factory=SpanWindows)
    targets: dict[Target, int] = field(default_factory=dict)
    spoke: int = -1
    spoke_run: int = 0
    presence: PresenceLog = field(default_factory=PresenceLog)
    subjects: dict[str, dict[str, StoredSubject]] = field(default_factory=dict)


class SpanPartition(WindowedPartition[SpanMemory]):
    """Spans of one partition."""

    def __init__(
        self, detectors: Sequence[Detector[Any, Any]], options: DetectorOptions, width_ns: int, lateness_ns: int
    ) -> None:
        super().__init__(SpanMemory(), Feed.REQUESTS, detectors, options, width_ns, lateness_ns)

    def parse(self, batch: SpanBatch) -> SpanColumns:
        """Check a batch before anything changes; `InvalidMessage` names the bad column."""
        return span_columns(batch)

    def add(self, batch: SpanBatch, columns: SpanColumns) -> list[AnomalyDetected]:
        """Count a batch and judge the windows that it completes."""
        if not len(columns.ends):
            return []
        memory, newest_ns, observed_ns = self.memory, int(columns.ends.max()), ns_from_utc(batch.observed_at)
        trusted = memory.watermark.advance(batch.service, newest_ns, observed_ns)
        if self._from_the_future(newest_ns, observed_ns, len(columns.ends)):
            return []
        if trusted:
            memory.presence.hear(batch.service, newest_ns, len(columns.ends), counts_items=True)
        memory.clock.begin(int(columns.ends.min()) // self._width_ns, newest_ns // self._width_ns)
        memory.windows.add(batch.service, batch.peers, columns, self._width_ns, memory.clock.next_number)
        return self._close_due(self._lateness_ns)

    def _close(self, due: DueWindow) -> list[AnomalyDetected]:
        finished = self.memory.windows.close(due.number, self._width_ns)
        targets = self.memory.targets
        hear(targets, finished, due.number)
        emitted: list[AnomalyDetected] = []
        if self._is_gap(due, spoke=bool(finished)):
            return emitted
        for target in present(targets, due.number):
            window = finished.get(target) or empty_window(target, due.number, self._width_ns)
            if due.after_gap_ns > LEVEL_GAP_NS:
                window = replace(window, after_gap=True)
            emitted.extend(self._judge(target, window))
        return emitted

    def _is_gap(self, due: DueWindow, *, spoke: bool) -> bool:
        """Whether nobody's telemetry came then, or only for a part of the window: it tells nothing of the services.

        The windows at both ends of the silence are such parts.
        """
        memory = self.memory
        following = memory.windows.first_number()
        next_number = due.number + 1 if following is None else following
        was_dense, last = memory.spoke_run >= _SILENT_WINDOWS, memory.spoke
        if not spoke:
            return was_dense and next_number - last > _SILENT_WINDOWS
        resumed = was_dense and due.number - last > _SILENT_WINDOWS and due.after_gap_ns <= LEVEL_GAP_NS
        memory.spoke_run = memory.spoke_run + 1 if due.number == last + 1 else 1
        memory.spoke = due.number
        return resumed or (memory.spoke_run >= _SILENT_WINDOWS and next_number - due.number > _SILENT_WINDOWS)

    def _judge(self, target: Target, window: RequestWindow) -> list[AnomalyDetected]:
        service, peer = target
        key = _key(service, peer)
        return [
            anomaly for detector in self._judges for anomaly in self.engine.observe(detector, key, window, peer=peer)
        ]

    def spans_since_ns(self, service: str) -> int:
        """Since when the service's own requests have been seen as spans; 0 when they are not."""
        return (
            self.engine.known_since_ns(self._judges, _key(service, "")) if (service, "") in self.memory.targets else 0
        )


def _key(service: str, peer: str) -> str:
    return f"{service}\x00{peer}"
