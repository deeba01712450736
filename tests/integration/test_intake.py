"""Intake end to end: real HTTP, a real SDK, a real broker protocol, and outages in between."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cramjam
import httpx
import pytest
from google.protobuf.message import Message
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

from libs.contracts.batch_rows import logs, metric_points, spans
from libs.contracts.codec import Codec, ns_from_utc
from libs.contracts.records import Record
from libs.contracts.telemetry import ChangeEvent, LogBatch, MetricBatch, SpanBatch
from libs.errors import ConfigurationError
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from services.intake.decode.runtime_messages import message_class
from services.intake.service import IntakeService, build
from tests.integration.broker_laws import eventually

CODEC = Codec()
PROTOBUF = {"Content-Type": "application/x-protobuf"}


@dataclass
class Running:
    """A running intake service and what it reads and writes."""

    service: IntakeService
    platform: Platform
    embedded: EmbeddedBroker
    broker: KafkaBroker
    client: httpx.Client

    def records(self, topic: str) -> list[Record]:
        return [CODEC.decode(topic, message.value) for message in self.broker.read_to_end([topic])]

    def metric_values(self) -> list[tuple[str, str, float]]:
        found = []
        for record in self.records("telemetry-metrics"):
            assert isinstance(record, MetricBatch)
            found += [(series.name, series.statistic, value) for series, _, value in metric_points(record)]
        return found


@pytest.fixture
def running(embedded: EmbeddedBroker, broker: KafkaBroker, tmp_path: Path) -> Iterator[Running]:
    settings = Settings(data_dir=tmp_path, broker=embedded.bootstrap, intake_port=0)
    platform = Platform(
        service="intake",
        settings=settings,
        log=Logger("intake", level="error"),
        metrics=ServiceMetrics(),
        codec=CODEC,
    )
    platform.__dict__["broker"] = broker  # the cached property, with the suite's short session timeout
    service = IntakeService(settings, platform, flush_s=1.0)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        eventually(lambda: service.state == "ready")
        with httpx.Client(base_url=service.url, timeout=20) as client:
            yield Running(service, platform, embedded, broker, client)
    finally:
        service.stop()
        thread.join(20)
        assert not thread.is_alive()
    assert service.state == "stopped"


def gauge(value: float, age_s: float = 0.0) -> ExportMetricsServiceRequest:
    return metric_request(value, age_s, monotonic=False)


def counter(value: float, age_s: float) -> ExportMetricsServiceRequest:
    return metric_request(value, age_s, monotonic=True)


def metric_request(value: float, age_s: float, *, monotonic: bool) -> ExportMetricsServiceRequest:
    request = ExportMetricsServiceRequest()
    block = request.resource_metrics.add()
    block.resource.attributes.add(key="service.name").value.string_value = "cart"
    metric = block.scope_metrics.add().metrics.add(name="requests" if monotonic else "queue")
    time_ns = ns_from_utc(datetime.now(UTC)) - round(age_s * 1e9)
    if monotonic:
        metric.sum.is_monotonic = True
        metric.sum.aggregation_temporality = 2  # type: ignore[assignment]
        metric.sum.data_points.add(time_unix_nano=time_ns, as_double=value)
    else:
        metric.gauge.data_points.add(time_unix_nano=time_ns, as_double=value)
    return request


def test_the_sdk_exports_metrics_and_spans_with_gzip(running: Running) -> None:
    resource = Resource.create({"service.name": "cart", "service.version": "1.2"})
    url = running.service.url
    metric_exporter = OTLPMetricExporter(f"{url}/v1/metrics", compression=Compression.Gzip)
    reader = PeriodicExportingMetricReader(metric_exporter, export_interval_millis=3_600_000)
    meters = MeterProvider([reader], resource=resource)
    requests = meters.get_meter("shop").create_counter("requests", unit="{request}")
    latency = meters.get_meter("shop").create_histogram("latency", unit="s")
    for _ in range(2):
        requests.add(5, {"route": "/"})
        for value in (0.01, 0.02, 0.3):
            latency.record(value)
        assert meters.force_flush()
    meters.shutdown()
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces", compression=Compression.Gzip)))
    with tracers.get_tracer("shop").start_as_current_span("pay", kind=SpanKind.CLIENT) as span:
        span.set_attributes({"server.address": "bank", "server.port": 443, "user.id": "u-1"})
        span.record_exception(TimeoutError("bank"))
    tracers.shutdown()

    found = running.metric_values()
    assert max(value for name, statistic, value in found if (name, statistic) == ("requests", "rate")) > 0
    assert {statistic for name, statistic, _ in found if name == "latency"} == {"rate", "mean", "p50", "p95", "p99"}
    (batch,) = running.records("telemetry-spans")
    assert isinstance(batch, SpanBatch)
    (row,) = spans(batch)
    assert (batch.service, batch.resource["service.version"]) == ("cart", "1.2")
    assert (row.name, row.peer, row.user) == ("pay", "bank:443", "u-1")
    assert row.events[0].attributes["exception.type"] == "TimeoutError"


def test_json_logs_with_gzip_are_written_and_answered_in_json(running: Running) -> None:
    record = {
        "timeUnixNano": str(ns_from_utc(datetime.now(UTC))),
        "severityText": "ERROR",
        "body": {"stringValue": "no"},
    }
    body = {"resourceLogs": [{"scopeLogs": [{"scope": {"name": "shop"}, "logRecords": [record]}]}]}
    headers = {"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "gzip"}
    answer = running.client.post("/v1/logs", content=gzip.compress(json.dumps(body).encode()), headers=headers)
    assert (answer.status_code, answer.json()) == (200, {})
    assert answer.headers["content-type"] == "application/json"
    (batch,) = running.records("telemetry-logs")
    assert isinstance(batch, LogBatch)
    assert [(row.body, row.severity, row.logger) for row in logs(batch)] == [("no", 17, "shop")]


def test_rejected_points_are_a_partial_success_in_the_encoding_of_the_request(running: Running) -> None:
    request = gauge(1.0)
    request.resource_metrics.extend(gauge(float("nan")).resource_metrics)
    answer = running.client.post("/v1/metrics", content=request.SerializeToString(), headers=PROTOBUF)
    response = ExportMetricsServiceResponse.FromString(answer.content)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert response.partial_success.rejected_data_points == 1
    assert "NaN" in response.partial_success.error_message
    assert running.metric_values() == [("queue", "value", 1.0)]


def test_remote_write_is_answered_with_no_content(running: Running) -> None:
    request = message_class("WriteRequest")()
    series = request.timeseries.add()
    for key, value in {"__name__": "up", "job": "cart"}.items():
        series.labels.add(name=key, value=value)
    series.samples.add(value=1.0, timestamp=int(datetime.now(UTC).timestamp() * 1000))
    payload = bytes(cramjam.snappy.compress_raw(request.SerializeToString()))
    headers = {**PROTOBUF, "Content-Encoding": "snappy", "X-Prometheus-Remote-Write-Version": "0.1.0"}
    answer = running.client.post("/api/v1/write", content=payload, headers=headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert running.metric_values() == [("up", "value", 1.0)]


def test_a_change_is_written_and_its_id_is_answered(running: Running) -> None:
    answer = running.client.post("/v1/changes", json={"kind": "deploy", "service": "cart", "version": "7"})
    (change,) = running.records("changes")
    assert isinstance(change, ChangeEvent)
    assert (answer.status_code, answer.json()) == (200, {"ids": [change.id]})
    assert change.version == "7"


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "text"),
    [
        ("/v1/traces", b"\xff\xff", PROTOBUF, 400, "malformed OTLP protobuf"),
        ("/v1/logs", b"", {"Content-Type": "application/json"}, 400, "malformed JSON"),
        ("/v1/logs", b"x", {"Content-Type": "text/html"}, 415, "text/html"),
        ("/v1/logs", b"x", {**PROTOBUF, "Content-Encoding": "br"}, 415, "br"),
        ("/v1/logs", b"x", {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "malformed gzip"),
        ("/v1/logs", gzip.compress(bytes(2**25)), {**PROTOBUF, "Content-Encoding": "gzip"}, 413, "decompression"),
        ("/v1/logs", bytes(2**24 + 1), PROTOBUF, 413, "bytes"),
        ("/v1/changes", b"{}", {"Content-Type": "application/json"}, 400, "kind"),
        ("/api/v1/write", b"x", PROTOBUF, 400, "malformed snappy"),
        (
            "/api/v1/write",
            b"x",
            {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"},
            415,
            "2.0",
        ),
        ("/v1/nothing", b"x", PROTOBUF, 404, ""),
    ],
)
def test_bad_input_is_answered_with_a_status_and_a_reason(
    running: Running, path: str, content: bytes, headers: dict[str, str], status: int, text: str
) -> None:
    answer = running.client.post(path, content=content, headers=headers)
    assert answer.status_code == status
    if headers == PROTOBUF and path.startswith("/v1/") and status != 404:
        failure = message_class("Status").FromString(answer.content)
        assert failure.code == 3
        assert text in failure.message
    else:
        assert text in answer.text
    assert running.client.get("/").json()["service"] == "paramedic intake"


def test_a_broker_that_is_down_is_answered_with_503_and_nothing_is_lost(running: Running) -> None:
    def post(request: Message) -> httpx.Response:
        return running.client.post("/v1/metrics", content=request.SerializeToString(), headers=PROTOBUF)

    assert post(counter(0, age_s=30)).status_code == 200
    running.embedded.set_down(down=True)
    pending = [counter(100, age_s=20), counter(300, age_s=10)]
    for request in pending:
        answer = post(request)
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        failure = message_class("Status").FromString(answer.content)
        assert (failure.code, bool(failure.message)) == (14, True)
    assert running.service.state == "held"
    assert running.service.reason
    running.embedded.set_down(down=False)
    eventually(lambda: running.service.state == "ready", 40)
    for request in pending:
        assert post(request).status_code == 200
    rates = [round(value) for name, _, value in running.metric_values() if name == "requests"]
    # What the broker took just before it went away may be there twice, never with another value.
    assert sorted(set(rates)) == [10, 20]


def test_many_clients_at_once_share_flushes_and_lose_nothing(running: Running) -> None:
    statuses: list[int] = []

    def client(number: int) -> None:
        with httpx.Client(base_url=running.service.url, timeout=20) as own:
            for step in range(10):
                request = gauge(number * 10 + step)
                answer = own.post("/v1/metrics", content=request.SerializeToString(), headers=PROTOBUF)
                statuses.append(answer.status_code)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 80
    assert sorted(value for *_, value in running.metric_values()) == list(range(80))


def send_to_topic(running: Running, topic: str, *values: bytes) -> None:
    producer = running.broker.producer()
    for value in values:
        producer.send(topic, key=None, value=value)
    producer.flush()
    producer.close()


def arrived(running: Running, topic: str) -> Callable[[], bool]:
    return lambda: bool(running.broker.read_to_end([topic]))


def test_collector_topics_are_read_in_both_encodings_and_bad_ones_become_dead_letters(running: Running) -> None:
    as_json = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"%d","body":{"stringValue":"hi"}}]}]}]}'
    log_request = ExportLogsServiceRequest()
    send_to_topic(running, "otlp_metrics", gauge(5.0).SerializeToString(), b"\xff\xff")
    send_to_topic(running, "otlp_logs", as_json % ns_from_utc(datetime.now(UTC)), log_request.SerializeToString())
    eventually(arrived(running, "telemetry-logs"))
    eventually(arrived(running, "telemetry-metrics"))
    eventually(arrived(running, "otlp_metrics-dlq"))
    assert running.metric_values() == [("queue", "value", 5.0)]
    (letter,) = running.broker.read_to_end(["otlp_metrics-dlq"])
    assert letter.value == b"\xff\xff"
    assert dict(letter.headers)["error.type"] == b"InvalidMessage"


def test_the_address_is_published_for_others(running: Running) -> None:
    published = json.loads((running.platform.settings.run_dir / "intake.json").read_text())
    assert published["url"] == running.service.url


def test_a_port_that_is_taken_is_a_configuration_error_that_says_what_to_set(running: Running) -> None:
    port = int(running.service.url.rpartition(":")[2])
    settings = running.platform.settings.model_copy(update={"intake_port": port})
    platform = Platform(
        service="intake",
        settings=settings,
        log=Logger("intake", level="error"),
        metrics=ServiceMetrics(),
        codec=CODEC,
    )
    with pytest.raises(ConfigurationError, match="PARAMEDIC_INTAKE_PORT"):
        build(settings, platform)
