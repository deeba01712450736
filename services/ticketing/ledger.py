"""The ledger: changes become durable, then visible, then told, once in effect whatever happens in between.

A batch of changes is first written as one journal, then carried out (timeline, root cause, core, ticket log), then
returned for emission, and forgotten when the broker has acknowledged them. After a kill at any point the journal is
carried out again: every write in it is harmless twice, so nothing is lost and nothing is doubled.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from typing import Final, Protocol

from libs.contracts.codec import from_json, to_json
from libs.contracts.document import Section, TimelineEntry
from libs.contracts.incident import OPEN_STATES, IncidentChanged, IncidentState
from libs.contracts.topics import INCIDENTS
from libs.errors import Conflict
from libs.stores.incidents import IncidentQuery, IncidentStore
from libs.streaming.handler import Emit
from services.ticketing.episodes import is_open
from services.ticketing.ticket import Change, State, Tracked, gathered, in_order

JOURNAL: Final = "ticketing/journal"
GATHERED: Final = "ticketing/gathered"
_EMPTY: Final = "[]"
_PAGE: Final = 200
_TRACKED: Final = (*sorted(OPEN_STATES), IncidentState.RESOLVED)


class TicketWriter(Protocol):
    """Takes every change before it is told (the ticket log)."""

    def write(self, changes: Sequence[Change]) -> None:
        """Append what is not there yet; `Unavailable` when it cannot."""
        ...


class Ledger:
    """Reads and writes what ticketing knows; one writer, checked by versions.

    Args:
        store: Where incident documents live.
        log: Takes every change, once.

    Attributes:
        awaits_acknowledgement: Whether `acknowledged` will be called; without a broker, as in a replay, what was
            returned counts as told.
    """

    def __init__(self, store: IncidentStore, log: TicketWriter) -> None:
        self._store = store
        self._log = log
        self._journal_version = 0
        self._waiting: tuple[Change, ...] = ()
        self._returned = 0
        self._swept = True
        self._gathered: dict[str, datetime] = {}
        self.awaits_acknowledgement = False

    def load(self) -> State:
        """Finish what the journal holds, then read every incident that may still change.

        Raises:
            Unavailable: the store cannot be reached.
        """
        journal = self._store.state(JOURNAL)
        self._journal_version = journal.version if journal else 0
        self._waiting = from_json(journal.value, tuple[Change, ...]) if journal else ()
        self._returned, self._swept = 0, not self._waiting
        known = self._store.state(GATHERED)
        self._gathered = from_json(known.value, dict[str, datetime]) if known else {}
        self._carry_out(self._waiting)
        found = (self.read(core.id) for core in self._tracked())
        return State(incidents={tracked.core.id: tracked for tracked in found if tracked is not None})

    def read(self, reference: str) -> Tracked | None:
        """One incident by id or number as it is stored, or None."""
        document = self._store.get(reference)
        if document is None:
            return None
        tracked = Tracked(
            core=document.incident,
            timeline=document.timeline,
            root_cause=document.root_cause,
            runs={run.id: run.state for run in document.remediation},
        )
        return gathered(tracked, self._gathered.get(document.incident.id))

    def _tracked(self) -> Iterator[IncidentChanged]:
        """Open and resolved incidents, and canceled ones whose anomalies go on: grouping ignores the ITIL state."""
        offset = 0
        while True:
            page = self._store.search(IncidentQuery(states=_TRACKED, limit=_PAGE, offset=offset))
            yield from page.incidents
            offset += len(page.incidents)
            if not page.incidents or offset >= page.total:
                break
        canceled = self._store.search(IncidentQuery(states=(IncidentState.CANCELED,), limit=_PAGE))
        yield from (core for core in canceled.incidents if any(map(is_open, core.anomalies)))

    def commit(self, changes: Sequence[Change]) -> None:
        """Make changes durable and visible; `take` returns them for emission.

        Raises:
            Conflict: somebody else changed an incident or the journal: load again and decide anew.
            Unavailable: the store or the ticket log cannot be reached: load again before the next attempt.
        """
        if not changes:
            return
        self._require_current(changes)
        waiting = (*self._waiting, *changes)
        self._write_journal(to_json(waiting).decode())
        self._swept = False
        self._carry_out(changes)
        self._waiting = waiting

    def _require_current(self, changes: Sequence[Change]) -> None:
        """Refuse changes of a version that is not the stored one before the journal promises them."""
        firsts = {change.core.id: change.core.version for change in reversed(changes)}
        for incident, version in firsts.items():
            stored = self._store.section(incident, Section.INCIDENT)
            known = stored[0].version if stored else 0
            if known != version - 1:
                raise Conflict(f"incident {incident} is at version {known}, not {version - 1}")

    def take(self) -> list[Emit]:
        """Emits of the changes that were not returned yet, or whose emission failed."""
        fresh = self._waiting[self._returned :]
        self._returned = len(self._waiting)
        if not self.awaits_acknowledgement:
            self.acknowledged()
        return [Emit(topic=INCIDENTS, key=change.core.id, record=change.core) for change in fresh]

    def acknowledged(self) -> None:
        """The broker has everything that was returned; the journal is emptied by the next `sweep`."""
        self._waiting, self._returned = self._waiting[self._returned :], 0

    def failed(self) -> None:
        """The broker did not confirm: return everything again."""
        self._returned = 0

    def forget(self, incident: str) -> None:
        """Drop what is remembered of an incident that is over."""
        self._gathered.pop(incident, None)

    def sweep(self) -> None:
        """Empty the journal once everything in it was told."""
        if self._swept or self._waiting:
            return
        self._write_journal(_EMPTY)
        self._swept = True

    def _write_journal(self, text: str) -> None:
        self._journal_version = self._store.put_state(JOURNAL, text, expected_version=self._journal_version)

    def _carry_out(self, changes: Sequence[Change]) -> None:
        """Write sections, cores and log lines of changes in order; what is there already is left alone."""
        by_incident = sorted(changes, key=lambda change: (change.core.id, change.core.version))
        for incident, group in groupby(by_incident, key=lambda change: change.core.id):
            self._write_incident(incident, list(group))
        self._log.write(changes)

    def _write_incident(self, incident: str, changes: Sequence[Change]) -> None:
        """Sections first, then the newest core: who sees a version finds the history that belongs to it."""
        stored = self._store.section(incident, Section.INCIDENT)
        version = stored[0].version if stored else 0
        if version < changes[0].core.version - 1:
            raise Conflict(f"incident {incident} is at version {version}, expected {changes[0].core.version - 1}")
        entries = tuple(entry for change in changes for entry in change.entries)
        if entries:
            self._tell(incident, entries)
        for change in changes:
            if change.core.version > version:
                self._write_sections(incident, change)
        newest = changes[-1].core
        if newest.version > version:
            self._store.put(incident, Section.INCIDENT, newest, expected_version=stored[1] if stored else 0)

    def _write_sections(self, incident: str, change: Change) -> None:
        if change.root_cause is not None:
            self._store.put(incident, Section.ROOT_CAUSE, change.root_cause)
        if change.context is not None:
            self._store.put(incident, Section.CONTEXT, change.context)
        if change.gathered_until is not None:
            self._gathered[incident] = change.gathered_until
            self._store.put_state(GATHERED, to_json(self._gathered).decode())

    def _tell(self, incident: str, entries: Sequence[TimelineEntry]) -> None:
        known = self._store.section(incident, Section.TIMELINE)
        timeline = known[0] if known else ()
        told = in_order((*timeline, *entries))
        if told != timeline:
            self._store.put(incident, Section.TIMELINE, told)
