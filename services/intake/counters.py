"""What intake counts about itself, declared once with unit and meaning (Prometheus)."""

from prometheus_client import CollectorRegistry, Counter

from services.intake.signals import Accepted, Signal


class IntakeCounters:
    """Counters of one intake process; its labels are the four signals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.accepted = Counter(
            "paramedic_intake_accepted_total",
            "Points, spans, log records and changes accepted, by signal",
            ["signal"],
            registry=registry,
        )
        self.rejected = Counter(
            "paramedic_intake_rejected_total",
            "Points, spans, log records and changes refused inside requests, by signal",
            ["signal"],
            registry=registry,
        )
        self.skipped = Counter(
            "paramedic_intake_skipped_total",
            "Points that add nothing (duplicates, first points of counters), by signal",
            ["signal"],
            registry=registry,
        )
        self.refused_requests = Counter(
            "paramedic_intake_refused_requests_total",
            "Requests refused as a whole, by status code",
            ["code"],
            registry=registry,
        )

    def count(self, signal: Signal, accepted: Accepted) -> None:
        """Count what came of one request."""
        self.accepted.labels(signal).inc(accepted.accepted)
        self.rejected.labels(signal).inc(accepted.rejected)
        self.skipped.labels(signal).inc(accepted.skipped)
