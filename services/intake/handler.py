"""The Collector's Kafka topics: raw OTLP in, batches out."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from libs.errors import InvalidMessage
from libs.observability.log import Logger
from libs.streaming.handler import Emit, Event
from services.intake.counters import IntakeCounters
from services.intake.decode.formats import PAYLOAD_MAX_BYTES, sniff
from services.intake.normalise.normaliser import Normaliser
from services.intake.signals import SIGNAL_OF_TOPIC

_CONTENT_TYPE: Final = "content-type"


class CollectorHandler:
    """Decodes otlp_metrics, otlp_logs and otlp_spans.

    The loop hands a batch in again when what it emitted could not be written; what the first attempt taught about
    counters is undone then. `tick` comes after a batch is written, and makes it final.

    Args:
        normaliser: Of this handler alone.
        clock: For observed_at.
        counters: Counts items.
        log: Told about refused items.
    """

    subscriptions = tuple(SIGNAL_OF_TOPIC)

    def __init__(
        self, normaliser: Normaliser, clock: Callable[[], datetime], counters: IntakeCounters, log: Logger
    ) -> None:
        self._normaliser = normaliser
        self._clock = clock
        self._counters = counters
        self._log = log
        self._undecided: set[tuple[str, int, int]] = set()

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        """Decode a batch; `InvalidMessage` for a payload that is wrong as a whole."""
        if any((event.topic, event.partition, event.offset) in self._undecided for event in events):
            self._normaliser.rollback()
            self._undecided.clear()
        emits: list[Emit] = []
        with self._normaliser.all_or_nothing():
            for event in events:
                emits.extend(self._emits(event))
        self._undecided.update((event.topic, event.partition, event.offset) for event in events)
        return emits

    def _emits(self, event: Event) -> Sequence[Emit]:
        payload, signal = event.record, SIGNAL_OF_TOPIC[event.topic]
        if not isinstance(payload, bytes):
            raise InvalidMessage(f"{event.topic} carries OTLP bytes, not {type(payload).__name__}")
        if len(payload) > PAYLOAD_MAX_BYTES:
            raise InvalidMessage(f"{len(payload)} bytes; at most {PAYLOAD_MAX_BYTES} are read")
        declared = next((value for name, value in event.headers if name.lower() == _CONTENT_TYPE), b"")
        content_type = declared.decode(errors="replace") or sniff(payload)
        accepted = self._normaliser.emits_for_request(signal, payload, content_type, self._clock())
        self._counters.count(signal, accepted)
        if accepted.rejected:
            self._log.warning(
                "items rejected",
                topic=event.topic,
                offset=event.offset,
                count=accepted.rejected,
                reason=accepted.reason,
            )
        return accepted.emits

    def tick(self, now: datetime) -> Sequence[Emit]:
        """What was handled so far is written: keep what it taught."""
        self._normaliser.commit()
        self._undecided.clear()
        return ()

    def close(self) -> None:
        """Nothing is held open."""
