"""The ledger: one write per decision makes it durable; what people and other services see of it follows from that.

A run is stored under one key with the public states that are not known to be published. After a kill at any point the
section of the document, the log and the emits are made up from there again; each is harmless twice.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from libs.contracts.codec import from_json, to_json
from libs.contracts.document import Section
from libs.contracts.remediation import RemediationChanged
from libs.contracts.topics import REMEDIATIONS
from libs.errors import InvalidMessage
from libs.observability.log import Logger
from libs.stores.incidents import IncidentStore
from libs.streaming.handler import Emit
from services.remediation.run import Run
from services.remediation.self_healing_log import SelfHealingLog
from services.remediation.switches import HALT_KEY, MODES_KEY, Halt, Modes

T = TypeVar("T")
RUN_PREFIX: Final = "remediation/run/"
# An ended run counts against the hourly guardrail for an hour; then its document is all that is left of it.
REMEMBERED: Final = timedelta(hours=1)
_FORGOTTEN: Final = "null"


class Ledger:
    """Runs and switches of this service; one writer, checked by versions.

    Args:
        store: Where they live.
        log: Takes every public state, once.
        warn: Where a stored run that cannot be read is told.

    Attributes:
        awaits_acknowledgement: Whether `acknowledged` will be called; without it what was returned counts as told.
    """

    def __init__(self, store: IncidentStore, log: SelfHealingLog, warn: Logger) -> None:
        self._store = store
        self._log = log
        self._warn = warn
        self._runs: dict[str, Run] = {}
        self._versions: dict[str, int] = {}
        self._returned: dict[str, int] = {}
        self._unswept: set[str] = set()
        self._projected: set[str] = set()
        self.halt = Halt()
        self.modes = Modes()
        self.awaits_acknowledgement = False

    def load(self) -> list[Run]:
        """Read everything; the active runs. `Unavailable` when the store cannot be reached."""
        stored = self._store.states(RUN_PREFIX)
        self._runs, self._versions, self._returned = {}, {}, {}
        self._unswept, self._projected = set(), set()
        for key, state in stored.items():
            run_id = key.removeprefix(RUN_PREFIX)
            self._versions[run_id] = state.version
            if state.value == _FORGOTTEN:
                continue
            try:
                self._runs[run_id] = from_json(state.value, Run)
            except InvalidMessage as error:
                self._warn.error("stored run cannot be read", error=error, run=run_id)
        self.halt, self._halt_version = self._switch(HALT_KEY, Halt, Halt())
        self.modes, self._modes_version = self._switch(MODES_KEY, Modes, Modes())
        return self.active()

    def active(self) -> list[Run]:
        """Runs that have not ended, oldest first."""
        return self._sorted(run for run in self._runs.values() if not run.ended)

    def all(self) -> list[Run]:
        """Runs that are active or ended lately, oldest first."""
        return self._sorted(self._runs.values())

    def get(self, run_id: str) -> Run | None:
        """A run that is active or ended lately, or None."""
        return self._runs.get(run_id)

    def of_incident(self, incident_id: str) -> list[Run]:
        """Runs of an incident that are active or ended lately, oldest first."""
        return self._sorted(run for run in self._runs.values() if run.change.incident_id == incident_id)

    def others(self, run: Run) -> tuple[Run, ...]:
        """Every other run that is active or ended lately."""
        return tuple(other for other in self._runs.values() if other.id != run.id)

    def knows(self, run_id: str) -> bool:
        """Whether a run was ever stored."""
        return run_id in self._versions

    def told(self, incident_id: str) -> tuple[RemediationChanged, ...]:
        """Every run of an incident, newest states."""
        section = self._store.section(incident_id, Section.REMEDIATION)
        known = {run.id: run for run in (section[0] if section else ())}
        known |= {run.id: run.change for run in self.of_incident(incident_id)}
        return tuple(known.values())

    def save(self, run: Run) -> None:
        """Make a decision durable, then visible.

        Raises:
            Conflict: another instance of this service wrote the run: load again.
            Unavailable: the store or the log cannot be reached: load again before the next attempt.
        """
        if self._runs.get(run.id) == run:
            return
        self._put(run)
        self._runs[run.id] = run
        self._projected.discard(run.id)
        self._project(run)

    def save_halt(self, halt: Halt) -> None:
        """Turn the halt switch; `Conflict` as for `save`."""
        self._halt_version = self._store.put_state(
            HALT_KEY, to_json(halt).decode(), expected_version=self._halt_version
        )
        self.halt = halt

    def save_modes(self, modes: Modes) -> None:
        """Set modes; `Conflict` as for `save`."""
        self._modes_version = self._store.put_state(
            MODES_KEY, to_json(modes).decode(), expected_version=self._modes_version
        )
        self.modes = modes

    def take(self) -> list[Emit]:
        """Emits of public states that were not returned yet, or whose emission failed."""
        fresh: list[RemediationChanged] = []
        for run in self._sorted(self._runs.values()):
            if not run.pending:
                continue
            self._project(run)
            fresh.extend(change for change in run.pending if change.version > self._returned.get(run.id, 0))
            self._returned[run.id] = run.pending[-1].version
        if not self.awaits_acknowledgement:
            self.acknowledged()
        return [Emit(topic=REMEDIATIONS, key=change.incident_id, record=change) for change in fresh]

    def acknowledged(self) -> None:
        """The broker has everything that was returned."""
        for run_id, version in self._returned.items():
            run = self._runs.get(run_id)
            if run is not None and run.pending:
                waiting = tuple(change for change in run.pending if change.version > version)
                self._runs[run_id] = replace(run, pending=waiting)
                self._unswept.add(run_id)
        self._returned = {}

    def failed(self) -> None:
        """The broker did not confirm: return everything again."""
        self._returned = {}

    def sweep(self, now: datetime) -> None:
        """Forget what is published, and runs that ended long ago; `now` is the later of wall clock and event time."""
        for run_id in sorted(self._unswept):
            run = self._runs[run_id]
            if run.ended and not run.pending:
                self._put(run)
            self._unswept.discard(run_id)
        for run in [run for run in self._runs.values() if run.ended and not run.pending]:
            if run.change.updated_at < now - REMEMBERED:
                self._versions[run.id] = self._store.put_state(
                    RUN_PREFIX + run.id, _FORGOTTEN, expected_version=self._versions[run.id]
                )
                del self._runs[run.id]

    def _put(self, run: Run) -> None:
        self._versions[run.id] = self._store.put_state(
            RUN_PREFIX + run.id, to_json(run).decode(), expected_version=self._versions.get(run.id, 0)
        )

    def _project(self, run: Run) -> None:
        """Bring the section of the document and the log up to the run."""
        if run.id in self._projected or not run.pending:
            return
        incident = run.change.incident_id
        section = self._store.section(incident, Section.REMEDIATION)
        known: Sequence[RemediationChanged] = section[0] if section else ()
        newest = tuple(
            run.change if told.id == run.id and told.version < run.change.version else told for told in known
        )
        if all(told.id != run.id for told in known):
            newest = (*known, run.change)
        if newest != tuple(known):
            self._store.put(incident, Section.REMEDIATION, newest, expected_version=section[1] if section else 0)
        self._log.write(run.incident_number, run.pending)
        self._projected.add(run.id)

    def _switch(self, key: str, kind: type[T], default: T) -> tuple[T, int]:
        state = self._store.state(key)
        return (from_json(state.value, kind), state.version) if state else (default, 0)

    def _sorted(self, runs: Iterable[Run]) -> list[Run]:
        return sorted(runs, key=lambda run: (run.change.requested_at, run.id))
