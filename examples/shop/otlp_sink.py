"""Receive what the shop sends and keep it readable: for tests, and for looking at a trace as a tree."""

import argparse
import json
import threading
import time
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

_KEPT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanEvent:
    """An event of a span; an exception is one."""

    name: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenSpan:
    """One span with its resource; times in seconds since the epoch."""

    resource: dict[str, Any]
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_s: float
    end_s: float
    failed: bool
    attributes: dict[str, Any]
    events: tuple[SpanEvent, ...]

    @property
    def service(self) -> str:
        """`service.name`."""
        return str(self.resource.get("service.name", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLog:
    """One log record with its resource."""

    resource: dict[str, Any]
    logger: str
    severity: str
    body: str
    trace_id: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPoint:
    """One point of a metric; a histogram's value is its sum and `count` its number of measurements."""

    resource: dict[str, Any]
    name: str
    unit: str
    attributes: dict[str, Any]
    value: float
    count: int


class OtlpSink:
    """An OTLP/HTTP endpoint on a free port that keeps the newest of everything in memory."""

    def __init__(self, port: int = 0) -> None:
        self.spans: deque[SeenSpan] = deque(maxlen=_KEPT)
        self.logs: deque[SeenLog] = deque(maxlen=_KEPT)
        self.points: deque[SeenPoint] = deque(maxlen=_KEPT)
        self.changes: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        """Base URL for OTEL_EXPORTER_OTLP_ENDPOINT."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, body: bytes) -> None:
        """Keep one request.

        Raises:
            LookupError: nobody lives at this path.
            ValueError: the body is malformed.
        """
        if path == "/v1/changes":
            self.changes.append(json.loads(body))
            return
        try:
            if path == "/v1/traces":
                self._take_spans(ExportTraceServiceRequest.FromString(body))
            elif path == "/v1/logs":
                self._take_logs(ExportLogsServiceRequest.FromString(body))
            elif path == "/v1/metrics":
                self._take_points(ExportMetricsServiceRequest.FromString(body))
            else:
                raise LookupError(path)
        except DecodeError as error:
            raise ValueError(str(error)) from error

    def _take_spans(self, request: ExportTraceServiceRequest) -> None:
        for group in request.resource_spans:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans.append(_span(span, resource))

    def _take_logs(self, request: ExportLogsServiceRequest) -> None:
        for group in request.resource_logs:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_logs:
                for record in scope.log_records:
                    self.logs.append(
                        SeenLog(
                            resource=resource,
                            logger=scope.scope.name,
                            severity=record.severity_text,
                            body=str(_value(record.body)),
                            trace_id=record.trace_id.hex(),
                            attributes=_attributes(record.attributes),
                        )
                    )

    def _take_points(self, request: ExportMetricsServiceRequest) -> None:
        for group in request.resource_metrics:
            resource = _attributes(group.resource.attributes)
            for scope in group.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data") or "gauge"
                    for point in getattr(metric, kind).data_points:
                        value = point.sum if kind == "histogram" else point.as_double or float(point.as_int)
                        self.points.append(
                            SeenPoint(
                                resource=resource,
                                name=metric.name,
                                unit=metric.unit,
                                attributes=_attributes(point.attributes),
                                value=value,
                                count=point.count if kind == "histogram" else 1,
                            )
                        )


def trace_tree(spans: list[SeenSpan]) -> str:
    """One trace as an indented tree: service, name, milliseconds, attributes, exceptions."""
    ids = {span.span_id for span in spans}
    lines: list[str] = []

    def show(span: SeenSpan, depth: int) -> None:
        attributes = " ".join(f"{key}={value}" for key, value in sorted(span.attributes.items()))
        mark = " FAILED" if span.failed else ""
        took_ms = (span.end_s - span.start_s) * 1000
        who = f"{span.service}/{span.resource.get('service.instance.id')}"
        lines.append(f"{'  ' * depth}{who} {span.kind} [{span.name}] {took_ms:.1f} ms{mark} {attributes}")
        for event in span.events:
            told = event.attributes
            lines.append(f"{'  ' * depth}  ! {told.get('exception.type')}: {told.get('exception.message')}")
        for child in sorted(spans, key=lambda one: one.start_s):
            if child.parent_id == span.span_id:
                show(child, depth + 1)

    for root in spans:
        if root.parent_id not in ids:
            show(root, 0)
    return "\n".join(lines)


def _span(span: Span, resource: dict[str, Any]) -> SeenSpan:
    return SeenSpan(
        resource=resource,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        start_s=span.start_time_unix_nano / 1e9,
        end_s=span.end_time_unix_nano / 1e9,
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        attributes=_attributes(span.attributes),
        events=tuple(SpanEvent(name=event.name, attributes=_attributes(event.attributes)) for event in span.events),
    )


def _attributes(pairs: "list[KeyValue] | Any") -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)


def _handler_of(sink: OtlpSink) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            status = 200
            try:
                sink.take(self.path, body)
            except LookupError:
                status = 404
            except ValueError:
                status = 400
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: a line per request would drown the tree."""

    return Handler


def main() -> None:
    """Listen, and print one trace of the wanted kind as soon as it is complete."""
    parser = argparse.ArgumentParser(prog="python -m examples.shop.otlp_sink", description=__doc__)
    parser.add_argument("--port", type=int, default=4318)
    parser.add_argument("--root", default="POST /checkout", help="name of the root span to wait for")
    told = parser.parse_args()
    sink = OtlpSink(told.port)
    print(f"listening on {sink.endpoint}, waiting for [{told.root}]", flush=True)
    try:
        while not (roots := [s for s in list(sink.spans) if s.name == told.root and not s.parent_id]):
            time.sleep(0.5)
        time.sleep(3.0)  # the batches of the other processes follow within two seconds
        print(trace_tree([span for span in list(sink.spans) if span.trace_id == roots[0].trace_id]))
    except KeyboardInterrupt:
        print("interrupted")
    finally:
        sink.close()


if __name__ == "__main__":
    main()
