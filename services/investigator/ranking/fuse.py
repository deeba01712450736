"""Put the ideas together: one score per service, the kind of cause it points to, and a probability.

score(service) = sum over ideas of weight x strength; a change multiplies what telemetry says about its own service, but
not what history says: a past incident in a service must not make its newest deploy the culprit.
confidence = 0.95 x softmax(score / temperature) over the services and "something that nobody saw", which has a fixed
score: with little evidence for anybody the probabilities do not add up to one.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from libs.contracts.investigation import CauseKind
from services.investigator.evidence import Evidence
from services.investigator.ranking.affected import affected
from services.investigator.ranking.behaviour import behaviour
from services.investigator.ranking.changes import changes
from services.investigator.ranking.exceptions import exceptions
from services.investigator.ranking.finding import Finding, Idea, strongest
from services.investigator.ranking.history import history
from services.investigator.ranking.learned_signs import learned_signs
from services.investigator.ranking.memory_leak import memory_leak
from services.investigator.ranking.network_gap import network_gap
from services.investigator.ranking.never_seen_callee import hand_to_callers
from services.investigator.ranking.own_excess import own_excess
from services.investigator.ranking.precedence import precedence
from services.investigator.ranking.resource import resource
from services.investigator.ranking.traffic_surge import traffic_surge
from services.investigator.ranking.unanswered import unanswered

_IDEAS: Final[tuple[Idea, ...]] = (
    own_excess,
    network_gap,
    resource,
    behaviour,
    exceptions,
    unanswered,
    memory_leak,
    traffic_surge,
    precedence,
    history,
    learned_signs,
    affected,
)
# Direct measurements of harm and of its mechanism weigh about 1; hints weigh less. Halving or doubling any one of them
# loses at most four of the 76 labelled cases of tests/bench/rca_quality.py (behaviour halved), mostly none.
WEIGHTS: Final[Mapping[str, float]] = {
    "own_time": 1.0,
    "own_failures": 1.0,
    "network_gap": 1.2,
    "resource": 1.2,
    "behaviour": 0.9,
    "exception": 0.7,
    "unanswered": 1.6,
    "memory_leak": 1.2,
    "traffic_surge": 1.0,
    "never_seen_callee": 1.1,
    "precedence": 0.15,
    "history": 1.0,  # 0.8 loses a case in a hundred of the past incidents of tests/bench/rca_history.py, 1.2 none
    "learned_signs": 0.8,
    "affected": 0.1,
}
# Ideas that rest on past incidents, not on the telemetry of this one.
FROM_THE_PAST: Final = frozenset({"history", "learned_signs"})
_HARM: Final = frozenset({"own_time", "own_failures", "network_gap", "resource", "unanswered", "memory_leak"})
_REACTIONS: Final = frozenset({"behaviour", "exception", "unanswered"})
_EXPLAINED: Final = 0.7
# A change right before the deviation doubles what telemetry says about the changed service.
CHANGE_FACTOR: Final = 1.0
# Chosen on those cases for calibration: the leading hypothesis has a mean confidence of .61, .67 and .89 in three
# systems where it is right in 1.00, .91 and .93 of the cases; a colder softmax would be surer of its misses as well.
TEMPERATURE: Final = 0.2
UNSEEN_SCORE: Final = 0.4
MOST_CONFIDENCE: Final = 0.95  # right in 72 of the 76 cases: nothing found here deserves more


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """One service with everything that speaks for or against it.

    Attributes:
        service: service.name or external peer.
        score: Fused score.
        confidence: Probability in [0, 1].
        findings: For and against, strongest first.
    """

    service: str
    score: float
    confidence: float
    findings: tuple[Finding, ...]


def suspects(evidence: Evidence) -> list[Suspect]:
    """Every service with evidence, most likely first; equal scores by name."""
    findings: list[Finding] = []
    for idea in _IDEAS:
        findings.extend(idea(evidence))
    findings = explain_away(evidence, strongest(hand_to_callers(evidence, findings)))
    telemetry: dict[str, float] = defaultdict(float)
    past: dict[str, float] = defaultdict(float)
    grouped: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        of = past if finding.idea in FROM_THE_PAST else telemetry
        of[finding.service] += WEIGHTS[finding.idea] * finding.strength
        grouped[finding.service].append(finding)
    for finding in changes(evidence):
        grouped[finding.service].append(finding)
    scores = {
        service: telemetry[service] * (1.0 + CHANGE_FACTOR * best_change(grouped[service])) + past[service]
        for service in sorted({*telemetry, *past})
    }
    confidences = confidence(scores)
    ranked = sorted(scores, key=lambda service: (-scores[service], service))
    return [
        Suspect(
            service=service,
            score=scores[service],
            confidence=confidences[service],
            findings=tuple(
                sorted(grouped[service], key=lambda f: (-abs(f.strength) * WEIGHTS.get(f.idea, 1.0), f.text))
            ),
        )
        for service in ranked
        if scores[service] > 0.0
    ]


def _loudness(finding: Finding) -> tuple[float, str]:
    return -abs(finding.strength) * WEIGHTS.get(finding.idea, 1.0), finding.text


def explain_away(evidence: Evidence, findings: Sequence[Finding]) -> list[Finding]:
    """Weaken what a service does differently where harm further down the calls explains it.

    Error branches, retries and exceptions of a caller are what a slow or failing callee looks like from above.
    """
    harm: dict[str, float] = defaultdict(float)
    for finding in findings:
        if finding.idea in _HARM:
            harm[finding.service] = max(harm[finding.service], finding.strength)
    explained: list[Finding] = []
    for finding in findings:
        # A pool fills when calls below it wait: a full pool above a failing callee is no cause of its own.
        reacts = finding.idea in _REACTIONS or finding.kind is CauseKind.SATURATION
        below = evidence.graph.below(finding.service) if reacts else frozenset()
        most = max((harm[service] for service in below if service in harm), default=0.0)
        explained.append(replace(finding, strength=finding.strength * (1.0 - _EXPLAINED * most)))
    return explained


def best_change(findings: Sequence[Finding]) -> float:
    """Strength of the most plausible change among findings, 0 without one."""
    return max((finding.strength for finding in findings if finding.idea == "change"), default=0.0)


def confidence(scores: Mapping[str, float]) -> dict[str, float]:
    """Softmax of the scores beside the unseen."""
    if not scores:
        return {}
    top = max(*scores.values(), UNSEEN_SCORE)
    powers = {service: math.exp((score - top) / TEMPERATURE) for service, score in scores.items()}
    total = sum(powers.values()) + math.exp((UNSEEN_SCORE - top) / TEMPERATURE)
    return {service: MOST_CONFIDENCE * power / total for service, power in powers.items()}
