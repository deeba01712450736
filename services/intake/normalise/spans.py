"""Spans become columns."""

from datetime import datetime
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from libs.contracts.batch_rows import NO_SPAN_ID, NO_TRACE_ID, SPAN_ID_BYTES, TRACE_ID_BYTES, EventIn, SpanIn
from libs.contracts.batches import SpanBatchBuilder
from libs.contracts.telemetry import SpanBatch
from libs.errors import InvalidMessage
from services.intake.normalise.attributes import VALUE_MAX_BYTES, attributes_of, bounded, cut
from services.intake.normalise.peers import status_of, take_peer, take_user
from services.intake.normalise.resources import resource_of
from services.intake.signals import Tally

_KIND_MAX: Final = 5
_STATUS_MAX: Final = 2
EVENTS_MAX: Final = 128  # the default limit of the SDK specification


def span_batches(request: ExportTraceServiceRequest, observed_at: datetime, tally: Tally) -> list[SpanBatch]:
    """Batches of every resource of a request, in order."""
    batches: list[SpanBatch] = []
    for block in request.resource_spans:
        resource = resource_of(block.resource)
        builder = SpanBatchBuilder(resource.service, resource.attributes, observed_at)
        for scope in block.scope_spans:
            for span in scope.spans:
                _write(span, builder, tally)
        batches += builder.build()
    return batches


def _write(span: Span, builder: SpanBatchBuilder, tally: Tally) -> None:
    end_ns = span.end_time_unix_nano
    if not tally.earliest_ns <= end_ns <= tally.latest_ns:
        tally.reject_time(end_ns, span.name)
        return
    try:
        builder.add(_row(span, end_ns))
    except InvalidMessage as error:
        tally.reject(str(error), span.name)
        return
    tally.accepted += 1


def _row(span: Span, end_ns: int) -> SpanIn:
    start_ns = span.start_time_unix_nano
    if start_ns > end_ns:
        raise InvalidMessage("ends before it starts")
    if not start_ns:
        raise InvalidMessage("no start time")
    trace_id, span_id, parent_span_id = span.trace_id, span.span_id, span.parent_span_id
    if len(trace_id) != TRACE_ID_BYTES or trace_id == NO_TRACE_ID:
        raise InvalidMessage("trace id is not 16 bytes, or zero")
    if len(span_id) != SPAN_ID_BYTES or span_id == NO_SPAN_ID:
        raise InvalidMessage("span id is not 8 bytes, or zero")
    if len(parent_span_id) not in (0, SPAN_ID_BYTES):
        raise InvalidMessage("parent span id is not 8 bytes")
    kind, status = int(span.kind), int(span.status.code)
    kind = kind if 0 <= kind <= _KIND_MAX else 0
    attributes = attributes_of(span.attributes)
    peer, user = take_peer(attributes, kind), take_user(attributes)
    if span.status.message:
        attributes.setdefault("status.message", cut(span.status.message, VALUE_MAX_BYTES))
    return SpanIn(
        trace_id=trace_id,
        span_id=span_id,
        parent_span_id=parent_span_id or NO_SPAN_ID,
        start=start_ns,
        duration=end_ns - start_ns,
        kind=kind,
        status=status_of(status if 0 <= status <= _STATUS_MAX else 0, kind, attributes),
        name=cut(span.name, VALUE_MAX_BYTES),
        peer=cut(peer, VALUE_MAX_BYTES),
        user=user,
        attributes=bounded(attributes),
        events=tuple(_event(event, start_ns) for event in span.events[:EVENTS_MAX]) if span.events else (),
    )


def _event(event: Span.Event, start_ns: int) -> EventIn:
    """An event of a span; a time that is missing or beyond int64 becomes the span's start."""
    time_ns = event.time_unix_nano
    return EventIn(
        name=cut(event.name, VALUE_MAX_BYTES),
        timestamp=time_ns if 0 < time_ns < 2**63 else start_ns,
        attributes=bounded(attributes_of(event.attributes)),
    )
