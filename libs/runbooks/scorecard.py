"""The self-healing success rate, computed as it is defined and from nothing but the runs themselves.

rate = successes / automatic runs that applied a change. A success: the run ended succeeded (the triggering anomaly
closed, the neighbours stayed healthy, nothing was rolled back), no human touched it, and it did not recur on that
target within the hold. Proposals, cancellations and refusals before anything was applied, runs that a human approved,
and runs that have not ended yet are counted apart.

Source of the interval: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from libs.contracts.remediation import FINAL_STATES, Mode, RemediationChanged, RunState

_Z_95: Final = 1.959963984540054  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternScore:
    """The success rate of one pattern.

    Attributes:
        pattern: Name of the runbook; "" for all patterns together.
        rate: successes / applied; None when nothing was applied.
        successes: Numerator.
        applied: Denominator: automatic runs that applied a change and have ended.
        interval_low: Lower end of the Wilson 95 % interval; 0 when nothing was applied.
        interval_high: Its upper end; 1 when nothing was applied.
        approved_by_human: Applied runs that a human approved; outside the rate.
        approved_successes: Those of them that succeeded.
        not_applied: Ended runs that applied nothing: proposals, cancellations, refusals, escalations.
        proposals: Those of `not_applied` whose mode was observe.
        in_progress: Runs that have not ended.
        recurred: Automatic applied runs after which the anomaly came back within the hold.
        human_involved: Automatic applied runs that a human touched before their end.
        outcomes: How many ended runs per final state.
    """

    pattern: str
    rate: float | None
    successes: int
    applied: int
    interval_low: float
    interval_high: float
    approved_by_human: int = 0
    approved_successes: int = 0
    not_applied: int = 0
    proposals: int = 0
    in_progress: int = 0
    recurred: int = 0
    human_involved: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorecard:
    """All patterns.

    Attributes:
        patterns: One row a pattern, by name.
        total: All of them together.
        without_pattern: Incidents that were left to a human because no pattern is known; they are no runs.
    """

    patterns: tuple[PatternScore, ...]
    total: PatternScore
    without_pattern: int = 0


def scorecard(runs: Iterable[RemediationChanged]) -> Scorecard:
    """Score runs; of several states of one run the newest counts."""
    newest: dict[str, RemediationChanged] = {}
    for run in runs:
        known = newest.get(run.id)
        if known is None or run.version > known.version:
            newest[run.id] = run
    known_patterns = [run for run in newest.values() if run.pattern]
    names = sorted({run.pattern for run in known_patterns})
    return Scorecard(
        patterns=tuple(_score(name, [run for run in known_patterns if run.pattern == name]) for name in names),
        total=_score("", known_patterns),
        without_pattern=len(newest) - len(known_patterns),
    )


def is_success(run: RemediationChanged) -> bool:
    """Whether an applied run did what it promised, alone."""
    return run.state is RunState.SUCCEEDED and not run.human_involved and not run.recurred


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a success probability; (0, 1) when there were no trials."""
    if trials == 0:
        return 0.0, 1.0
    share, z2 = successes / trials, _Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z_95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    # Exactly 0 and 1 there; rounding would put an end on the wrong side of the rate itself.
    low = 0.0 if successes == 0 else centre - half
    return low, 1.0 if successes == trials else centre + half


def _score(pattern: str, runs: list[RemediationChanged]) -> PatternScore:
    ended = [run for run in runs if run.state in FINAL_STATES]
    applied = [run for run in ended if run.applied_at is not None]
    automatic = [run for run in applied if run.mode is Mode.AUTO]
    approved = [run for run in applied if run.mode is not Mode.AUTO]
    successes = sum(map(is_success, automatic))
    low, high = wilson_interval(successes, len(automatic))
    return PatternScore(
        pattern=pattern,
        rate=successes / len(automatic) if automatic else None,
        successes=successes,
        applied=len(automatic),
        interval_low=low,
        interval_high=high,
        approved_by_human=len(approved),
        approved_successes=sum(run.state is RunState.SUCCEEDED and not run.recurred for run in approved),
        not_applied=len(ended) - len(applied),
        proposals=sum(run.applied_at is None and run.mode is Mode.OBSERVE for run in ended),
        in_progress=len(runs) - len(ended),
        recurred=sum(run.recurred for run in automatic),
        human_involved=sum(run.human_involved for run in automatic),
        outcomes=dict(sorted(Counter(run.state.value for run in ended).items())),
    )
