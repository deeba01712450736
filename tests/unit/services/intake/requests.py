"""OTLP requests in few words, for the tests of intake."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from libs.contracts.batch_rows import LogIn, SpanIn, logs, metric_points, spans
from libs.contracts.codec import ns_from_utc
from libs.contracts.telemetry import LogBatch, MetricBatch, SpanBatch
from services.intake.decode.formats import PROTOBUF
from services.intake.normalise.normaliser import Normaliser
from services.intake.signals import Accepted, Signal

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOON_NS = ns_from_utc(NOON)
SECOND = 1_000_000_000
CUMULATIVE: Any = 2
DELTA: Any = 1
TRACE = bytes(range(16))
SPAN = bytes(range(8, 16))

Request = ExportMetricsServiceRequest | ExportLogsServiceRequest | ExportTraceServiceRequest


def attributes(**pairs: str | int | float | bool) -> list[KeyValue]:
    """Attributes; a double underscore in a name stands for a dot."""
    found = []
    for key, value in pairs.items():
        pair = KeyValue(key=key.replace("__", "."))
        if isinstance(value, bool):
            pair.value.bool_value = value
        elif isinstance(value, int):
            pair.value.int_value = value
        elif isinstance(value, float):
            pair.value.double_value = value
        else:
            pair.value.string_value = value
        found.append(pair)
    return found


def metrics(*wanted: Metric, service: str = "cart") -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    block = request.resource_metrics.add()
    if service:
        block.resource.attributes.extend(attributes(service__name=service))
    block.scope_metrics.add().metrics.extend(wanted)
    return request


def gauge(value: float, at_s: float = 0.0, name: str = "queue.size", unit: str = "", **pairs: str) -> Metric:
    metric = Metric(name=name, unit=unit)
    metric.gauge.data_points.add(time_unix_nano=at(at_s), as_double=value, attributes=attributes(**pairs))
    return metric


def counter(
    value: float,
    at_s: float,
    *,
    start_s: float | None = None,
    temporality: Any = CUMULATIVE,
    monotonic: bool = True,
    unit: str = "{request}",
) -> Metric:
    metric = Metric(name="requests", unit=unit)
    metric.sum.is_monotonic = monotonic
    metric.sum.aggregation_temporality = temporality
    metric.sum.data_points.add(
        time_unix_nano=at(at_s), start_time_unix_nano=0 if start_s is None else at(start_s), as_double=value
    )
    return metric


def histogram(
    counts: Sequence[int],
    at_s: float,
    *,
    bounds: Sequence[float] = (0.1, 0.2, 0.4),
    total: float | None = None,
    start_s: float | None = None,
    temporality: Any = CUMULATIVE,
    greatest: float | None = None,
) -> Metric:
    metric = Metric(name="duration", unit="s")
    metric.histogram.aggregation_temporality = temporality
    point = metric.histogram.data_points.add(
        time_unix_nano=at(at_s),
        start_time_unix_nano=0 if start_s is None else at(start_s),
        count=sum(counts),
        bucket_counts=counts,
        explicit_bounds=bounds,
    )
    if total is not None:
        point.sum = total
    if greatest is not None:
        point.max = greatest
    return metric


def at(seconds: float) -> int:
    """Unix nanoseconds of a moment, seconds after noon."""
    return NOON_NS + round(seconds * SECOND)


def send(normaliser: Normaliser, request: Request, signal: Signal = Signal.METRICS) -> Accepted:
    return normaliser.emits_for_request(signal, request.SerializeToString(), PROTOBUF, NOON)


def send_metrics(normaliser: Normaliser, *wanted: Metric) -> Accepted:
    return send(normaliser, metrics(*wanted))


def values(accepted: Accepted) -> dict[tuple[str, str], list[float]]:
    """Values by metric name and statistic."""
    found: dict[tuple[str, str], list[float]] = {}
    for emit in accepted.emits:
        assert isinstance(emit.record, MetricBatch)
        for series, _, value in metric_points(emit.record):
            found.setdefault((series.name, series.statistic), []).append(value)
    return found


def units(accepted: Accepted) -> dict[tuple[str, str], str]:
    """Units by metric name and statistic."""
    found = {}
    for emit in accepted.emits:
        assert isinstance(emit.record, MetricBatch)
        for series in emit.record.series:
            found[series.name, series.statistic] = series.unit
    return found


def span(**fields: Any) -> ExportTraceServiceRequest:
    """A request of one span; `pairs` are its attributes."""
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.extend(attributes(service__name="cart", service__version="1.2"))
    pairs: Mapping[str, Any] = fields.pop("pairs", {})
    defaults = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "name": "GET /",
        "kind": 2,
        "start_time_unix_nano": at(0),
        "end_time_unix_nano": at(1),
    }
    block.scope_spans.add().spans.add(**{**defaults, **fields}, attributes=attributes(**pairs))
    return request


def spans_of(accepted: Accepted) -> list[SpanIn]:
    found: list[SpanIn] = []
    for emit in accepted.emits:
        assert isinstance(emit.record, SpanBatch)
        found += spans(emit.record)
    return found


def log(**fields: Any) -> ExportLogsServiceRequest:
    """A request of one log record; `body` is its text, `pairs` are its attributes."""
    request = ExportLogsServiceRequest()
    block = request.resource_logs.add()
    block.resource.attributes.extend(attributes(service__name="cart"))
    scope = block.scope_logs.add()
    scope.scope.name = fields.pop("logger", "cart.orders")
    pairs: Mapping[str, Any] = fields.pop("pairs", {})
    body = fields.pop("body", "order placed")
    record = scope.log_records.add(**{"time_unix_nano": at(0), **fields}, attributes=attributes(**pairs))
    record.body.string_value = body
    return request


def logs_of(accepted: Accepted) -> list[LogIn]:
    found: list[LogIn] = []
    for emit in accepted.emits:
        assert isinstance(emit.record, LogBatch)
        found += logs(emit.record)
    return found
