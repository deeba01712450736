"""Every remediation run, kept in memory so that the scorecard of ten thousand incidents is there at once.

The store is the truth: runs are read from it once, then again for the incidents that events name, for those whose runs
have not ended, and for the newest ones, so that a missed event delays a run but never loses it.
"""

import threading
from collections.abc import Iterable, Sequence
from typing import Final

from libs.contracts.document import Section
from libs.contracts.remediation import FINAL_STATES, RemediationChanged
from libs.stores.incidents import IncidentQuery, IncidentStore

_PAGE: Final = 500
_NEWEST: Final = 50  # incidents read again with every question; 50 sections are 3 ms


class RunIndex:
    """Runs by incident; safe to be used from several threads.

    Args:
        incidents: The incident store.
    """

    def __init__(self, incidents: IncidentStore) -> None:
        self._incidents = incidents
        self._lock = threading.Lock()
        self._runs: dict[str, tuple[RemediationChanged, ...]] = {}
        self._numbers: dict[str, str] = {}
        self._changed: set[str] = set()
        self._complete = False

    def told(self, incident_id: str) -> None:
        """An event says that runs of an incident changed."""
        with self._lock:
            self._changed.add(incident_id)

    def runs(self) -> list[RemediationChanged]:
        """Every run, newest first; `Unavailable` when the store is down."""
        with self._lock:
            self._refresh()
            found = [run for runs in self._runs.values() for run in runs]
        return sorted(found, key=lambda run: (run.requested_at, run.id), reverse=True)

    def number(self, incident_id: str) -> str:
        """Number of an incident that has runs, its id when it is not known."""
        return self._numbers.get(incident_id, incident_id)

    def _refresh(self) -> None:
        offset = 0
        while True:
            limit = _PAGE if not self._complete else _NEWEST
            page = self._incidents.search(IncidentQuery(limit=limit, offset=offset))
            self._numbers.update({core.id: core.number for core in page.incidents})
            self._read([core.id for core in page.incidents])
            offset += len(page.incidents)
            if self._complete or not page.incidents or offset >= page.total:
                break
        self._complete = True
        changed, self._changed = self._changed, set()
        self._read(sorted({*changed, *_unfinished(self._runs.items())}))

    def _read(self, incident_ids: Sequence[str]) -> None:
        self._runs.update(self._incidents.sections(Section.REMEDIATION, incident_ids))


def _unfinished(runs: Iterable[tuple[str, tuple[RemediationChanged, ...]]]) -> list[str]:
    return [key for key, held in runs if any(run.state not in FINAL_STATES for run in held)]
