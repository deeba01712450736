"""The topics as declared in schemas/topics.toml: record, key, producers, consumers, partitions, retention."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import schemas
from libs.errors import ConfigurationError

DEAD_LETTER_SUFFIX: Final = "-dlq"

TELEMETRY_METRICS: Final = "telemetry-metrics"
TELEMETRY_LOGS: Final = "telemetry-logs"
TELEMETRY_SPANS: Final = "telemetry-spans"
CHANGES: Final = "changes"
ANOMALIES: Final = "anomalies"
INCIDENTS: Final = "incidents"
INVESTIGATIONS: Final = "investigations"
REMEDIATIONS: Final = "remediations"
RECOMMENDATIONS: Final = "recommendations"
COMMANDS: Final = "commands"
OTLP_METRICS: Final = "otlp_metrics"
OTLP_LOGS: Final = "otlp_logs"
OTLP_SPANS: Final = "otlp_spans"


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic of topics.toml.

    Attributes:
        name: Topic name.
        record: Name of the schema file, or "otlp" for the Collector's raw payloads.
        key: What the message key is.
        producers: Services that write it ("outside" for the Collector's topics); only people's decisions come by two.
        consumers: Services that read it; "others" stands for other teams.
        partitions: How many partitions it is created with.
        cleanup: delete or compact.
        retention_h: Hours kept where cleanup is delete.
        compatibility: Schema compatibility, BACKWARD.
    """

    name: str
    record: str
    key: str
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    partitions: int
    cleanup: str = "delete"
    retention_h: float = 24.0
    compatibility: str = "BACKWARD"

    @property
    def dead_letter(self) -> str:
        """Name of the topic that takes this topic's refused messages."""
        return self.name + DEAD_LETTER_SUFFIX


def load(path: Path) -> dict[str, Topic]:
    """Read a topics.toml; `ConfigurationError` names the topic and field that is wrong."""
    topics: dict[str, Topic] = {}
    for name, fields in tomllib.loads(path.read_text()).items():
        try:
            producers, consumers = tuple(fields.pop("producers")), tuple(fields.pop("consumers"))
            topics[name] = Topic(name=name, producers=producers, consumers=consumers, **fields)
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"{path.name}: topic {name}: {error}") from error
    return topics


@cache
def topics() -> dict[str, Topic]:
    """Every topic of schemas/topics.toml by name."""
    return load(schemas.ROOT / "topics.toml")


def is_raw(topic: str) -> bool:
    """Whether a topic's messages are foreign bytes (OTLP) instead of our Avro records."""
    declared = topics().get(topic)
    return declared is None or declared.record == "otlp"
