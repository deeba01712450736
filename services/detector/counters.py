"""What the detector counts about itself, beyond what every service does (Prometheus)."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class DetectorCounters:
    """Counters of one detector process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.points = Counter("paramedic_detector_points_total", "Metric points scored", registry=registry)
        self.spans = Counter("paramedic_detector_spans_total", "Spans counted into windows", registry=registry)
        self.logs = Counter("paramedic_detector_logs_total", "Log records counted into windows", registry=registry)
        self.late = Gauge(
            "paramedic_detector_late_items",
            "Spans and log records that came after their window was closed, since the start",
            registry=registry,
        )
        self.dropped = Gauge(
            "paramedic_detector_dropped_items",
            "Spans and log records left out: from the future, or beyond the bounds of memory, since the start",
            registry=registry,
        )
        self.anomalies = Counter(
            "paramedic_detector_anomalies_total",
            "Anomaly events by detector and state",
            ["detector", "state"],
            registry=registry,
        )
        self.series = Gauge("paramedic_detector_series", "Metric series known", registry=registry)
        self.snapshot_seconds = Gauge(
            "paramedic_detector_snapshot_seconds", "Seconds that the newest snapshot took", registry=registry
        )
