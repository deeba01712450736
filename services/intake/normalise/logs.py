"""Log records become columns; the event `paramedic.change` becomes a change event."""

from datetime import datetime
from typing import Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from libs.contracts.batch_rows import NO_SPAN_ID, NO_TRACE_ID, SPAN_ID_BYTES, TRACE_ID_BYTES, LogIn
from libs.contracts.batches import LogBatchBuilder
from libs.contracts.telemetry import ChangeEvent, LogBatch
from libs.errors import InvalidMessage
from services.intake.normalise.attributes import (
    BODY_MAX_BYTES,
    VALUE_MAX_BYTES,
    any_text,
    any_value,
    attributes_of,
    bounded,
    cut,
)
from services.intake.normalise.changes import CHANGE_EVENT, change_of, posted_change
from services.intake.normalise.peers import take_user
from services.intake.normalise.resources import resource_of
from services.intake.signals import Tally

_SEVERITY_MAX: Final = 24
EVENT_NAME: Final = "event.name"
# Source: OpenTelemetry logs data model, "Severity fields" and its appendix of other systems' levels.
_SEVERITIES: Final = {
    "TRACE": 1,
    "DEBUG": 5,
    "INFO": 9,
    "INFORMATION": 9,
    "INFORMATIONAL": 9,
    "NOTICE": 10,
    "WARN": 13,
    "WARNING": 13,
    "ERROR": 17,
    "ERR": 17,
    "SEVERE": 17,
    "CRITICAL": 21,
    "CRIT": 21,
    "ALERT": 22,
    "EMERGENCY": 24,
    "EMERG": 24,
    "PANIC": 24,
    "FATAL": 21,
}


def log_batches(
    request: ExportLogsServiceRequest, observed_at: datetime, tally: Tally, change_tally: Tally
) -> tuple[list[LogBatch], list[ChangeEvent]]:
    """Batches of every resource of a request, in order, and the changes among the records.

    Args:
        request: Decoded request.
        observed_at: When it was received.
        tally: Counts records.
        change_tally: Counts changes; they may be older than telemetry.
    """
    batches: list[LogBatch] = []
    changes: list[ChangeEvent] = []
    for block in request.resource_logs:
        resource = resource_of(block.resource)
        builder = LogBatchBuilder(resource.service, resource.attributes, observed_at)
        for scope in block.scope_logs:
            logger = cut(scope.scope.name, VALUE_MAX_BYTES)
            for record in scope.log_records:
                if record.event_name == CHANGE_EVENT:
                    _write_change(record, resource.service, observed_at, changes, change_tally)
                else:
                    _write(record, logger, builder, tally)
        batches += builder.build()
    return batches, changes


def _write(record: LogRecord, logger: str, builder: LogBatchBuilder, tally: Tally) -> None:
    time_ns = record.time_unix_nano or record.observed_time_unix_nano
    if not tally.earliest_ns <= time_ns <= tally.latest_ns:
        tally.reject_time(time_ns, logger or "log record")
        return
    try:
        builder.add(_row(record, time_ns, logger))
    except InvalidMessage as error:
        tally.reject(str(error), logger or "log record")
        return
    tally.accepted += 1


def _row(record: LogRecord, time_ns: int, logger: str) -> LogIn:
    attributes = attributes_of(record.attributes)
    user = take_user(attributes)
    if record.event_name:
        attributes.setdefault(EVENT_NAME, cut(record.event_name, VALUE_MAX_BYTES))
    return LogIn(
        timestamp=time_ns,
        severity=severity_of(int(record.severity_number), record.severity_text),
        body=cut(record.body.string_value or any_text(record.body), BODY_MAX_BYTES),
        trace_id=_trace_id(record.trace_id),
        span_id=record.span_id if len(record.span_id) == SPAN_ID_BYTES else NO_SPAN_ID,
        logger=logger,
        user=user,
        attributes=bounded(attributes),
    )


def _trace_id(trace_id: bytes) -> bytes:
    """A log record is worth keeping without its trace: a malformed id becomes none."""
    return trace_id if len(trace_id) == TRACE_ID_BYTES else NO_TRACE_ID


def severity_of(number: int, text: str) -> int:
    """OTLP SeverityNumber from the number, else from the text of the level (ERROR, warn, INFO2); 0 when unknown."""
    if 0 < number <= _SEVERITY_MAX:
        return number
    level = text.strip().upper()[:20]
    if level[-1:] in ("2", "3", "4") and level[:-1] in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"):
        return _SEVERITIES[level[:-1]] + int(level[-1]) - 1
    return _SEVERITIES.get(level, 0)


def _write_change(
    record: LogRecord, service: str, observed_at: datetime, changes: list[ChangeEvent], tally: Tally
) -> None:
    time_ns = record.time_unix_nano or record.observed_time_unix_nano
    if not tally.earliest_ns <= time_ns <= tally.latest_ns:
        tally.reject_time(time_ns, f"change of {service}")
        return
    try:
        changes.append(change_of(posted_change(any_value(record.body), service, time_ns), observed_at))
    except InvalidMessage as error:
        tally.reject(str(error), f"change of {service}")
        return
    tally.accepted += 1
