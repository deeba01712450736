"""The page Recommendations: changes of code that production data suggests, with evidence, benefit and diff."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.contracts.codec import from_json
from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from libs.errors import InvalidMessage
from libs.stores.incidents import VersionedState
from services.console.wording import ago, plain, share

_MOST_DIFF_LINES: Final = 400
_ORDER: Final = {"open": 0, "accepted": 1, "dismissed": 2, "superseded": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffLine:
    """One line of a diff.

    Attributes:
        kind: added, removed, hunk, file or same.
        text: The line.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationView:
    """One recommendation.

    Attributes:
        id: Its id.
        title: One line.
        rule: Rule that found it.
        service: service.name.
        location: File, line, function and version in words.
        evidence: Text, strength and source.
        benefit: With its arithmetic.
        confidence: In words.
        diff: Lines.
        diff_left_out: Lines that are not shown.
        validation: What was checked on the patch.
        state: open, accepted, dismissed or superseded.
        incident: Incident that led to it, "" for none.
        when: When, in words.
        seen: Version of what is shown.
    """

    id: str
    title: str
    rule: str
    service: str
    location: str
    evidence: tuple[tuple[str, str, str], ...]
    benefit: str
    confidence: str
    diff: tuple[DiffLine, ...]
    diff_left_out: int
    validation: str
    state: str
    incident: str
    when: str
    seen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendationsPage:
    """The page.

    Attributes:
        shown: Recommendations, open ones first, the largest benefit first.
        unreadable: Keys whose stored text is none.
    """

    shown: tuple[RecommendationView, ...]
    unreadable: tuple[str, ...]


def recommendations_page(states: Mapping[str, VersionedState], now: datetime) -> RecommendationsPage:
    """The page from the shared state under `STATE_PREFIX`."""
    read: list[tuple[CodeChangeRecommended, int]] = []
    unreadable: list[str] = []
    for key, stored in states.items():
        try:
            read.append((from_json(stored.value, CodeChangeRecommended), stored.version))
        except InvalidMessage:
            unreadable.append(key)
    read.sort(key=lambda pair: (_ORDER.get(pair[0].state, 9), -pair[0].benefit_value, pair[0].id))
    return RecommendationsPage(
        shown=tuple(_view(one, version, now) for one, version in read), unreadable=tuple(sorted(unreadable))
    )


def diff_lines(diff: str) -> Iterable[DiffLine]:
    """Lines of a unified diff with their kinds."""
    for line in diff.splitlines():
        if line.startswith(("--- ", "+++ ")) or line in ("---", "+++"):
            kind = "file"
        elif line.startswith("@@"):
            kind = "hunk"
        else:
            kind = {"+": "added", "-": "removed"}.get(line[:1], "same")
        yield DiffLine(kind=kind, text=line)


def _view(one: CodeChangeRecommended, version: int, now: datetime) -> RecommendationView:
    lines = list(diff_lines(one.diff))
    return RecommendationView(
        id=one.id,
        title=one.title,
        rule=plain(one.rule),
        service=one.service,
        location=_location(one.location),
        evidence=tuple((evidence.text, share(evidence.weight), evidence.source) for evidence in one.evidence),
        benefit=one.benefit,
        confidence=share(one.confidence),
        diff=tuple(lines[:_MOST_DIFF_LINES]),
        diff_left_out=max(len(lines) - _MOST_DIFF_LINES, 0),
        validation=one.validation,
        state=one.state,
        incident=one.incident_id or "",
        when=ago(one.recommended_at, now),
        seen=str(version),
    )


def _location(location: CodeLocation) -> str:
    place = "/".join(part for part in (location.repository, location.path) if part)
    if location.line:
        place += f":{location.line}"
    if location.function:
        place += f" in {location.function}"
    return place + (f" ({location.version})" if location.version else "")
