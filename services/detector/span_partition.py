"""Everything that one partition of spans remembers, and what a batch of spans does to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.codec import ns_from_utc
from libs.contracts.telemetry import SpanBatch
from services.detector.detector import Detector, DetectorOptions, Feed
from services.detector.engine import Engine, StoredSubject, of_feed
from services.detector.presence import PresenceLog
from services.detector.request_window import RequestWindow
from services.detector.snapshot_codec import pack, unpack
from services.detector.span_windows import SpanColumns, SpanWindows, Target, empty_window, span_columns
from services.detector.watermark import AHEAD_NS, Watermark
from services.detector.window_clock import DueWindow, WindowClock

_FORGET_WINDOWS: Final = 720  # an hour of silence at 5 s: a renamed route or a retired callee leaves no windows behind
_MAX_TARGETS: Final = 5_000
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


class SpanPartition:
    """Spans of one partition."""

    def __init__(
        self, detectors: Sequence[Detector[Any, Any]], options: DetectorOptions, width_ns: int, lateness_ns: int
    ) -> None:
        self.engine = Engine(detectors, options)
        self._judges = of_feed(detectors, Feed.REQUESTS)
        self._width_ns, self._lateness_ns = width_ns, lateness_ns
        self.memory = SpanMemory()

    def parse(self, batch: SpanBatch) -> SpanColumns:
        """Check a batch before anything changes; `InvalidMessage` names the bad column."""
        return span_columns(batch)

    def add(self, batch: SpanBatch, columns: SpanColumns) -> list[AnomalyDetected]:
        """Count a batch and judge the windows that it completes."""
        if not len(columns.ends):
            return []
        memory, newest_ns = self.memory, int(columns.ends.max())
        trusted = memory.watermark.advance(batch.service, newest_ns, ns_from_utc(batch.observed_at))
        if newest_ns > ns_from_utc(batch.observed_at) + AHEAD_NS:
            memory.windows.dropped += len(columns.ends)
            return []
        if trusted:
            memory.presence.hear(batch.service, newest_ns, len(columns.ends), counts_items=True)
        memory.clock.begin(int(columns.ends.min()) // self._width_ns, newest_ns // self._width_ns)
        memory.windows.add(batch.service, batch.peers, columns, self._width_ns, memory.clock.next_number)
        return self._close_due(self._lateness_ns)

    def end(self) -> list[AnomalyDetected]:
        """Judge the windows that are complete in event time: nothing late will come."""
        return self._close_due(0)

    def _close_due(self, lateness_ns: int) -> list[AnomalyDetected]:
        memory, emitted = self.memory, []
        for due in memory.clock.due(memory.watermark, self._width_ns, lateness_ns, memory.windows.first_number):
            emitted.extend(self._close(due))
        return emitted

    def _close(self, due: DueWindow) -> list[AnomalyDetected]:
        finished = self.memory.windows.close(due.number, self._width_ns)
        targets = self.memory.targets
        for target in finished:
            if target in targets or len(targets) < _MAX_TARGETS:
                targets[target] = due.number
        emitted: list[AnomalyDetected] = []
        if self._is_gap(due, spoke=bool(finished)):
            return emitted
        for target in sorted(targets):
            if due.number - targets[target] > _FORGET_WINDOWS:
                del targets[target]
                continue
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

    def snapshot(self) -> bytes:
        """Everything that is remembered."""
        self.memory.subjects = self.engine.snapshot()
        content = pack(self.memory)
        self.memory.subjects = {}
        return content

    def restore(self, content: bytes) -> None:
        """Go on from a snapshot; `ValueError` when it does not fit."""
        memory = unpack(content, SpanMemory)
        self.engine.restore(memory.subjects)
        memory.subjects = {}
        self.memory = memory


def _key(service: str, peer: str) -> str:
    return f"{service}\x00{peer}"
