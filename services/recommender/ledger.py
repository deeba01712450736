"""What the recommender must not forget: recommendations, which of them the broker still lacks, incidents to look at.

A recommendation is stored before it is told. Its id waits in an outbox until the broker has acknowledged it, so that a
death in between tells it again instead of never.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.contracts.codec import from_json, to_json
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.topics import RECOMMENDATIONS
from libs.errors import InvalidMessage
from libs.observability.log import Logger
from libs.stores.incidents import IncidentStore
from libs.streaming.handler import Emit

PREFIX: Final = "recommendation/"
OUTBOX: Final = "recommender/outbox"
WAITING: Final = "recommender/waiting"
_MOST_WAITING: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentToLookAt:
    """An incident whose investigation is complete.

    Attributes:
        incident_id: The incident.
        services: Services of its leading hypotheses.
        began_ns: When it began, event time.
        as_of_ns: Up to when the investigation looked.
    """

    incident_id: str
    services: tuple[str, ...]
    began_ns: int
    as_of_ns: int


class Ledger:
    """State in the incident store, cached; the recommender is its only writer.

    Args:
        store: The incident store.
        log: Canonical log.
        tells: Whether recommendations go to the topic at all.
    """

    def __init__(self, store: IncidentStore, log: Logger, *, tells: bool = True) -> None:
        self._store = store
        self._log = log
        self._tells = tells
        self._known: dict[str, CodeChangeRecommended] = {}
        self._outbox: list[str] = []
        self._in_flight: list[str] = []
        self._loaded = False
        self.waiting: list[IncidentToLookAt] = []
        self.awaits_acknowledgement = False

    def load(self) -> None:
        """Read everything once; what was never acknowledged will be told again."""
        if self._loaded:
            return
        known: dict[str, CodeChangeRecommended] = {}
        for key, state in self._store.states(PREFIX).items():
            try:
                known[key.removeprefix(PREFIX)] = from_json(state.value, CodeChangeRecommended)
            except InvalidMessage as error:
                self._log.error("unreadable recommendation", key=key, reason=str(error))
        self._known = known
        outbox = self._store.state(OUTBOX)
        self._outbox = [one for one in from_json(outbox.value, list[str]) if one in known] if outbox else []
        self._in_flight = []
        waiting = self._store.state(WAITING)
        self.waiting = from_json(waiting.value, list[IncidentToLookAt]) if waiting else []
        self._loaded = True

    def forget(self) -> None:
        """Read everything again before the next use: a write may have failed half-way."""
        self._loaded = False

    @property
    def known(self) -> dict[str, CodeChangeRecommended]:
        """Stored recommendations by id, a copy."""
        return dict(self._known)

    def get(self, identity: str) -> CodeChangeRecommended | None:
        """One recommendation."""
        return self._known.get(identity)

    def open_of(self, service: str) -> int:
        """How many of a service are open."""
        return sum(one.service == service and one.state == "open" for one in self._known.values())

    def save(self, one: CodeChangeRecommended) -> None:
        """Store a recommendation and put it into the outbox."""
        if self._tells and one.id not in self._outbox:
            self._outbox.append(one.id)
            self._put(OUTBOX, self._outbox)
        self._put(PREFIX + one.id, one)
        self._known[one.id] = one

    def wait_for(self, incident: IncidentToLookAt) -> None:
        """Remember an incident to look at, in place of an earlier investigation of it."""
        self.waiting = [one for one in self.waiting if one.incident_id != incident.incident_id][-_MOST_WAITING + 1 :]
        self.waiting.append(incident)
        self._put(WAITING, self.waiting)

    def looked_at(self, incident: IncidentToLookAt) -> None:
        """Forget an incident that was looked at."""
        if incident in self.waiting:
            self.waiting.remove(incident)
            self._put(WAITING, self.waiting)

    def take(self) -> Sequence[Emit]:
        """What the broker has not acknowledged yet."""
        self._in_flight = list(self._outbox)
        emits = [
            Emit(topic=RECOMMENDATIONS, key=self._known[one].service, record=self._known[one])
            for one in self._in_flight
        ]
        if emits and not self.awaits_acknowledgement:
            self.acknowledged()
        return emits

    def acknowledged(self) -> None:
        """The broker has what was taken."""
        if self._in_flight:
            self._outbox = [one for one in self._outbox if one not in self._in_flight]
            self._in_flight = []
            self._put(OUTBOX, self._outbox)

    def failed(self) -> None:
        """The broker may not have what was taken: it is taken again."""
        self._in_flight = []

    def _put(self, key: str, value: object) -> None:
        self._store.put_state(key, to_json(value).decode())
