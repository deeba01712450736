"""The functional core of intake: payload in, batches out; no clock, and no state but what counters last said."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from libs.contracts.codec import ns_from_utc
from libs.contracts.telemetry import ChangeEvent
from libs.contracts.topics import CHANGES, TELEMETRY_LOGS, TELEMETRY_METRICS, TELEMETRY_SPANS
from libs.errors import InvalidMessage
from libs.streaming.handler import Emit
from services.intake.decode.formats import Changes, Decoded, format_for
from services.intake.normalise.changes import change_of
from services.intake.normalise.logs import log_batches
from services.intake.normalise.metrics import MetricStates, metric_batches
from services.intake.normalise.series_state import SERIES_MAX
from services.intake.normalise.spans import span_batches
from services.intake.signals import CHANGE_PAST_NS, PAST_NS, Accepted, Signal, Tally


class Normaliser:
    """Turns requests of any format into batches. For one thread.

    Args:
        capacity: Cumulative series remembered per kind (sums, histograms).
        past_ns: Oldest accepted event time before the receipt; a recording may be as old as it likes.
    """

    def __init__(self, capacity: int = SERIES_MAX, *, past_ns: int = PAST_NS) -> None:
        self._states = MetricStates(capacity)
        self._past_ns = past_ns

    def emits_for_request(self, signal: Signal, payload: bytes, content_type: str, observed_at: datetime) -> Accepted:
        """Decode and normalise one request; nothing is remembered when it raises.

        Args:
            signal: What the payload carries.
            payload: Body, without content encoding.
            content_type: Media type of the body; parameters are ignored.
            observed_at: When it was received.
        Raises:
            InvalidMessage: the whole request is wrong, or no format reads this content type.
        """
        decoded = format_for(signal, content_type).decode(signal, payload)
        with self._states.all_or_nothing():
            return self._normalise(decoded, observed_at)

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Forget what the requests of the block taught when it raises."""
        with self._states.all_or_nothing():
            yield

    def commit(self) -> None:
        """What the requests so far emitted is written: keep what they taught about cumulative series."""
        self._states.commit()

    def rollback(self) -> None:
        """What the requests since the last commit emitted is not written and will come again: forget them."""
        self._states.rollback()

    def _normalise(self, decoded: Decoded, observed_at: datetime) -> Accepted:
        tally = Tally(observed_at, self._past_ns)
        for reason, example, count in decoded.rejected:
            tally.reject(reason, example, count)
        request = decoded.request
        if isinstance(request, Changes):
            return self._changes(request, observed_at)
        if isinstance(request, ExportMetricsServiceRequest):
            metrics = metric_batches(request, observed_at, self._states, tally)
            return _accepted([Emit(topic=TELEMETRY_METRICS, key=b.service, record=b) for b in metrics], tally)
        if isinstance(request, ExportLogsServiceRequest):
            change_tally = Tally(observed_at, max(self._past_ns, CHANGE_PAST_NS))
            logs, changes = log_batches(request, observed_at, tally, change_tally)
            emits = [Emit(topic=TELEMETRY_LOGS, key=batch.service, record=batch) for batch in logs]
            return _accepted(emits + _change_emits(changes), tally, change_tally)
        spans = span_batches(request, observed_at, tally)
        return _accepted([Emit(topic=TELEMETRY_SPANS, key=batch.service, record=batch) for batch in spans], tally)

    def _changes(self, request: Changes, observed_at: datetime) -> Accepted:
        """Changes are all or nothing: their senders are scripts that look at the status code and at nothing else."""
        tally = Tally(observed_at, max(self._past_ns, CHANGE_PAST_NS))
        changes = [change_of(posted, observed_at) for posted in request.posted]
        for change in changes:
            time_ns = ns_from_utc(change.timestamp)
            if not tally.earliest_ns <= time_ns <= tally.latest_ns:
                tally.reject_time(time_ns, change.timestamp.isoformat())
                raise InvalidMessage(tally.reason)
        tally.accepted = len(changes)
        return _accepted(_change_emits(changes), tally)


def _change_emits(changes: Sequence[ChangeEvent]) -> list[Emit]:
    return [Emit(topic=CHANGES, key=change.service, record=change) for change in changes]


def _accepted(emits: Sequence[Emit], *tallies: Tally) -> Accepted:
    return Accepted(
        emits=tuple(emits),
        accepted=sum(tally.accepted for tally in tallies),
        rejected=sum(tally.rejected for tally in tallies),
        skipped=sum(tally.skipped for tally in tallies),
        reason="; ".join(tally.reason for tally in tallies if tally.rejected),
    )
