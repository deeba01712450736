"""A service with an anomaly of its own is a little more suspect than one without: the least that is always known."""

from services.investigator.evidence import Evidence
from services.investigator.ranking.finding import Finding


def affected(evidence: Evidence) -> list[Finding]:
    """The services of the incident, the first affected first."""
    count = len(evidence.affected)
    return [
        Finding(
            idea="affected",
            service=service,
            strength=1.0 - 0.5 * place / count,
            text=f"{service} has anomalies in this incident",
            source="incident",
        )
        for place, service in enumerate(evidence.affected)
    ]
