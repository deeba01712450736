"""What every service is given: broker, codec, stores, log, metrics and clock, built once from the settings."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

from libs.contracts.codec import Codec
from libs.errors import ConfigurationError
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.open_registry import open_schema_ids
from libs.service.settings import Settings
from libs.stores.elastic_options import ElasticOptions
from libs.stores.incidents import IncidentStore
from libs.stores.open import open_incident_store, open_telemetry_store
from libs.stores.telemetry import TelemetryStore
from libs.streaming.broker import Broker


def utc_now() -> datetime:
    """Wall clock."""
    return datetime.now(UTC)


@dataclass(kw_only=True)
class Platform:
    """The outside world of one service; stores are opened when first asked for.

    Attributes:
        service: Name of the service, also its consumer group and the name of its log and health files.
        settings: All settings.
        log: Canonical log.
        metrics: Counters of this process.
        codec: Records to bytes and back.
        clock: Wall clock, aware UTC.
    """

    service: str
    settings: Settings
    log: Logger
    metrics: ServiceMetrics
    codec: Codec
    clock: Callable[[], datetime] = utc_now

    @cached_property
    def bootstrap(self) -> str:
        """host:port of the broker; `ConfigurationError` when the embedded one is not running."""
        if self.settings.broker != "embedded":
            return self.settings.broker
        try:
            return self.settings.broker_address_file.read_text().strip()
        except FileNotFoundError:
            raise ConfigurationError(
                f"no embedded broker is running for {self.settings.data_dir}; start `paramedic broker`, "
                "use `paramedic up`, or set PARAMEDIC_BROKER to a Kafka cluster's host:port"
            ) from None

    @cached_property
    def broker(self) -> Broker:
        """The cluster."""
        from libs.streaming.kafka import KafkaBroker

        return KafkaBroker(
            self.bootstrap,
            extra=self.settings.kafka,
            on_error=lambda text: self.log.debug("broker", reason=text),
            fetch_wait_ms=10 if self.settings.broker == "embedded" else 500,
        )

    @cached_property
    def incidents(self) -> IncidentStore:
        """The incident store."""
        return open_incident_store(self.settings.incident_store, self.settings.data_dir, self._elastic)

    @cached_property
    def telemetry(self) -> TelemetryStore:
        """The telemetry store."""
        return open_telemetry_store(self.settings.telemetry_store, self.settings.data_dir, self._elastic)

    @property
    def _elastic(self) -> ElasticOptions:
        return replace(self.settings.elastic, notice=lambda text: self.log.info("elasticsearch", reason=text))


def open_platform(service: str, settings: Settings) -> Platform:
    """Build the platform of one service; nothing is connected before it is used."""
    return Platform(
        service=service,
        settings=settings,
        log=Logger(service, level=settings.log_level),
        metrics=ServiceMetrics(),
        codec=Codec(open_schema_ids(settings)),
    )
