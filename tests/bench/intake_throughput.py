"""How fast intake turns OTLP into batches, next to plain protobuf parsing in the same run.

    python -m tests.bench.intake_throughput

Goals: 100,000 metric points/s and 30,000 spans/s on one core. The JSON rows are what `paramedic replay` pays.
"""

import sys
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from libs.contracts.codec import ns_from_utc
from services.intake.decode.formats import JSON, PROTOBUF
from services.intake.normalise.normaliser import Normaliser
from services.intake.recording import Recordable, to_line
from services.intake.signals import Signal

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOON_NS: Final = ns_from_utc(NOON)
SECOND_NS: Final = 1_000_000_000
CUMULATIVE: Final = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
ROUNDS: Final = 10


def attribute(key: str, value: str | int) -> KeyValue:
    """One attribute."""
    pair = KeyValue(key=key)
    if isinstance(value, str):
        pair.value.string_value = value
    else:
        pair.value.int_value = value
    return pair


def metrics(kind: str, series: int, at_s: int) -> ExportMetricsServiceRequest:
    """One export of `series` series with three attributes each."""
    request = ExportMetricsServiceRequest()
    block = request.resource_metrics.add()
    block.resource.attributes.append(attribute("service.name", "cart"))
    block.resource.attributes.append(attribute("service.instance.id", "cart-1"))
    scope = block.scope_metrics.add()
    time_ns = NOON_NS + at_s * SECOND_NS
    for number in range(series // 20):
        metric = scope.metrics.add(name=f"http.server.request.duration.{number}", unit="s")
        for route in range(20):
            attributes = [
                attribute("http.route", f"/cart/{route}"),
                attribute("http.request.method", "POST"),
                attribute("http.response.status_code", 200),
            ]
            if kind == "gauge":
                metric.gauge.data_points.add(time_unix_nano=time_ns, as_double=at_s + 0.5, attributes=attributes)
            elif kind == "counter":
                metric.sum.is_monotonic = True
                metric.sum.aggregation_temporality = CUMULATIVE
                metric.sum.data_points.add(time_unix_nano=time_ns, as_int=at_s * 7 + 1, attributes=attributes)
            else:
                metric.histogram.aggregation_temporality = CUMULATIVE
                metric.histogram.data_points.add(
                    time_unix_nano=time_ns,
                    count=15 * (at_s + 1),
                    sum=1.5 * (at_s + 1),
                    explicit_bounds=[0.005 * 1.6**step for step in range(14)],
                    bucket_counts=[at_s + 1] * 15,
                    attributes=attributes,
                )
    return request


def spans(count: int) -> ExportTraceServiceRequest:
    """One export of spans with eight attributes each."""
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.append(attribute("service.name", "cart"))
    scope = block.scope_spans.add()
    for number in range(count):
        scope.spans.add(
            trace_id=(number + 1).to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            parent_span_id=(number + 2).to_bytes(8, "big"),
            name="GET /items/{id}",
            kind=2 + number % 2,
            start_time_unix_nano=NOON_NS,
            end_time_unix_nano=NOON_NS + 1_000_000 + number,
            attributes=[
                attribute("http.request.method", "GET"),
                attribute("http.route", "/items/{id}"),
                attribute("http.response.status_code", 200),
                attribute("server.address", "catalog"),
                attribute("server.port", 8080),
                attribute("url.path", f"/items/{number % 500}"),
                attribute("user.id", f"user-{number % 300}"),
                attribute("network.protocol.version", "1.1"),
            ],
        )
    return request


def logs(count: int) -> ExportLogsServiceRequest:
    """One export of log records with three attributes each."""
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add()
    block.resource.attributes.append(attribute("service.name", "cart"))
    scope = block.scope_logs.add()
    scope.scope.name = "cart.orders"
    for number in range(count):
        record = scope.log_records.add(
            time_unix_nano=NOON_NS + number,
            trace_id=(number + 1).to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            attributes=[
                attribute("code.function.name", "order"),
                attribute("code.line.number", number % 40),
                attribute("thread.name", "worker-1"),
            ],
        )
        record.severity_text = "INFO"
        record.body.string_value = f"order {number} was placed in 12 ms"
    return request


def seconds(work: Callable[[], object]) -> float:
    """Processor time of one call: a rate per core, whatever else the machine does."""
    began = time.process_time()
    work()
    return time.process_time() - began


def measure(name: str, signal: Signal, requests: list[Message], items: int) -> None:
    """Print items/s and MB/s of parsing alone, of the whole way from protobuf, and of the way from JSON."""
    payloads = [request.SerializeToString() for request in requests]
    megabytes = sum(map(len, payloads)) / 1e6
    kind = type(requests[0])
    parse_s = seconds(lambda: [kind.FromString(payload) for payload in payloads])
    normaliser = Normaliser()
    records: list[Recordable] = []

    def whole() -> None:
        for payload in payloads:
            accepted = normaliser.emits_for_request(signal, payload, PROTOBUF, NOON)
            normaliser.commit()
            assert not accepted.rejected, accepted.reason
            records.extend(emit.record for emit in accepted.emits)  # type: ignore[misc]

    whole_s = seconds(whole)
    lines = [to_line(record).encode() for record in records]
    reader = Normaliser()
    json_s = seconds(lambda: [reader.emits_for_request(signal, line, JSON, NOON) for line in lines])
    total = items * len(payloads)
    print(
        f"{name:10} parse only {total / parse_s:12,.0f}/s {megabytes / parse_s:7.1f} MB/s | "
        f"protobuf to batches {total / whole_s:10,.0f}/s {megabytes / whole_s:6.1f} MB/s | "
        f"recorded line to batches {sum(map(len, lines)) / 1e6 / json_s:6.1f} MB/s, {len(lines)} lines"
    )


def state_bytes(kind: str) -> float:
    """Bytes that one remembered series takes."""
    payload = metrics(kind, 20_000, 0).SerializeToString()
    normaliser = Normaliser()
    tracemalloc.start()
    normaliser.emits_for_request(Signal.METRICS, payload, PROTOBUF, NOON)
    normaliser.commit()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / 20_000


def main() -> int:
    """Run every measurement."""
    for kind in ("gauge", "counter", "histogram"):
        measure(kind, Signal.METRICS, [metrics(kind, 2_000, second) for second in range(ROUNDS)], 2_000)
    measure("spans", Signal.SPANS, [spans(2_000) for _ in range(ROUNDS)], 2_000)
    measure("logs", Signal.LOGS, [logs(2_000) for _ in range(ROUNDS)], 2_000)
    for kind in ("counter", "histogram"):
        print(f"state of one {kind}: {state_bytes(kind):,.0f} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
