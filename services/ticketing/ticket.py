"""What ticketing holds of an incident, and one change of it: the values that the decisions work on."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from libs.contracts.document import IncidentContext, RootCause, TimelineEntry
from libs.contracts.incident import IncidentChange, IncidentChanged
from libs.contracts.remediation import RunState
from services.ticketing.episodes import counting, quiet_since
from services.ticketing.grouping import Nearby

ACTOR: Final = "ticketing"
_NAMESPACE: Final = uuid.UUID("6c5f3c0e-2f3e-5d5b-9a54-0b8f6a1d7c11")


def incident_id(first_anomaly_id: str) -> str:
    """Id of the incident that an anomaly opens."""
    return str(uuid.uuid5(_NAMESPACE, f"incident:{first_anomaly_id}"))


def entry_id(incident: str, *parts: object) -> str:
    """Id of a timeline entry, from what it tells, so that the same thing is told once."""
    return str(uuid.uuid5(_NAMESPACE, ":".join(["entry", incident, *(str(part) for part in parts)])))


def change_id(incident: str, version: int) -> str:
    """Id of one change of an incident in the ticket log and towards other ticket systems."""
    return str(uuid.uuid5(_NAMESPACE, f"change:{incident}:{version}"))


def audit_id(*parts: object) -> str:
    """Id of a line of the audit trail that changes no incident."""
    return str(uuid.uuid5(_NAMESPACE, ":".join(["audit", *(str(part) for part in parts)])))


def command_entry_id(incident: str, command_id: str) -> str:
    """Id of the timeline entry that a command leaves: its presence says that the command was carried out."""
    return entry_id(incident, "command", command_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """One incident as ticketing knows it.

    Attributes:
        core: The newest core.
        timeline: Its history.
        root_cause: Confirmed root cause, if any.
        runs: Newest known state of each remediation run.
        context_due: Whether its surroundings should be gathered again.
        context_at: Event time up to which they were gathered last.
    """

    core: IncidentChanged
    timeline: tuple[TimelineEntry, ...] = ()
    root_cause: RootCause | None = None
    runs: Mapping[str, RunState] = field(default_factory=dict)
    context_due: bool = True
    context_at: datetime | None = None

    @property
    def settled(self) -> bool:
        """Whether its surroundings are known up to the moment at which the last anomaly closed."""
        quiet = quiet_since(self.core)
        return quiet is not None and self.context_at is not None and self.context_at >= quiet

    def tells(self, entry: str) -> bool:
        """Whether the timeline holds an entry already."""
        return any(known.id == entry for known in self.timeline)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Every incident that an event may still change.

    Attributes:
        incidents: By incident id.
    """

    incidents: Mapping[str, Tracked] = field(default_factory=dict)

    def holder_of(self, anomaly_id: str) -> Tracked | None:
        """The incident that an anomaly belongs to."""
        for tracked in self.incidents.values():
            if any(known.id == anomaly_id for known in tracked.core.anomalies):
                return tracked
        return None

    def find(self, reference: str) -> Tracked | None:
        """An incident by id or number."""
        found = self.incidents.get(reference)
        if found is not None:
            return found
        return next((t for t in self.incidents.values() if t.core.number == reference.upper()), None)

    def with_(self, tracked: Tracked) -> "State":
        """The state with one incident replaced or added."""
        return State(incidents={**self.incidents, tracked.core.id: tracked})

    def without(self, incident: str) -> "State":
        """The state without one incident."""
        return State(incidents={key: value for key, value in self.incidents.items() if key != incident})


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings(Nearby):
    """What the shell looked up before a decision; `correlation_s` is also the quiet that means recovery.

    Attributes:
        observed_at: Wall clock of the decision.
    """

    observed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one incident: what is stored, told and logged.

    Attributes:
        core: The core after the change.
        entries: New lines of the timeline.
        root_cause: Newly confirmed root cause, if any.
        context: Newly gathered surroundings, if any.
        gathered_until: Event time up to which they were gathered.
        why: Why it changed, one sentence.
        actor: Who changed it: a service or a person.
        anomaly_ids: Anomalies that caused it.
    """

    core: IncidentChanged
    entries: tuple[TimelineEntry, ...] = ()
    root_cause: RootCause | None = None
    context: IncidentContext | None = None
    gathered_until: datetime | None = None
    why: str
    actor: str = ACTOR
    anomaly_ids: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Derived from incident and version."""
        return change_id(self.core.id, self.core.version)


def step(
    tracked: Tracked,
    core: IncidentChanged,
    change: IncidentChange,
    around: Surroundings,
    *,
    why: str,
    entries: tuple[TimelineEntry, ...] = (),
    actor: str = ACTOR,
    anomaly_ids: tuple[str, ...] = (),
    root_cause: RootCause | None = None,
    context: IncidentContext | None = None,
) -> tuple[Tracked, Change]:
    """Make the next version of an incident: count up, name the change, append to the timeline."""
    core = replace(core, version=tracked.core.version + 1, change=change, observed_at=around.observed_at)
    fresh = tuple(entry for entry in entries if not tracked.tells(entry.id))
    after = replace(
        tracked,
        core=core,
        timeline=in_order((*tracked.timeline, *fresh)),
        root_cause=root_cause if root_cause is not None else tracked.root_cause,
    )
    told = Change(
        core=core,
        entries=fresh,
        root_cause=root_cause,
        context=context,
        why=why,
        actor=actor,
        anomaly_ids=anomaly_ids,
    )
    return after, told


def gathered(tracked: Tracked, until: datetime | None) -> Tracked:
    """The incident with its surroundings known up to a moment; what deviates since then is still to be looked at."""
    due = until is None or any(anomaly.detected_at > until for anomaly in counting(tracked.core.anomalies))
    return replace(tracked, context_due=due, context_at=until)


def in_order(entries: tuple[TimelineEntry, ...]) -> tuple[TimelineEntry, ...]:
    """Timeline entries oldest first, each id once."""
    unique = {entry.id: entry for entry in entries}
    return tuple(sorted(unique.values(), key=lambda entry: (entry.at, entry.id)))
