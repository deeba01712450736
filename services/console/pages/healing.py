"""The page Self-healing: the success rate as it is defined, modes, the halt switch, and every run step by step."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from libs.contracts.codec import from_json
from libs.contracts.remediation import Mode, RemediationChanged
from libs.runbooks import Runbook
from libs.runbooks.actions import ACTIONS
from libs.runbooks.scorecard import PatternScore, scorecard
from libs.stores.incidents import IncidentStore
from services.console.pages.runs_view import RunView, run_view
from services.console.wording import ago, count, plain, share

# Shared state that remediation writes; its names and fields are checked against remediation's own by test.
HALT_KEY: Final = "remediation/halt"
MODES_KEY: Final = "remediation/modes"
RUNS: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The global switch.

    Attributes:
        halted: Whether everything that changes production is stopped.
        actor: Who turned it last.
        reason: Why.
        at: When.
        version: Version of the state, 0 when nobody ever turned it.
    """

    halted: bool = False
    actor: str = ""
    reason: str = ""
    at: datetime | None = None
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMode:
    """A mode that a person set.

    Attributes:
        mode: observe, approve or auto.
        actor: Who.
        at: When.
    """

    mode: Mode
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """Modes that people set.

    Attributes:
        by_pattern: By name of the runbook.
        version: Version of the state.
    """

    by_pattern: Mapping[str, SetMode] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreView:
    """Success rate of a pattern, with what it was divided by.

    Attributes:
        rate: Rate in words, a dash when nothing was applied.
        fraction: Numerator of denominator in words.
        interval: 95 % interval in words, "" when nothing was applied.
        low: Lower end of the interval in [0, 1].
        high: Upper end.
        value: Rate in [0, 1], None when nothing was applied.
        aside: What is not in the rate, in words.
    """

    rate: str
    fraction: str
    interval: str
    low: float
    high: float
    value: float | None
    aside: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternView:
    """One pattern.

    Attributes:
        name: Name of the runbook.
        title: One line.
        action: Action with its risk in words.
        mode: Mode that holds now.
        mode_basis: Where the mode comes from.
        known: Whether a runbook of this name exists now.
        score: Its success rate.
    """

    name: str
    title: str
    action: str
    mode: str
    mode_basis: str
    known: bool
    score: ScoreView


@dataclass(frozen=True, slots=True, kw_only=True)
class HealingPage:
    """The page.

    Attributes:
        total: Over all patterns.
        without_pattern: Incidents without a known pattern, left to people.
        patterns: Each one.
        halt: The switch.
        halt_ago: When it was turned, in words.
        modes_version: Version of the modes.
        applies: Whether an executor is configured at all.
        runs: Runs, the newest first.
        runs_total: How many there are.
        page: From 1.
        pages: How many.
    """

    total: ScoreView
    without_pattern: int
    patterns: tuple[PatternView, ...]
    halt: Halt
    halt_ago: str
    modes_version: int
    applies: bool
    runs: tuple[RunView, ...]
    runs_total: int
    page: int
    pages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """What decides about modes besides people.

    Attributes:
        runbooks: Every known pattern.
        settings: Modes of the settings, by pattern.
        applies: Whether an executor is configured; without one everything is only proposed.
    """

    runbooks: tuple[Runbook, ...]
    settings: Mapping[str, str]
    applies: bool


def read_halt(incidents: IncidentStore) -> Halt:
    """The switch as stored; off when nobody ever turned it."""
    stored = incidents.state(HALT_KEY)
    return replace(from_json(stored.value, Halt), version=stored.version) if stored else Halt()


def read_modes(incidents: IncidentStore) -> Modes:
    """Modes as people set them."""
    stored = incidents.state(MODES_KEY)
    return replace(from_json(stored.value, Modes), version=stored.version) if stored else Modes()


def healing_page(
    runs: Sequence[RemediationChanged],
    number: Callable[[str], str],
    policies: Policies,
    switches: tuple[Halt, Modes],
    *,
    page: int,
    now: datetime,
) -> HealingPage:
    """The page from runs and switches.

    Args:
        runs: Every run, newest first.
        number: Incident number of an incident id.
        policies: Runbooks and settings.
        switches: What people set.
        page: From 1.
        now: Wall clock.
    """
    halt, modes = switches
    card = scorecard(runs)
    scores = {score.pattern: score for score in card.patterns}
    pages = max((len(runs) + RUNS - 1) // RUNS, 1)
    page = min(page, pages)
    shown = runs[(page - 1) * RUNS : page * RUNS]
    return HealingPage(
        total=score_view(card.total),
        without_pattern=card.without_pattern,
        patterns=tuple(_patterns(policies, scores, modes, now)),
        halt=halt,
        halt_ago=ago(halt.at, now) if halt.at else "",
        modes_version=modes.version,
        applies=policies.applies,
        runs=tuple(run_view(run, number(run.incident_id), now) for run in shown),
        runs_total=len(runs),
        page=page,
        pages=pages,
    )


def score_view(score: PatternScore) -> ScoreView:
    """A rate never without its denominator."""
    aside = (
        (score.approved_by_human, f"approved by a person ({score.approved_successes} succeeded)"),
        (score.proposals, "only proposed"),
        (score.not_applied - score.proposals, "ended before anything was applied"),
        (score.in_progress, "in progress"),
        (score.recurred, "came back within the hold"),
    )
    low, high = share(score.interval_low), share(score.interval_high)
    return ScoreView(
        rate="–" if score.rate is None else share(score.rate),
        fraction=f"{score.successes} of {count(score.applied, 'automatic fix', 'automatic fixes')}",
        interval="" if score.rate is None else f"95 % interval {low} to {high}",
        low=score.interval_low,
        high=score.interval_high,
        value=score.rate,
        aside=tuple(f"{number} {text}" for number, text in aside if number),
    )


def _patterns(
    policies: Policies, scores: Mapping[str, PatternScore], modes: Modes, now: datetime
) -> Iterable[PatternView]:
    books = {book.name: book for book in policies.runbooks}
    empty = PatternScore(pattern="", rate=None, successes=0, applied=0, interval_low=0.0, interval_high=1.0)
    for name in sorted({*books, *scores}):
        book = books.get(name)
        mode, basis = _mode(name, book, policies, modes, now)
        spec = ACTIONS.get(book.action) if book else None
        yield PatternView(
            name=name,
            title=book.title if book else "this runbook is not there any more",
            action=f"{plain(spec.name)}, {spec.risk} risk" if spec else "",
            mode=mode,
            mode_basis=basis,
            known=book is not None,
            score=score_view(scores.get(name, empty)),
        )


def _mode(name: str, book: Runbook | None, policies: Policies, modes: Modes, now: datetime) -> tuple[str, str]:
    chosen = modes.by_pattern.get(name)
    if chosen is not None:
        return chosen.mode.value, f"set by {chosen.actor} {ago(chosen.at, now)}"
    if name in policies.settings:
        return policies.settings[name], "from PARAMEDIC_MODES"
    return (book.mode.value, "from the runbook") if book else ("", "")
