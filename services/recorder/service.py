"""Recorder: writes telemetry and changes to the telemetry store, and forgets what is older than the retention."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from libs.contracts.telemetry import ChangeEvent, LogBatch, MetricBatch, SpanBatch
from libs.errors import InvalidMessage
from libs.observability.log import Logger
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.stores.telemetry import TelemetryStore
from libs.streaming.handler import Emit, Event
from libs.streaming.loop import Loop, LoopOptions

SUBSCRIPTIONS: Final = ("telemetry-metrics", "telemetry-logs", "telemetry-spans", "changes")
# Pruning is due when a hundredth of the retention has passed, within these bounds: often enough that the file stays
# within 1 % of its size, seldom enough that it costs nothing.
_PRUNE_SHARE: Final = 0.01
_PRUNE_LEAST_S: Final = 1.0
_PRUNE_MOST_S: Final = 60.0


class RecorderHandler:
    """Writes each batch of messages in one transaction; emits nothing.

    Args:
        store: Where telemetry goes.
        retention_s: How long telemetry stays queryable, in event time.
        log: Canonical log.
    """

    def __init__(self, store: TelemetryStore, *, retention_s: float, log: Logger) -> None:
        self._store = store
        self._log = log
        self._retention_ns = round(retention_s * 1e9)
        step_s = min(max(retention_s * _PRUNE_SHARE, _PRUNE_LEAST_S), _PRUNE_MOST_S)
        self._prune_step_ns = round(step_s * 1e9)
        self._pruned_at_ns = 0

    @property
    def subscriptions(self) -> Sequence[str]:
        """Every telemetry topic, and changes."""
        return SUBSCRIPTIONS

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        """Store the batch; `InvalidMessage` leaves nothing of it stored."""
        metrics: list[MetricBatch] = []
        logs: list[LogBatch] = []
        spans: list[SpanBatch] = []
        changes: list[ChangeEvent] = []
        for event in events:
            match event.record:
                case MetricBatch() as record:
                    metrics.append(record)
                case LogBatch() as record:
                    logs.append(record)
                case SpanBatch() as record:
                    spans.append(record)
                case ChangeEvent() as record:
                    changes.append(record)
                case other:
                    raise InvalidMessage(f"{event.topic}: the recorder does not record a {type(other).__name__}")
        self._store.write(metrics=metrics, logs=logs, spans=spans, changes=changes)
        return ()

    def tick(self, now: datetime) -> Sequence[Emit]:
        """Prune when it is due by event time; the wall clock has no say."""
        watermark_ns = self._store.watermark_ns()
        if watermark_ns - self._pruned_at_ns < self._prune_step_ns:
            return ()
        before_ns = watermark_ns - self._retention_ns
        if before_ns > 0:
            removed = self._store.prune(before_ns)
            if removed:
                self._log.info("pruned", rows=removed, before_ns=before_ns)
        self._pruned_at_ns = watermark_ns
        return ()

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()


def handler(settings: Settings, platform: Platform) -> RecorderHandler:
    """The recorder over the platform's telemetry store."""
    return RecorderHandler(platform.telemetry, retention_s=settings.telemetry_retention_s, log=platform.log)


def build(settings: Settings, platform: Platform) -> Loop:
    """The recorder as a running service."""
    return Loop(
        handler(settings, platform),
        platform.broker,
        platform.codec,
        LoopOptions(group="recorder"),
        log=platform.log,
        metrics=platform.metrics,
    )
