"""The ticketing handler: look up, decide, make the changes durable, return them to be told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.codec import utc_from_ns
from libs.contracts.command import Command
from libs.contracts.document import Section
from libs.contracts.incident import IncidentState
from libs.contracts.topics import ANOMALIES, CHANGES, COMMANDS, INVESTIGATIONS, REMEDIATIONS
from libs.errors import Conflict, InvalidMessage, Unavailable
from libs.observability.log import Logger
from libs.stores.incidents import IncidentStore
from libs.stores.telemetry import TelemetryReader
from libs.streaming.handler import Emit, Event
from services.ticketing.backends.jsonl import TicketLog
from services.ticketing.context import gather
from services.ticketing.decide import decide
from services.ticketing.decide_command import concerns_ticketing
from services.ticketing.delivery import Delivery
from services.ticketing.episodes import quiet_since
from services.ticketing.facts import Gathered, Passed, Told, in_order
from services.ticketing.ledger import Ledger
from services.ticketing.lifecycle import CLOSE_AFTER, is_over
from services.ticketing.lookup import Lookup
from services.ticketing.ticket import Change, State, Tracked, gathered

_CONTEXT_EVERY: Final = timedelta(seconds=10)
_LOOK_EVERY: Final = timedelta(seconds=1)  # recovery and context are decided in seconds; ticks come five times a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the handler works with.

    Attributes:
        incidents: The incident store.
        telemetry: The telemetry store.
        lookup: Asks both what a decision needs to know.
        ledger: Where changes go.
        ticket_log: Takes commands that change no ticket.
        delivery: Other ticket systems.
        log: Canonical log.
    """

    incidents: IncidentStore
    telemetry: TelemetryReader
    lookup: Lookup
    ledger: Ledger
    ticket_log: TicketLog
    delivery: Delivery
    log: Logger


class TicketingHandler:
    """Groups anomalies into incidents and keeps their tickets.

    Args:
        parts: Stores, ledger and logs.
    """

    subscriptions: Sequence[str] = (ANOMALIES, INVESTIGATIONS, REMEDIATIONS, CHANGES, COMMANDS)

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lookup = parts.lookup
        self._state: State | None = None
        self._looked_at: datetime | None = None

    def handle(self, events: Sequence[Event]) -> Sequence[Emit]:
        """Decide a batch as a whole, then act: a message that is refused leaves nothing half done."""
        facts = in_order([event.record for event in events])
        try:
            state = self._known_state()
            state, changes, others = self._decide_all(state, facts)
            return self._act(state, changes, others)
        except Conflict as error:
            self._state = None
            raise Unavailable(f"changed by somebody else: {error}") from error
        except Unavailable:
            self._state = None
            raise
        except InvalidMessage as error:
            self._audit_refusal(facts, error)
            raise

    def tick(self, now: datetime) -> Sequence[Emit]:
        """Do what event time asks for: recovery, closing, context; then bring other ticket systems up to date."""
        try:
            state = self._known_state()
            emits: list[Emit] = []
            if self._looked_at is None or abs(now - self._looked_at) >= _LOOK_EVERY or _fresh(state):
                self._looked_at = now
                emits.extend(self._look(state))
            emits.extend(self._parts.ledger.take())
            self._parts.ledger.sweep()
            self._parts.delivery.attempt(self._known_state().incidents.values(), now)
        except Conflict as error:
            self._state = None
            raise Unavailable(f"changed by somebody else: {error}") from error
        except Unavailable:
            self._state = None
            raise
        return emits

    def close(self) -> None:
        """Nothing is held that the stores do not hold."""

    def acknowledged(self) -> None:
        """The broker has what was returned."""
        self._parts.ledger.acknowledged()

    def failed(self) -> None:
        """The broker may not have what was returned."""
        self._parts.ledger.failed()

    def wait_for_acknowledgement(self) -> None:
        """Keep what is returned until `acknowledged` is called."""
        self._parts.ledger.awaits_acknowledgement = True

    def _known_state(self) -> State:
        if self._state is None:
            self._state = self._parts.ledger.load()
        return self._state

    def _decide_all(self, state: State, facts: Sequence[Told]) -> tuple[State, list[Change], list[Command]]:
        if any(isinstance(fact, AnomalyDetected) for fact in facts):
            self._lookup.refresh_graph()
        changes: list[Change] = []
        others: list[Command] = []
        for fact in facts:
            if isinstance(fact, Command) and not concerns_ticketing(fact):
                others.append(fact)
                continue
            state = self._lookup.admit(state, fact)
            around = self._lookup.around_fact(state, fact, facts)
            state, told = decide(state, self._lookup.complete(fact), around)
            state, numbered = self._numbered(state, told)
            changes.extend(numbered)
        return state, changes, others

    def _numbered(self, state: State, changes: Sequence[Change]) -> tuple[State, list[Change]]:
        """Give new incidents their number."""
        numbered = []
        for change in changes:
            if not change.core.number:
                number = self._parts.incidents.number(change.core.id)
                change = replace(change, core=replace(change.core, number=number))
                tracked = state.incidents[change.core.id]
                state = state.with_(replace(tracked, core=replace(tracked.core, number=number)))
            numbered.append(change)
        return state, numbered

    def _act(self, state: State, changes: Sequence[Change], others: Sequence[Command] = ()) -> list[Emit]:
        self._state = None  # unknown until everything is written; a failure on the way reads it again
        for command in others:
            self._parts.ticket_log.audit(command, "passed on")
        self._parts.ledger.commit(changes)
        self._parts.delivery.note(changes)
        self._state = state
        for change in changes:
            self._log_change(change)
        return self._parts.ledger.take()

    def _log_change(self, change: Change) -> None:
        core = change.core
        self._parts.log.info(
            "incident changed",
            **{
                "incident.id": core.id,
                "incident.number": core.number,
                "incident.change": core.change.value,
                "incident.state": core.state.value,
                "incident.priority": core.priority.value,
                "incident.version": core.version,
                "reason": change.why,
            },
        )

    def _audit_refusal(self, facts: Sequence[Told], error: InvalidMessage) -> None:
        if len(facts) == 1 and isinstance(facts[0], Command):
            self._parts.ticket_log.audit(facts[0], f"refused: {error}")

    def _look(self, state: State) -> list[Emit]:
        """Decide what passed time means, and gather what surrounds incidents that opened, grew or came to rest."""
        watermark_ns = self._parts.telemetry.watermark_ns() if state.incidents else 0
        if not watermark_ns:
            return []
        watermark = utc_from_ns(watermark_ns)
        state, changes = decide(state, Passed(watermark=watermark), self._lookup.around())
        emits = self._act(state, changes)
        for tracked in list(state.incidents.values()):
            if context_wanted(tracked, watermark):
                emits.extend(self._gather(tracked.core.id, watermark))
        self._forget(watermark)
        return emits

    def _gather(self, incident: str, watermark: datetime) -> list[Emit]:
        state = self._known_state()
        tracked = state.incidents[incident]
        self._lookup.refresh_graph()
        found = gather(self._parts.telemetry, self._parts.incidents, tracked.core, self._lookup.graph, watermark)
        stored = self._parts.incidents.section(incident, Section.CONTEXT)
        if stored is not None and stored[0] == found.context:
            self._state = state.with_(gathered(tracked, found.until))
            return []
        fact = Gathered(incident_id=incident, context=found.context, active_users=found.active_users, until=found.until)
        state, changes = decide(state, fact, self._lookup.around())
        return self._act(state, changes)

    def _forget(self, watermark: datetime) -> None:
        """Stop following incidents that ended a day ago; a late event brings one back from the store."""
        state = self._known_state()
        for tracked in list(state.incidents.values()):
            core = tracked.core
            ended = core.state in (IncidentState.CLOSED, IncidentState.CANCELED)
            if ended and core.updated_at + CLOSE_AFTER < watermark:
                state = state.without(core.id)
                self._parts.delivery.forget(core.id)
                self._parts.ledger.forget(core.id)
        self._state = state


def context_wanted(tracked: Tracked, watermark: datetime) -> bool:
    """Whether to gather now: at opening, on growth at most every 10 s of event time, once when all has closed."""
    resting = quiet_since(tracked.core) is not None and not tracked.settled
    if tracked.context_at is None:
        return tracked.context_due or resting
    if resting:
        return True
    return tracked.context_due and not is_over(tracked.core) and watermark - tracked.context_at >= _CONTEXT_EVERY


def _fresh(state: State) -> bool:
    return any(tracked.context_at is None and tracked.context_due for tracked in state.incidents.values())
