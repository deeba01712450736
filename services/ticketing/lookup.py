"""Look up what a decision needs besides the message: the call graph, services between, a forgotten incident."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.codec import ns_from_utc
from libs.contracts.command import Command
from libs.contracts.document import Section
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.remediation import RemediationChanged
from libs.contracts.telemetry import ChangeEvent
from libs.errors import InvalidMessage
from libs.stores.incidents import IncidentStore
from libs.stores.telemetry import TelemetryReader, Window
from services.ticketing.deviation import deviating_services
from services.ticketing.facts import Fact, Remediated, Told, acted_on
from services.ticketing.graph import CallGraph, call_graph
from services.ticketing.grouping import deviating_in, ends_of, near_in_time, reach, undecided
from services.ticketing.ledger import Ledger
from services.ticketing.ticket import State, Surroundings, incident_id

# The actor of changes that a remediation made: a fix is no new disruption.
OWN_ACTOR: Final = "paramedic"


class Lookup:
    """Asks the stores; every method raises `Unavailable` when one cannot be reached.

    Args:
        incidents: The incident store.
        telemetry: The telemetry store.
        ledger: Reads single incidents.
        correlation_s: Longest time between starts of deviations of one incident.
        clock: Wall clock (event time in a replay), for `observed_at` only.
    """

    def __init__(
        self,
        incidents: IncidentStore,
        telemetry: TelemetryReader,
        ledger: Ledger,
        *,
        correlation_s: float,
        clock: Callable[[], datetime],
    ) -> None:
        self._incidents = incidents
        self._telemetry = telemetry
        self._ledger = ledger
        self._correlation_s = correlation_s
        self._clock = clock
        self.graph = CallGraph()

    def refresh_graph(self) -> None:
        """Read the call graph as it is now learned."""
        self.graph = call_graph(self._telemetry.edges())

    def around(self, deviating: frozenset[str] = frozenset(), changed_at: tuple[datetime, ...] = ()) -> Surroundings:
        """What a decision may know."""
        return Surroundings(
            graph=self.graph,
            deviating=deviating,
            changed_at=changed_at,
            observed_at=self._clock(),
            correlation_s=self._correlation_s,
        )

    def around_fact(self, state: State, fact: Told, batch: Sequence[Told]) -> Surroundings:
        """What a decision on a fact may know; a new anomaly needs to know what deviates and what was changed, too."""
        if not isinstance(fact, AnomalyDetected) or state.holder_of(fact.id) is not None:
            return self.around()
        cores = [tracked.core for tracked in state.incidents.values()]
        changed_at = self._changed_at(fact, cores)
        wanted = undecided(fact, cores, self.graph, self._correlation_s)
        if not wanted:
            return self.around(changed_at=changed_at)
        known = [one for core in cores for one in core.anomalies]
        known += [one for one in batch if isinstance(one, AnomalyDetected)]
        told = deviating_in(known, fact.started_at, reach((fact,), self._correlation_s))
        seen = deviating_services(self._telemetry, wanted - told, started_at=fact.started_at, until=fact.detected_at)
        return self.around(told | seen, changed_at)

    def _changed_at(self, anomaly: AnomalyDetected, cores: Sequence[IncidentChanged]) -> tuple[datetime, ...]:
        """Changes of the anomaly's service or callee since the beginning of incidents that it is near to in time."""
        starts = [core.started_at for core in cores if near_in_time(anomaly, core, self._correlation_s)]
        if not starts or min(starts) >= anomaly.detected_at:
            return ()
        window = Window(start_ns=ns_from_utc(min(starts)), end_ns=ns_from_utc(anomaly.detected_at))
        changes = self._telemetry.changes(window, services=tuple(sorted(ends_of(anomaly))))
        return tuple(sorted(change.timestamp for change in changes if change.actor.casefold() != OWN_ACTOR))

    def admit(self, state: State, fact: Told) -> State:
        """Bring in an incident that is stored but no longer followed: an old anomaly redelivered, a late comment.

        Raises:
            InvalidMessage: an investigation or a remediation of an incident that does not exist.
        """
        reference = _reference(state, fact)
        if not reference or state.find(reference) is not None:
            return state
        tracked = self._ledger.read(reference)
        if tracked is not None:
            return state.with_(tracked)
        if isinstance(fact, InvestigationCompleted | RemediationChanged):
            raise InvalidMessage(f"{type(fact).__name__} {fact.id}: no incident {reference!r}")
        return state

    def complete(self, fact: Told) -> Fact:
        """Add what a decision needs to know besides the message."""
        if not isinstance(fact, RemediationChanged):
            return fact
        stored = self._incidents.section(fact.incident_id, Section.INVESTIGATION)
        return Remediated(run=fact, hypothesis=acted_on(fact, stored[0].hypotheses) if stored else None)


def _reference(state: State, fact: Told) -> str:
    """Id or number of the incident that a fact is about; "" when there is none to look up."""
    match fact:
        case AnomalyDetected():
            return "" if state.holder_of(fact.id) is not None else incident_id(fact.id)
        case InvestigationCompleted() | RemediationChanged():
            return fact.incident_id
        case Command():
            return fact.target
        case ChangeEvent():
            return ""
