"""Every setting of the platform: variables PARAMEDIC_<NAME> or a .env file; documented in docs/settings.md."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from libs.errors import ConfigurationError
from libs.service.mcp_server import McpServer
from libs.stores.elastic_options import ElasticOptions


class Settings(BaseSettings):
    """Settings with their defaults for a laptop; durations in seconds."""

    model_config = SettingsConfigDict(env_prefix="PARAMEDIC_", env_file=".env", extra="ignore", frozen=True)

    data_dir: Annotated[Path, Field(description="Embedded stores, snapshots, logs and addresses.")] = Path(".paramedic")
    broker: Annotated[str, Field(description='"embedded", or host:port[,host:port] of a Kafka cluster.')] = "embedded"
    kafka: Annotated[
        dict[str, str | int | float | bool],
        Field(description="More librdkafka settings as JSON (security.protocol, sasl.*, ssl.*)."),
    ] = {}
    topic_replication: Annotated[
        int | None,
        Field(
            ge=1,
            description="Replicas of topics made by `paramedic topics apply`; by default 3, or the brokers there are.",
        ),
    ] = None
    schema_registry: Annotated[
        str,
        Field(description="URL of a Confluent-compatible Schema Registry; empty: the ids fixed in schemas/ids.toml."),
    ] = ""
    schema_registry_auth: Annotated[SecretStr | None, Field(description="user:password of the Schema Registry.")] = None
    schema_registry_ca: Annotated[
        Path | None, Field(description="PEM file of the authority that signed the Schema Registry's certificate.")
    ] = None
    incident_store: Annotated[
        str, Field(description='"sqlite" (in data_dir), sqlite:///path, or http(s)://host:port of Elasticsearch.')
    ] = "sqlite"
    telemetry_store: Annotated[str, Field(description="As incident_store, for telemetry.")] = "sqlite"
    elasticsearch_prefix: Annotated[
        str,
        Field(
            pattern="^[a-z0-9][a-z0-9-]{0,40}$",
            description="What names of Elasticsearch indices, aliases, templates and policies begin with.",
        ),
    ] = "paramedic"
    elasticsearch_api_key: Annotated[
        SecretStr | None, Field(description="Encoded API key of Elasticsearch; instead of user and password.")
    ] = None
    elasticsearch_user: Annotated[str, Field(description="User of Elasticsearch, for basic authentication.")] = ""
    elasticsearch_password: Annotated[SecretStr | None, Field(description="Password of elasticsearch_user.")] = None
    elasticsearch_ca_file: Annotated[
        str, Field(description="PEM file of the certificate authority of Elasticsearch; empty: the system's.")
    ] = ""
    elasticsearch_verify: Annotated[bool, Field(description="Whether the certificate of Elasticsearch is checked.")] = (
        True
    )
    kibana_url: Annotated[str, Field(description="Address of Kibana, http(s)://host:port with its base path.")] = ""
    kibana_space: Annotated[
        str, Field(pattern="^[a-z0-9_-]{0,100}$", description="Space of Kibana; empty: the default one.")
    ] = ""
    kibana_api_key: Annotated[
        SecretStr | None, Field(description="Encoded API key for Kibana; instead of user and password.")
    ] = None
    kibana_user: Annotated[str, Field(description="User of Kibana, for basic authentication.")] = ""
    kibana_password: Annotated[SecretStr | None, Field(description="Password of kibana_user.")] = None
    kibana_ca_file: Annotated[
        str, Field(description="PEM file of the certificate authority of Kibana; empty: the system's.")
    ] = ""
    telemetry_retention_s: Annotated[
        float, Field(gt=0, description="How long telemetry stays queryable, in event time.")
    ] = 6 * 3600.0
    intake_host: Annotated[str, Field(description="Address that intake listens on.")] = "127.0.0.1"
    intake_port: Annotated[int, Field(ge=0, le=65535, description="OTLP/HTTP port; 0 takes a free one.")] = 4318
    api_host: Annotated[str, Field(description="Address that the incident API listens on.")] = "127.0.0.1"
    api_port: Annotated[int, Field(ge=0, le=65535, description="Incident API port; 0 takes a free one.")] = 8080
    api_token: Annotated[
        SecretStr | None,
        Field(description="Bearer token of the incident API; needed to listen beyond loopback."),
    ] = None
    console_host: Annotated[str, Field(description="Address that the console listens on.")] = "127.0.0.1"
    console_port: Annotated[int, Field(ge=0, le=65535, description="Console port; 0 takes a free one.")] = 8081
    health_host: Annotated[
        str, Field(description="Address of each service's /readyz, /livez and /metrics; they tell no secrets.")
    ] = "127.0.0.1"
    health_port: Annotated[
        int,
        Field(ge=0, le=65535, description="Their port; 0 takes a free one, as several services on one machine need."),
    ] = 0
    ticket_webhook_url: Annotated[
        str, Field(description="URL that every ticket is posted to (http or https); empty: none.")
    ] = ""
    window_s: Annotated[
        float, Field(gt=0, description="Width of the detector's evaluation windows over spans and logs.")
    ] = 5.0
    lateness_s: Annotated[
        float, Field(ge=0, description="How long a window waits for late telemetry, in event time.")
    ] = 5.0
    warmup_s: Annotated[
        float, Field(ge=0, description="Normal operation that a signal must show before it can be anomalous.")
    ] = 45.0
    slo_file: Annotated[Path | None, Field(description="TOML file of SLOs per service; see docs/detectors.md.")] = None
    thresholds_file: Annotated[
        Path | None, Field(description="TOML file of static thresholds; see docs/detectors.md.")
    ] = None
    correlation_s: Annotated[
        float, Field(gt=0, description="Anomalies of neighbours within this time are one incident.")
    ] = 120.0
    model: Annotated[
        str | None,
        Field(description="provider:name of a LangChain chat model (investigator, recommender); none by default."),
    ] = None
    investigation_s: Annotated[float, Field(gt=0, le=120, description="Longest investigation.")] = 110.0
    mcp_servers: Annotated[
        dict[Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,39}$")], McpServer],
        Field(description="Further MCP servers for the investigator's model as JSON by name; see docs/mcp.md."),
    ] = {}
    runbooks_dir: Annotated[
        Path | None, Field(description="Folder of your own runbooks, read beside the shipped ones.")
    ] = None
    recommendations_file: Annotated[
        Path | None, Field(description="TOML file of the recommender; see docs/recommendations.md.")
    ] = None
    executor_url: Annotated[str, Field(description="Control API that applies fixes; empty: nothing is applied.")] = ""
    verify_s: Annotated[float, Field(gt=0, description="Longest wait for the anomaly to close after a fix.")] = 120.0
    hold_s: Annotated[
        float, Field(ge=0, description="How long after verification the anomaly must stay away (event time).")
    ] = 300.0
    modes: Annotated[
        dict[str, str], Field(description="Mode per pattern as JSON (observe, approve, auto); overrides the runbook.")
    ] = {}
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$", description="Least log level.")] = "info"

    @property
    def elastic(self) -> ElasticOptions:
        """How to reach Elasticsearch; the addresses are those of the store that is opened."""
        return ElasticOptions(
            prefix=self.elasticsearch_prefix,
            api_key=_revealed(self.elasticsearch_api_key),
            user=self.elasticsearch_user,
            password=_revealed(self.elasticsearch_password),
            ca_file=self.elasticsearch_ca_file,
            verify=self.elasticsearch_verify,
            retention_s=self.telemetry_retention_s,
        )

    @property
    def broker_address_file(self) -> Path:
        """Where the embedded broker publishes its address."""
        return self.data_dir / "broker.address"

    @property
    def run_dir(self) -> Path:
        """Where running services publish their process id and health address."""
        return self.data_dir / "run"


def _revealed(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""


def load_settings(**overrides: object) -> Settings:
    """Read the settings; `ConfigurationError` names each wrong variable."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # pydantic validates what the environment overrides
    except ValidationError as error:
        problems = "; ".join(
            f"PARAMEDIC_{'_'.join(str(part) for part in problem['loc']).upper()}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigurationError(problems) from error
    except SettingsError as error:  # not JSON where JSON is expected; its text names the field, its cause the value
        raise ConfigurationError(f"PARAMEDIC_*: {error}; write JSON") from None
