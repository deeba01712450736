"""Keep other ticket systems up to date: the newest state of each incident, with bounded retries, after it was told.

Delivery never delays a ticket: one attempt per tick, then a back-off per system. What was delivered is remembered in
the incident store, so a restart goes on where it stopped.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.contracts.document import LinkedTicket, Section
from libs.errors import InvalidMessage, Unavailable
from libs.observability.log import Logger
from libs.stores.incidents import IncidentStore
from services.ticketing.backends import TicketBackend
from services.ticketing.ticket import Change, Tracked

ATTEMPTS: Final = 8  # with the doubling back-off about four minutes of outage; the next change starts afresh
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_LAST_S: Final = 60.0
_KEY: Final = "ticketing/delivered/"


@dataclass(slots=True)
class _Progress:
    """How far one system is: delivered versions by incident, failures in a row, earliest next attempt."""

    delivered: dict[str, int]
    failures: int = 0
    not_before: datetime | None = None


class Delivery:
    """Delivers to every configured system.

    Args:
        backends: Systems by name.
        store: Remembers what was delivered and takes the links.
        log: Canonical log.
    """

    def __init__(self, backends: Mapping[str, TicketBackend], store: IncidentStore, log: Logger) -> None:
        self._backends = backends
        self._store = store
        self._log = log
        self._progress: dict[str, _Progress] = {}
        self._newest: dict[str, Change] = {}

    def note(self, changes: Iterable[Change]) -> None:
        """Remember the newest change of each incident with its reason and actor."""
        if self._backends:
            self._newest.update({change.core.id: change for change in changes})

    def attempt(self, incidents: Iterable[Tracked], now: datetime) -> None:
        """Make at most one delivery per system; `now` is the wall clock."""
        if not self._backends:
            return
        known = sorted(incidents, key=lambda tracked: (tracked.core.opened_at, tracked.core.id))
        for name, backend in self._backends.items():
            progress = self._progress.setdefault(name, _Progress(delivered=self._delivered(name)))
            if progress.not_before is not None and now < progress.not_before:
                continue
            due = next((t for t in known if progress.delivered.get(t.core.id, 0) < t.core.version), None)
            if due is not None:
                self._deliver(name, backend, progress, self._change_of(due), now)

    def _change_of(self, tracked: Tracked) -> Change:
        newest = self._newest.get(tracked.core.id)
        if newest is not None and newest.core.version == tracked.core.version:
            return newest
        return Change(core=tracked.core, why="the newest state, after a restart")

    def _deliver(self, name: str, backend: TicketBackend, progress: _Progress, change: Change, now: datetime) -> None:
        core = change.core
        try:
            link = backend.sync(change)
        except Unavailable as error:
            progress.failures += 1
            wait_s = min(BACKOFF_LAST_S, BACKOFF_FIRST_S * 2.0 ** (progress.failures - 1))
            progress.not_before = now + timedelta(seconds=wait_s)
            if progress.failures < ATTEMPTS:
                return
            self._log.warning("ticket not delivered", system=name, number=core.number, reason=str(error))
        except InvalidMessage as error:
            self._log.warning("ticket refused", system=name, number=core.number, reason=str(error))
        else:
            if link is not None:
                self._keep_link(core.id, link)
        progress.failures, progress.not_before = 0, None
        progress.delivered[core.id] = core.version
        self._store.put_state(_KEY + name, json.dumps(progress.delivered))

    def forget(self, incident: str) -> None:
        """Stop following an incident that is over."""
        self._newest.pop(incident, None)
        for progress in self._progress.values():
            progress.delivered.pop(incident, None)

    def _keep_link(self, incident: str, link: LinkedTicket) -> None:
        stored = self._store.section(incident, Section.TICKETS)
        links: tuple[LinkedTicket, ...] = stored[0] if stored else ()
        if link not in links:
            kept = tuple(known for known in links if known.system != link.system)
            self._store.put(incident, Section.TICKETS, (*kept, link))

    def _delivered(self, name: str) -> dict[str, int]:
        stored = self._store.state(_KEY + name)
        return {str(key): int(value) for key, value in json.loads(stored.value).items()} if stored else {}
