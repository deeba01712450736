"""Which kind of cause the signs point to, learned from every incident whose kind of cause a person named.

A service that is short of memory looks much the same whichever it is: the tokens are read as seen from the service at
fault (`@`), from the rest (`*`), and as they stand. A conditional logit chooses the kind among those that people named.
Of the past incidents of two labelled event systems, a fifth left out in turn, it has .66 (of seven kinds) and .81 (of
five) right (tests/bench/rca_history.py).
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from services.investigator.evidence import Evidence, Lesson
from services.investigator.ranking.conditional_logit import Seen, fit_classes

_LEAST_LESSONS: Final = 8
# Half of the trust after twenty incidents, as for the signs of a culprit.
_HALF_TRUST: Final = 20.0
_AS_IT_STANDS: Final = 0.5  # weight of a token of these very services, next to the same token of any
_SELF: Final = "@"
_OTHER: Final = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedKinds:
    """What is known of the kind of a cause.

    Attributes:
        shares: Probability of each kind that people ever named, adding up to one; empty when nothing was learned.
        trust: How far they can be trusted, in [0, 1).
        incidents: How many incidents it was learned from.
        signs: The sign that speaks loudest for each kind.
    """

    shares: dict[str, float]
    trust: float
    incidents: int = 0
    signs: dict[str, str] = field(default_factory=dict)

    def told(self, kind: str) -> str:
        """Why it may be of a kind, in one line for people."""
        return (
            f"{self.incidents} incidents whose kind of cause people named teach {kind} ({self.shares[kind]:.0%}), "
            f"{self.signs[kind]} above all"
        )


def learned_kinds(evidence: Evidence, service: str) -> LearnedKinds:
    """The kind of cause if it is in a service; nothing before people named eight causes of two kinds."""
    lessons = tuple(lesson for lesson in evidence.lessons if lesson.kind)
    if len(lessons) < _LEAST_LESSONS or len({lesson.kind for lesson in lessons}) < 2:
        return LearnedKinds(shares={}, trust=0.0)
    trust = len(lessons) / (len(lessons) + _HALF_TRUST)
    return _learn(lessons).of(evidence.fingerprint, service, trust, len(lessons))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """What was learned: kinds, the services recognised in tokens, and a row of weights (one a kind) of each sign."""

    kinds: tuple[str, ...]
    names: frozenset[str]
    weights: dict[str, tuple[float, ...]]

    def of(self, fingerprint: Sequence[str], service: str, trust: float, incidents: int) -> LearnedKinds:
        pulls = {
            sign: [weight * value for weight in self.weights[sign]]
            for sign, value in signs_from(fingerprint, service, self.names).items()
            if sign in self.weights
        }
        totals = [sum(column) for column in zip(*pulls.values(), strict=True)] or [0.0] * len(self.kinds)
        powers = [math.exp(total - max(totals)) for total in totals]
        shares = {kind: power / sum(powers) for kind, power in zip(self.kinds, powers, strict=True)}
        loudest = {
            kind: max(pulls, key=lambda sign: (pulls[sign][place], sign), default="nothing").replace(_SELF, service)
            for place, kind in enumerate(self.kinds)
        }
        return LearnedKinds(shares=shares, trust=trust, incidents=incidents, signs=loudest)


def signs_from(fingerprint: Sequence[str], service: str, names: frozenset[str]) -> dict[str, float]:
    """Signs as a service at fault sees them, each with its value."""
    signs: dict[str, float] = {}
    for token in fingerprint:
        fields = token.split("|")
        signs["|".join(_SELF if f == service else _OTHER if f in names else f for f in fields)] = 1.0
        signs.setdefault(token, _AS_IT_STANDS)
    return signs


@lru_cache(maxsize=2)  # a storm of incidents learns the same lessons over and over
def _learn(lessons: tuple[Lesson, ...]) -> _Model:
    kinds = tuple(sorted({lesson.kind for lesson in lessons}))
    names = frozenset(service for lesson in lessons for service in (*lesson.services, lesson.cause))
    places: dict[str, int] = defaultdict(lambda: len(places))
    incidents, signs, values = [], [], []
    for number, lesson in enumerate(lessons):
        for sign, value in sorted(signs_from(lesson.fingerprint, lesson.cause, names).items()):
            incidents.append(number)
            signs.append(places[sign])
            values.append(value)
    rows, columns = np.array(incidents, np.int64), np.array(signs, np.int64)
    seen = Seen(rows, columns, np.array(values), len(lessons), len(places))
    weights = fit_classes(seen, np.array([[float(kind == lesson.kind) for kind in kinds] for lesson in lessons]))
    return _Model(
        kinds=kinds, names=names, weights={sign: tuple(weights[place].tolist()) for sign, place in places.items()}
    )
