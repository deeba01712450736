"""The incident store port: documents in sections, search, similar incidents, numbers and small shared state."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from libs.contracts.document import IncidentDocument, Section
from libs.contracts.incident import IncidentChanged, IncidentState, Priority


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentQuery:
    """What to look for; empty fields do not filter.

    Attributes:
        text: Words for full-text search over title, services, hypotheses, root cause, logs and comments.
        states: ITIL states.
        priorities: P1 to P5.
        services: Incidents that touch any of these services.
        opened_from: Earliest `opened_at`, inclusive.
        opened_to: Latest `opened_at`, exclusive.
        limit: Most results in a page, 1 to 1000.
        offset: Results to skip.
    """

    text: str = ""
    states: tuple[IncidentState, ...] = ()
    priorities: tuple[Priority, ...] = ()
    services: tuple[str, ...] = ()
    opened_from: datetime | None = None
    opened_to: datetime | None = None
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentPage:
    """One page of results, newest `opened_at` first (best match first when there is a text).

    Attributes:
        incidents: The page.
        total: How many match in all.
    """

    incidents: tuple[IncidentChanged, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarHit:
    """A past incident that looks alike.

    Attributes:
        document: The whole past document.
        similarity: In [0, 1], 1 is the same.
    """

    document: IncidentDocument
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedState:
    """A small piece of shared state.

    Attributes:
        value: JSON text.
        version: Counts up from 1.
    """

    value: str
    version: int


class SimilarSource(Protocol):
    """The part of an incident store that finds past incidents."""

    def similar(
        self, fingerprint: Sequence[str], text: str, *, before: datetime, exclude: str, limit: int = 5
    ) -> list[SimilarHit]:
        """Past incidents opened before a moment, most similar first: fingerprint overlap fused with text rank.

        `libs/stores/precedent.py` measures these candidates anew, the same for every store: an adapter has to find
        them, and to keep those that only share words at a similarity of 0.2 or below.
        """
        ...


class IncidentStore(SimilarSource, Protocol):
    """Where incident documents live. Every method raises `Unavailable` when the store cannot be reached."""

    def get(self, incident_id: str) -> IncidentDocument | None:
        """The whole document by incident id or number, or None."""
        ...

    def put(self, incident_id: str, section: Section, value: Any, *, expected_version: int | None = None) -> int:
        """Write one section and return its new version.

        A section other than `incident` may be written before the core; `get` and `search` show the document once
        the core is there.

        Args:
            value: An instance of the section's type (SECTION_TYPES).
            expected_version: Version that the caller read (0: must not exist yet); None overwrites.
        Raises:
            Conflict: the section's version is another one.
        """
        ...

    def section(self, incident_id: str, section: Section) -> tuple[Any, int] | None:
        """A section's value and version by incident id, or None."""
        ...

    def sections(self, section: Section, incident_ids: Sequence[str] | None = None) -> Iterator[tuple[str, Any]]:
        """One section of many incidents, read page by page: (incident id, value), newest `opened_at` first.

        Incidents without the section, or whose core is not there yet, are left out.

        Args:
            section: Which one.
            incident_ids: Of these incidents, as many as fit a page of results; None for every incident.
        """
        ...

    def number(self, incident_id: str) -> str:
        """The incident's number (INC-000042), given out once and the same for the same id ever after."""
        ...

    def search(self, query: IncidentQuery) -> IncidentPage:
        """Find incidents."""
        ...

    def state(self, key: str) -> VersionedState | None:
        """A small piece of shared state (halt switch, modes, a service's bookmark), or None."""
        ...

    def put_state(self, key: str, value: str, *, expected_version: int | None = None) -> int:
        """Write it and return the new version; `Conflict` as for `put`."""
        ...

    def states(self, prefix: str) -> dict[str, VersionedState]:
        """Every piece of shared state whose key starts with a prefix."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...
