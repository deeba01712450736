"""Answers as the OTLP specification asks: in the encoding of the request, failures as google.rpc.Status.

Source: OTLP specification, "OTLP/HTTP Response".
"""

from typing import Final

import msgspec
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from starlette.responses import Response

from services.intake.decode.formats import JSON, PROTOBUF
from services.intake.decode.runtime_messages import message_class
from services.intake.signals import Accepted, Signal

RETRY_AFTER_S: Final = 2  # a broker that restarts is back within seconds; exporters add their own back-off
_RPC_CODES: Final = {400: 3, 408: 4, 413: 3, 415: 3, 500: 13, 503: 14}  # HTTP status -> google.rpc.Code
_REJECTED_FIELDS: Final = {
    Signal.METRICS: "rejectedDataPoints",
    Signal.LOGS: "rejectedLogRecords",
    Signal.SPANS: "rejectedSpans",
}


def success(signal: Signal, accepted: Accepted, media_type: str) -> Response:
    """200, with a partial success when items were rejected."""
    if media_type == JSON:
        found: dict[str, object] = {}
        if accepted.rejected:
            count = {_REJECTED_FIELDS[signal]: str(accepted.rejected)}
            found["partialSuccess"] = {**count, "errorMessage": accepted.reason}
        return Response(msgspec.json.encode(found), media_type=JSON)
    return Response(_protobuf_success(signal, accepted), media_type=media_type)


def _protobuf_success(signal: Signal, accepted: Accepted) -> bytes:
    if signal is Signal.METRICS:
        metrics = ExportMetricsServiceResponse()
        if accepted.rejected:
            metrics.partial_success.rejected_data_points = accepted.rejected
            metrics.partial_success.error_message = accepted.reason
        return metrics.SerializeToString()
    if signal is Signal.LOGS:
        logs = ExportLogsServiceResponse()
        if accepted.rejected:
            logs.partial_success.rejected_log_records = accepted.rejected
            logs.partial_success.error_message = accepted.reason
        return logs.SerializeToString()
    spans = ExportTraceServiceResponse()
    if accepted.rejected:
        spans.partial_success.rejected_spans = accepted.rejected
        spans.partial_success.error_message = accepted.reason
    return spans.SerializeToString()


def changes_success(accepted: Accepted) -> Response:
    """200 with the ids of the changes, so that a script can refer to them."""
    ids = [getattr(emit.record, "id", "") for emit in accepted.emits]
    return Response(msgspec.json.encode({"ids": ids}), media_type=JSON)


def written(accepted: Accepted) -> Response:
    """The answer to a remote write: 204; 400 with the reasons when not one sample could be used."""
    if accepted.rejected and not accepted.accepted and not accepted.skipped:
        return Response(accepted.reason, status_code=400, media_type="text/plain")
    return Response(status_code=204)


def failure(status: int, reason: str, media_type: str) -> Response:
    """A failure as google.rpc.Status in the request's encoding, JSON when that is unknown; 503 says when to retry."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}
    code = _RPC_CODES[status]
    if media_type in (PROTOBUF, "application/protobuf"):
        body = message_class("Status")(code=code, message=reason).SerializeToString()
        return Response(body, status_code=status, headers=headers, media_type=media_type)
    if media_type == "text/plain":
        return Response(reason, status_code=status, headers=headers, media_type=media_type)
    found = msgspec.json.encode({"code": code, "message": reason})
    return Response(found, status_code=status, headers=headers, media_type=JSON)
