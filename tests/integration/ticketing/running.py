"""Ticketing as it runs beside a test: the embedded broker, SQLite stores, the loop and the API on a real socket."""

import threading
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from libs.contracts.codec import Codec
from libs.contracts.incident import IncidentChanged
from libs.contracts.records import Record
from libs.contracts.topics import ANOMALIES, INCIDENTS
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.kafka import KafkaBroker
from services.ticketing.server import TicketingService
from services.ticketing.service import build
from tests.waiting import until

NOW = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
TRUST = httpx.create_ssl_context()  # read once: a client of its own takes 50 ms for it


def anomaly(service: str, identity: str, **more: Any) -> AnomalyDetected:
    start = NOW + timedelta(seconds=more.pop("start_s", 0.0))
    return AnomalyDetected(
        id=identity,
        state=more.pop("state", EpisodeState.OPENED),
        service=service,
        signal=Signal.LATENCY,
        metric="span.server.duration",
        statistic="p95",
        unit="s",
        detector="latency",
        severity=Severity.HIGH,
        score=0.98,
        observed=0.4,
        expected=0.05,
        expected_lower=0.03,
        expected_upper=0.06,
        deviation=9.0,
        started_at=start,
        detected_at=start + timedelta(seconds=10),
        updated_at=start + timedelta(seconds=10),
        window_s=5.0,
        explanation=f"p95 of {service} 400 ms, expected 30..60 ms",
        **more,
    )


class Running:
    """A ticketing service in this process, and a client of it."""

    def __init__(self, folder: Path, broker: KafkaBroker, **settings: Any) -> None:
        self.settings = Settings(data_dir=folder, api_port=0, _env_file=None, **settings)  # type: ignore[call-arg]
        self.broker = broker
        self.codec = Codec()
        self.log = StringIO()
        self.platform = Platform(
            service="ticketing",
            settings=self.settings,
            log=Logger("ticketing", stream=self.log),
            metrics=ServiceMetrics(),
            codec=self.codec,
        )
        self.platform.__dict__["broker"] = broker
        built = build(self.settings, self.platform)
        assert isinstance(built, TicketingService)
        self.service = built
        self.producer = broker.producer()
        self._thread = threading.Thread(target=self.service.run, name="ticketing")

    def __enter__(self) -> "Running":
        self._thread.start()
        until(lambda: self.service.state == "ready")
        self.client = httpx.Client(base_url=self.service.api.url, timeout=10.0, verify=TRUST)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.service.stop()
        self._thread.join(20.0)
        assert not self._thread.is_alive()
        self.producer.close()
        self.platform.incidents.close()
        self.platform.telemetry.close()

    def send(self, topic: str, record: Record, key: str = "") -> None:
        self.producer.send(topic, key=key.encode(), value=self.codec.encode(topic, record))
        self.producer.flush()

    def told(self) -> list[IncidentChanged]:
        """Everything on the topic `incidents`."""
        found = []
        for message in self.broker.read_to_end([INCIDENTS]):
            record = self.codec.decode(INCIDENTS, message.value)
            assert isinstance(record, IncidentChanged)
            assert message.key == record.id.encode()
            found.append(record)
        return found

    def open_ticket(self, service: str = "catalog", identity: str = "a1", **more: Any) -> dict[str, Any]:
        """Send an anomaly and wait for its ticket."""
        self.send(ANOMALIES, anomaly(service, identity, **more), service)
        query = {"service": service}
        listed = until(  # a look is a request that costs this process 5 ms
            lambda: self.client.get("/api/v1/incidents", params=query).json()["incidents"], look_s=0.03
        )
        first: dict[str, Any] = listed[0]
        return first

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.client.post(f"/api/v1{path}", json={"actor": "ada", "reason": "because", **body})
