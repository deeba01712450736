"""What the tools may read: the reading half of each store, so that the types leave no way to write."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from libs.contracts.document import IncidentDocument, Section
from libs.runbooks import Runbook, load_runbooks
from libs.service.platform import Platform
from libs.stores.incidents import IncidentPage, IncidentQuery, SimilarSource
from libs.stores.telemetry import TelemetryReader


class IncidentReader(SimilarSource, Protocol):
    """The reading half of `IncidentStore`."""

    def get(self, incident_id: str) -> IncidentDocument | None:
        """The whole document by incident id or number, or None."""
        ...

    def section(self, incident_id: str, section: Section) -> tuple[Any, int] | None:
        """A section's value and version by incident id, or None."""
        ...

    def sections(self, section: Section, incident_ids: Sequence[str] | None = None) -> Iterator[tuple[str, Any]]:
        """One section of many incidents, or of every incident: (incident id, value), newest `opened_at` first."""
        ...

    def search(self, query: IncidentQuery) -> IncidentPage:
        """Find incidents."""
        ...


class Sources:
    """The stores of the settings; opened when first asked for.

    Args:
        platform: Stores and settings.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    @property
    def telemetry(self) -> TelemetryReader:
        """The telemetry store."""
        return self._platform.telemetry

    @property
    def incidents(self) -> IncidentReader:
        """The incident store."""
        return self._platform.incidents

    @property
    def runbooks(self) -> list[Runbook]:
        """Shipped runbooks and those of the settings, read anew, so that an edit shows in the next answer."""
        return load_runbooks(self._platform.settings.runbooks_dir)
