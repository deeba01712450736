"""Batches and changes as OTLP/JSON objects: the writing half of a recording."""

from collections.abc import Mapping
from itertools import groupby
from typing import Any

from libs.contracts.batch_rows import NO_SPAN_ID, NO_TRACE_ID, LogIn, SpanIn, logs, metric_points, spans
from libs.contracts.codec import to_fields
from libs.contracts.telemetry import ChangeEvent, LogBatch, MetricBatch, MetricSeries, SpanBatch
from services.intake.normalise.peers import PEER, USER
from services.intake.normalise.points import STATISTIC

Json = dict[str, Any]


def metric_line(batch: MetricBatch) -> Json:
    """Points as gauges; neighbours of one series share a metric, so the order of the points is kept."""
    metrics: list[Json] = []
    for _, run in groupby(metric_points(batch), key=lambda point: id(point[0])):
        points = list(run)
        series = points[0][0]
        attributes = _series_attributes(series)
        metrics.append(
            {
                "name": series.name,
                "unit": series.unit,
                "gauge": {
                    "dataPoints": [
                        {"timeUnixNano": str(time_ns), "asDouble": value, "attributes": attributes}
                        for _, time_ns, value in points
                    ]
                },
            }
        )
    return {"resourceMetrics": [{"resource": _resource(batch), "scopeMetrics": [{"metrics": metrics}]}]}


def _series_attributes(series: MetricSeries) -> list[Json]:
    attributes = dict(series.attributes)
    if series.statistic != "value":
        attributes[STATISTIC] = series.statistic
    return _attributes(attributes)


def span_line(batch: SpanBatch) -> Json:
    """Spans; peer and user as attributes again."""
    scope = {"spans": [_span(row) for row in spans(batch)]}
    return {"resourceSpans": [{"resource": _resource(batch), "scopeSpans": [scope]}]}


def _span(row: SpanIn) -> Json:
    attributes = dict(row.attributes)
    if row.peer:
        attributes[PEER] = row.peer
    if row.user:
        attributes[USER] = row.user
    found: Json = {
        "traceId": row.trace_id.hex(),
        "spanId": row.span_id.hex(),
        "name": row.name,
        "kind": row.kind,
        "startTimeUnixNano": str(row.start),
        "endTimeUnixNano": str(row.start + row.duration),
        "attributes": _attributes(attributes),
        "status": {"code": row.status},
    }
    if row.parent_span_id != NO_SPAN_ID:
        found["parentSpanId"] = row.parent_span_id.hex()
    if row.events:
        found["events"] = [
            {
                "name": event.name,
                "timeUnixNano": str(event.timestamp),
                "attributes": _attributes(event.attributes),
            }
            for event in row.events
        ]
    return found


def log_line(batch: LogBatch) -> Json:
    """Log records; neighbours of one logger share a scope, so the order of the records is kept."""
    scopes = [
        {"scope": {"name": logger}, "logRecords": [_log(row) for row in run]}
        for logger, run in groupby(logs(batch), key=lambda row: row.logger)
    ]
    return {"resourceLogs": [{"resource": _resource(batch), "scopeLogs": scopes}]}


def _log(row: LogIn) -> Json:
    attributes = dict(row.attributes)
    if row.user:
        attributes[USER] = row.user
    found: Json = {
        "timeUnixNano": str(row.timestamp),
        "severityNumber": row.severity,
        "body": {"stringValue": row.body},
        "attributes": _attributes(attributes),
    }
    if row.trace_id != NO_TRACE_ID:
        found["traceId"] = row.trace_id.hex()
    if row.span_id != NO_SPAN_ID:
        found["spanId"] = row.span_id.hex()
    return found


def change_line(change: ChangeEvent) -> Json:
    """A change as it is posted: {"change": {...}}."""
    return {"change": {key: value for key, value in to_fields(change).items() if value is not None}}


def _resource(batch: MetricBatch | SpanBatch | LogBatch) -> Json:
    return {"attributes": _attributes({"service.name": batch.service, **batch.resource})}


def _attributes(attributes: Mapping[str, str]) -> list[Json]:
    return [{"key": key, "value": {"stringValue": text}} for key, text in attributes.items()]
