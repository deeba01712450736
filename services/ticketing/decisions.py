"""Write people's decisions to the topic `commands` and wait, bounded, for their effect in the store."""

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeVar

from libs.contracts.codec import Codec, from_json
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import IncidentDocument, Section
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.remediation import FINAL_STATES, RemediationChanged
from libs.errors import Conflict, NotFound
from libs.stores.incidents import IncidentStore
from libs.streaming.broker import Producer
from libs.streaming.command_sender import CommandSender
from services.ticketing.lifecycle import ALLOWED, refusal
from services.ticketing.ticket import audit_id, command_entry_id

EFFECT_S: Final = 2.0
_LOOK_S: Final = 0.04
RECOMMENDATION_PREFIX: Final = "recommendation/"  # of the recommender's shared state
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a person asks for.

    Attributes:
        kind: What is to be done.
        actor: Who decided.
        reason: Why.
        arguments: More, as `kind` needs.
        key: The caller's Idempotency-Key, "" for none: the same key is carried out once.
    """

    kind: CommandKind
    actor: str
    reason: str = ""
    arguments: Mapping[str, str]
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it.

    Attributes:
        command_id: Id of the command.
        document: The incident with the effect; None when it was not visible in time.
        recommendation: The same for a decision on a recommendation.
    """

    command_id: str
    document: IncidentDocument | None = None
    recommendation: CodeChangeRecommended | None = None


class Decisions:
    """Sends commands; safe to be used from several threads.

    Args:
        store: Where effects show.
        producer: Opens the connection to the broker.
        codec: Records to bytes.
        clock: Wall clock, for `issued_at`.
        new_id: Makes ids of commands that bring no key.
        effect_s: Longest wait for an effect.
    """

    def __init__(
        self,
        store: IncidentStore,
        producer: Callable[[], Producer],
        codec: Codec,
        *,
        clock: Callable[[], datetime],
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        effect_s: float = EFFECT_S,
    ) -> None:
        self._store = store
        self._sender = CommandSender(producer, codec)
        self._clock = clock
        self._new_id = new_id
        self._effect_s = effect_s
        self._closing = threading.Event()

    def connect(self) -> None:
        """Connect to the broker before the first decision waits for it."""
        self._sender.connect()

    def on_incident(self, reference: str, request: Request) -> Outcome:
        """Decide on an incident.

        Raises:
            NotFound: no such incident.
            Conflict: its state does not allow it.
            Unavailable: the broker did not acknowledge, or the store is down.
        """
        document = self.incident(reference)
        core = document.incident
        command_id = self._command_id(core.id, request)
        entry = command_entry_id(core.id, command_id)
        if any(line.id == entry for line in document.timeline):
            return Outcome(command_id=command_id, document=document)
        if request.kind in ALLOWED:
            refused = refusal(request.kind, core)
            if refused:
                raise Conflict(refused)
        self._send(core.id, command_id, request)
        if request.kind not in ALLOWED:
            return Outcome(command_id=command_id)

        def effect() -> IncidentDocument | None:
            newest = self._store.get(core.id)
            told = newest is not None and any(line.id == entry for line in newest.timeline)
            return newest if newest is not None and told and newest.incident.version > core.version else None

        return Outcome(command_id=command_id, document=self._wait(effect))

    def on_run(self, run_id: str, request: Request) -> Outcome:
        """Approve or reject a remediation run; errors as for `on_incident`."""
        run = self.run(run_id)
        if run.state in FINAL_STATES:
            raise Conflict(f"run {run_id} is {run.state.value}; there is nothing left to decide")
        command_id = self._command_id(run_id, request)
        self._send(run_id, command_id, request)

        def effect() -> IncidentDocument | None:
            newest = self._store.get(run.incident_id)
            moved = newest is not None and any(r.id == run_id and r.version > run.version for r in newest.remediation)
            return newest if moved else None

        return Outcome(command_id=command_id, document=self._wait(effect))

    def on_recommendation(self, identity: str, request: Request) -> Outcome:
        """Accept or dismiss a recommended change; errors as for `on_incident`."""
        before = self._store.state(RECOMMENDATION_PREFIX + identity)
        if before is None:
            raise NotFound(f"no recommendation {identity!r}; GET /api/v1/recommendations lists them")
        if from_json(before.value, CodeChangeRecommended).state == "superseded":
            raise Conflict(f"recommendation {identity} is superseded; there is nothing left to decide")
        command_id = self._command_id(identity, request)
        self._send(identity, command_id, request)

        def effect() -> CodeChangeRecommended | None:
            newest = self._store.state(RECOMMENDATION_PREFIX + identity)
            moved = newest is not None and newest.version > before.version
            return from_json(newest.value, CodeChangeRecommended) if newest is not None and moved else None

        return Outcome(command_id=command_id, recommendation=self._wait(effect))

    def on_platform(self, request: Request) -> Outcome:
        """Halt or resume everything that changes production; errors as for `on_incident`."""
        command_id = self._command_id("", request)
        self._send("", command_id, request)
        return Outcome(command_id=command_id)

    def incident(self, reference: str) -> IncidentDocument:
        """The document by id or number; `NotFound` says how to find one."""
        document = self._store.get(reference)
        if document is None:
            raise NotFound(
                f"no incident {reference!r}; give an id or a number like INC-000042, GET /api/v1/incidents lists them"
            )
        return document

    def run(self, run_id: str) -> RemediationChanged:
        """A remediation run by id; `NotFound` says how to find one."""
        runs = (run for _, held in self._store.sections(Section.REMEDIATION) for run in held)
        found: RemediationChanged | None = next((run for run in runs if run.id == run_id), None)
        if found is not None:
            return found
        raise NotFound(f"no remediation run {run_id!r}; GET /api/v1/remediations lists them")

    def close(self) -> None:
        """End waiting requests and let go of the broker."""
        self._closing.set()
        self._sender.close()

    def _command_id(self, target: str, request: Request) -> str:
        if not request.key:
            return self._new_id()
        return audit_id("key", target, request.kind.value, request.actor, request.key)

    def _send(self, target: str, command_id: str, request: Request) -> None:
        command = Command(
            id=command_id,
            kind=request.kind,
            target=target,
            actor=request.actor,
            reason=request.reason,
            arguments=request.arguments,
            issued_at=self._clock(),
        )
        self._sender.send(command)

    def _wait(self, effect: Callable[[], T | None]) -> T | None:
        until = time.monotonic() + self._effect_s
        while True:
            found = effect()
            if found is not None or time.monotonic() >= until or self._closing.wait(_LOOK_S):
                return found
