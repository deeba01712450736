"""OTLP as protobuf: what SDKs and the Collector send by default."""

from typing import Final

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from libs.errors import InvalidMessage
from services.intake.decode.formats import PROTOBUF, Decoded, Format
from services.intake.signals import Signal

REQUESTS: Final[
    dict[Signal, type[ExportMetricsServiceRequest | ExportLogsServiceRequest | ExportTraceServiceRequest]]
] = {
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
    Signal.SPANS: ExportTraceServiceRequest,
}


def decode(signal: Signal, payload: bytes) -> Decoded:
    """Parse a request; an empty payload is an empty request."""
    try:
        return Decoded(request=REQUESTS[signal].FromString(payload))
    except DecodeError as error:
        raise InvalidMessage(f"malformed OTLP protobuf ({signal}, {len(payload)} bytes): {error}") from error


FORMAT: Final = Format(
    name="otlp_proto",
    signals=frozenset(REQUESTS),
    content_types=frozenset({PROTOBUF, "application/protobuf"}),
    decode=decode,
)
