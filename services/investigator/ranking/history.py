"""What past incidents that look alike turned out to be: what people confirmed counts, guesses hardly."""

from collections import defaultdict
from typing import Final

from libs.contracts.investigation import SimilarIncident
from services.investigator.evidence import Evidence
from services.investigator.ranking.finding import Finding

# An unconfirmed hypothesis of a past incident is this platform agreeing with itself.
_UNCONFIRMED: Final = 0.15
_LEAST_SIMILARITY: Final = 0.05
_POWER: Final = 3  # the nearest of seven neighbours counts most


def history(evidence: Evidence) -> list[Finding]:
    """Votes of similar incidents for their root-cause service, weighted by the cube of their similarity."""
    votes: dict[str, float] = defaultdict(float)
    best: dict[str, SimilarIncident] = {}
    for past in evidence.similar:
        if not past.root_cause_service or past.similarity < _LEAST_SIMILARITY:
            continue
        weight = past.similarity**_POWER * (1.0 if past.confirmed_by else _UNCONFIRMED)
        votes[past.root_cause_service] += weight
        known = best.get(past.root_cause_service)
        if known is None or past.similarity > known.similarity:
            best[past.root_cause_service] = past
    total = sum(votes.values())
    found = []
    for service, weight in sorted(votes.items()):
        past = best[service]
        confirmed = f"confirmed by {past.confirmed_by}" if past.confirmed_by else "not confirmed"
        fixed = f", fixed by {past.fixed_by}" if past.fixed_by else ""
        trust = 1.0 if past.confirmed_by else _UNCONFIRMED
        found.append(
            Finding(
                idea="history",
                service=service,
                strength=past.similarity * trust * weight / total,
                text=f"{past.number} looked {past.similarity:.0%} alike; its cause was in {service}: {past.root_cause} "
                f"({confirmed}{fixed})",
                source=f"incident {past.number}",
            )
        )
    return found
