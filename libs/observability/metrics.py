"""Every metric that a service exposes about itself, declared once with unit and meaning (Prometheus)."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge


class ServiceMetrics:
    """Counters of one process; labels are low-cardinality by rule (never an incident id)."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self.handled = Counter(
            "paramedic_messages_handled_total", "Messages read, by topic", ["topic"], registry=self.registry
        )
        self.refused = Counter(
            "paramedic_messages_refused_total",
            "Messages written to a dead-letter topic, by topic and error type",
            ["topic", "error_type"],
            registry=self.registry,
        )
        self.emitted = Counter(
            "paramedic_messages_emitted_total", "Records written, by topic", ["topic"], registry=self.registry
        )
        self.held = Counter(
            "paramedic_holds_total", "Attempts that found a dependency unavailable", registry=self.registry
        )
        self._lagging: set[tuple[str, int]] = set()
        self.consumer_lag = Gauge(
            "paramedic_consumer_lag_messages",
            "Messages behind the end of the partition",
            ["topic", "partition"],
            registry=self.registry,
        )

    def lag(self, behind: Mapping[tuple[str, int], int]) -> None:
        """Set the lag of each assigned partition, in messages; a partition that is somebody else's now is forgotten."""
        for topic, partition in self._lagging - set(behind):
            self.consumer_lag.remove(topic, str(partition))
        self._lagging = set(behind)
        for (topic, partition), messages in behind.items():
            self.consumer_lag.labels(topic, str(partition)).set(messages)
