"""Send traces, metrics and logs of one process by OTLP over HTTP, cheaply and without ever disturbing its work."""

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass

import psutil
from opentelemetry import baggage, context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from examples.shop.code_places import current_code_place
from examples.shop.launch import Launch

USER_ID = "user.id"
_OWN_USER_KEY = context.create_key("shop-user-id")
MEMORY_LIMIT_BYTES = 256 * 1024 * 1024

_BATCH_DELAY_MS = 1000  # telemetry younger than two seconds, at one request per signal and second
_METRIC_INTERVAL_MS = 5000
_EXPORT_TIMEOUT_S = 5.0
_FLUSH_TIMEOUT_MS = 1500
_PROCESS_METRICS = ("process.memory.usage", "process.cpu.utilization", "process.thread.count")
# what repeats the spans (client durations) or says nothing here (body sizes, row counts) is not exported
_DROPPED = (
    "http.server.request.body.size",
    "http.server.response.body.size",
    "http.client.request.duration",
    "db.client.response.returned_rows",
)


class CarryUserAndCode(SpanProcessor):
    """Copy the user's id (from W3C baggage) and the place in the code onto every span as it starts."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Write the attributes."""
        user_id = baggage.get_baggage(USER_ID, parent_context) or context.get_value(_OWN_USER_KEY, parent_context)
        if isinstance(user_id, str):
            span.set_attribute(USER_ID, user_id)
        span.set_attributes(current_code_place(parent_context))


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The three providers of one process."""

    tracers: TracerProvider
    meters: MeterProvider
    loggers: LoggerProvider

    def shutdown(self) -> None:
        """Send what is left, for 1.5 s per signal at most."""
        self.tracers.force_flush(_FLUSH_TIMEOUT_MS)
        self.loggers.force_flush(_FLUSH_TIMEOUT_MS)
        self.tracers.shutdown()
        self.loggers.shutdown()
        self.meters.shutdown(timeout_millis=_FLUSH_TIMEOUT_MS)


def start_telemetry(launch: Launch) -> Telemetry:
    """Set up the SDK from the usual OTEL_* variables and send this process's logs through it."""
    os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")
    resource = Resource.create(
        {
            "service.name": launch.service,
            "service.namespace": "shop",
            "service.version": launch.version,
            "service.instance.id": launch.instance,
            "deployment.environment.name": "demo",
            "process.pid": os.getpid(),
        }
    )
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(CarryUserAndCode())
    tracers.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(timeout=_EXPORT_TIMEOUT_S), schedule_delay_millis=_BATCH_DELAY_MS)
    )
    interval_ms = float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", _METRIC_INTERVAL_MS))
    meters = MeterProvider(
        metric_readers=[
            PeriodicExportingMetricReader(
                OTLPMetricExporter(timeout=_EXPORT_TIMEOUT_S), export_interval_millis=interval_ms
            )
        ],
        resource=resource,
        shutdown_on_exit=False,
        views=[View(instrument_name=name, aggregation=DropAggregation()) for name in _DROPPED],
    )
    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(
        BatchLogRecordProcessor(OTLPLogExporter(timeout=_EXPORT_TIMEOUT_S), schedule_delay_millis=_BATCH_DELAY_MS)
    )
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    _send_logs(loggers)
    _measure_process()
    return Telemetry(tracers=tracers, meters=meters, loggers=loggers)


def without_baggage(within: Context) -> Context:
    """A context for calls of third parties: our spans still name the user, the request does not."""
    kept = context.set_value(_OWN_USER_KEY, baggage.get_baggage(USER_ID, within), within)
    return baggage.clear(kept)


def log_to_stderr() -> None:
    """Plain lines on stderr, which whoever started the process writes to a file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(psutil.Process().memory_info().rss)


def _send_logs(loggers: LoggerProvider) -> None:
    log_to_stderr()
    logging.getLogger().addHandler(LoggingHandler(level=logging.INFO, logger_provider=loggers))
    # the exporter's own complaints stay in the local file: sending them by the exporter would feed on itself
    exporter = logging.getLogger("opentelemetry")
    exporter.propagate = False
    exporter.setLevel(logging.ERROR)
    exporter.addHandler(logging.StreamHandler())


def _measure_process() -> None:
    measured: dict[str, list[str] | None] = dict.fromkeys(_PROCESS_METRICS)
    SystemMetricsInstrumentor(config=measured).instrument(skip_dep_check=True)

    def _limit(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(MEMORY_LIMIT_BYTES)]

    metrics.get_meter("shop.process").create_observable_gauge("container.memory.limit", [_limit], unit="By")
