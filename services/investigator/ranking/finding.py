"""What one idea says about one service, on a scale that adds up."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from libs.contracts.investigation import CauseKind
from services.investigator.evidence import Evidence


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One observation for (or, below zero, against) a service as the root cause.

    Attributes:
        idea: Name of the ranking idea.
        service: service.name or external peer.
        strength: In [-1, 1]: how surely it is real times how much of the whole effect it explains.
        text: The observation with its figures.
        source: The tool that shows it.
        kind: Kind of cause that it points to; None when it only says where.
        instance: service.instance.id, when it points to one.
        change_id: The change that it points to.
    """

    idea: str
    service: str
    strength: float
    text: str
    source: str
    kind: CauseKind | None = None
    instance: str | None = None
    change_id: str | None = None


Idea = Callable[[Evidence], list[Finding]]


def certainty(distance: float, scale: float) -> float:
    """How surely an effect is real, in [0, 1): 0.63 at `scale`, 0.98 at twice that."""
    return 1.0 - math.exp(-((max(distance, 0.0) / scale) ** 2))


def strongest(findings: Sequence[Finding]) -> list[Finding]:
    """The strongest finding of each idea, service and kind; several weak ones are not a strong one."""
    best: dict[tuple[str, str, CauseKind | None], Finding] = {}
    for finding in findings:
        key = (finding.idea, finding.service, finding.kind)
        if key not in best or abs(finding.strength) > abs(best[key].strength):
            best[key] = finding
    return list(best.values())
