"""Open the stores that the settings name."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from libs.errors import ConfigurationError
from libs.stores.elastic_options import ElasticOptions, is_elastic, parse_addresses
from libs.stores.incidents import IncidentStore
from libs.stores.telemetry import TelemetryStore

T = TypeVar("T")

_SQLITE_URL: Final = "sqlite:///"
_KNOWN: Final = "use sqlite, sqlite:///path, or http(s)://host:port of Elasticsearch"
_DEFAULTS: Final = ElasticOptions()


def sqlite_path(address: str, default: Path) -> Path | None:
    """File of a SQLite address ("sqlite" means `default`), or None when the address names another kind of store."""
    if address == "sqlite":
        return default
    if address.startswith(_SQLITE_URL):
        return Path(address.removeprefix(_SQLITE_URL))
    return None


def open_incident_store(address: str, data_dir: Path, elastic: ElasticOptions = _DEFAULTS) -> IncidentStore:
    """Open the incident store; `ConfigurationError` when the address names none that is known."""
    setting = "PARAMEDIC_INCIDENT_STORE"
    if is_elastic(address):

        def connect(options: ElasticOptions) -> IncidentStore:
            from libs.stores.elastic_incidents import ElasticIncidentStore

            return ElasticIncidentStore(options)

        return with_client(connect, replace(elastic, addresses=parse_addresses(address, setting)))
    path = sqlite_path(address, data_dir / "incidents.sqlite")
    if path is None:
        raise ConfigurationError(f"{setting}={address}: {_KNOWN}")
    from libs.stores.sqlite_incidents import SqliteIncidentStore

    return SqliteIncidentStore(path)


def open_telemetry_store(address: str, data_dir: Path, elastic: ElasticOptions = _DEFAULTS) -> TelemetryStore:
    """Open the telemetry store; `ConfigurationError` when the address names none that is known."""
    setting = "PARAMEDIC_TELEMETRY_STORE"
    if is_elastic(address):

        def connect(options: ElasticOptions) -> TelemetryStore:
            from libs.stores.elastic_telemetry import ElasticTelemetryStore

            return ElasticTelemetryStore(options)

        return with_client(connect, replace(elastic, addresses=parse_addresses(address, setting)))
    path = sqlite_path(address, data_dir / "telemetry.sqlite")
    if path is None:
        raise ConfigurationError(f"{setting}={address}: {_KNOWN}")
    from libs.stores.sqlite_telemetry import SqliteTelemetryStore

    return SqliteTelemetryStore(path)


def with_client(connect: Callable[[ElasticOptions], T], options: ElasticOptions) -> T:
    """Call what needs the client library; `ConfigurationError` when it is not installed."""
    try:
        return connect(options)
    except ModuleNotFoundError as error:
        if error.name not in ("elasticsearch", "elastic_transport"):
            raise
        raise ConfigurationError('Elasticsearch needs its client: pip install "paramedic[elastic]"') from error
