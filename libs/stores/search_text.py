"""What full-text search sees of an incident document, and how words that people type become search terms."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from libs.contracts.document import IncidentContext, RootCause, Section, TimelineEntry
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import InvestigationCompleted

TEXT_COLUMNS: Final = ("title", "services", "hypotheses", "root_cause", "logs", "comments")
_MOST_TERMS: Final = 64  # a pasted stack trace is a query of thousands of words; its first lines say enough
_MOST_CHARACTERS: Final = 200_000  # per column: a document with thousands of logs stays cheap to index
_COMMENT_KINDS: Final = frozenset({"comment", "decision"})


def section_text(section: Section, value: Any) -> Mapping[str, str]:
    """Text of each search column that a section fills; no entry for columns that are another section's."""
    match section, value:
        case Section.INCIDENT, IncidentChanged() as incident:
            return {
                "title": _cut([incident.number, incident.title]),
                "services": _cut(incident.services),
            }
        case Section.CONTEXT, IncidentContext() as context:
            return {"logs": _cut([log.body for log in context.logs])}
        case Section.TIMELINE, tuple() as timeline:
            return {"comments": _cut([entry.text for entry in timeline if _is_comment(entry)])}
        case Section.ROOT_CAUSE, RootCause() as cause:
            return {"root_cause": _cut([cause.service, cause.kind, cause.text, cause.fixed_by])}
        case Section.INVESTIGATION, InvestigationCompleted() as investigation:
            return {"hypotheses": _cut([f"{entry.service} {entry.cause}" for entry in investigation.hypotheses])}
        case _:
            return {}


def search_terms(text: str) -> list[str]:
    """Words of a text, in order, without repeats: at least one letter or digit each, no NUL, valid Unicode."""
    clean = text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
    words = (word for word in clean.split() if any(character.isalnum() for character in word))
    return list(dict.fromkeys(words))[:_MOST_TERMS]


def _is_comment(entry: TimelineEntry) -> bool:
    return entry.kind in _COMMENT_KINDS


def _cut(parts: Sequence[str]) -> str:
    return "\n".join(part for part in parts if part)[:_MOST_CHARACTERS]
