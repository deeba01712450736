"""Decide what a person's command does to an incident; the same command id is carried out once."""

from dataclasses import replace
from typing import Final

from libs.contracts.command import Command, CommandKind
from libs.contracts.document import RootCause, TimelineEntry
from libs.contracts.incident import IncidentChange, IncidentChanged, IncidentState
from libs.contracts.investigation import CauseKind
from libs.errors import InvalidMessage
from services.ticketing.lifecycle import ALLOWED, refusal
from services.ticketing.narrative import TEXT_CHARACTERS, shorten
from services.ticketing.ticket import Change, State, Surroundings, command_entry_id, step

# Comments are kept whole up to this length; the API refuses longer ones, other writers of the topic are cut.
COMMENT_CHARACTERS: Final = 10_000

_CHANGE: Final = {
    CommandKind.ACKNOWLEDGE: IncidentChange.ACKNOWLEDGED,
    CommandKind.COMMENT: IncidentChange.COMMENTED,
    CommandKind.HOLD: IncidentChange.ON_HOLD,
    CommandKind.RESOLVE: IncidentChange.RESOLVED,
    CommandKind.CANCEL: IncidentChange.CANCELED,
    CommandKind.CONFIRM_ROOT_CAUSE: IncidentChange.ROOT_CAUSE_CONFIRMED,
}
_SAID: Final = {
    CommandKind.ACKNOWLEDGE: "acknowledged",
    CommandKind.HOLD: "put on hold",
    CommandKind.RESOLVE: "resolved",
    CommandKind.CANCEL: "canceled",
}


def concerns_ticketing(command: Command) -> bool:
    """Whether the command is about an incident's ticket; the others belong to remediation and the investigator."""
    return command.kind in ALLOWED


def on_command(state: State, command: Command, around: Surroundings) -> tuple[State, tuple[Change, ...]]:
    """Carry out a command of a person.

    Raises:
        InvalidMessage: no such incident, a state that does not allow it, or missing arguments.
    """
    tracked = state.find(command.target)
    if tracked is None:
        raise InvalidMessage(f"{command.kind.value} by {command.actor}: no incident {command.target!r}")
    identity = command_entry_id(tracked.core.id, command.id)
    if tracked.tells(identity):
        return state, ()
    refused = refusal(command.kind, tracked.core)
    if refused:
        raise InvalidMessage(f"{command.kind.value} by {command.actor}: {refused}")
    cause = root_cause_of(command) if command.kind is CommandKind.CONFIRM_ROOT_CAUSE else None
    text = _text(command, cause)
    line = TimelineEntry(
        id=identity,
        at=command.issued_at,
        actor=command.actor,
        kind="comment" if command.kind is CommandKind.COMMENT else "decision",
        text=text,
    )
    after, change = step(
        tracked,
        _moved(tracked.core, command),
        _CHANGE[command.kind],
        around,
        why=text,
        actor=command.actor,
        entries=(line,),
        root_cause=cause,
    )
    return state.with_(after), (change,)


def root_cause_of(command: Command) -> RootCause:
    """The root cause that a person confirms; `InvalidMessage` when service, kind or text is missing or unknown."""
    service, kind, text = (command.arguments.get(name, "").strip() for name in ("service", "kind", "text"))
    if not service or not text:
        raise InvalidMessage("confirm_root_cause needs the arguments service, kind and text")
    if kind not in set(CauseKind):
        raise InvalidMessage(f"confirm_root_cause: kind {kind!r} is none of {', '.join(CauseKind)}")
    return RootCause(
        service=service,
        kind=kind,
        text=shorten(text, TEXT_CHARACTERS),
        confirmed_by=command.actor,
        confirmed_at=command.issued_at,
        fixed_by=shorten(command.arguments.get("fixed_by", ""), TEXT_CHARACTERS),
    )


def _moved(core: IncidentChanged, command: Command) -> IncidentChanged:
    match command.kind:
        case CommandKind.ACKNOWLEDGE:
            taken = core.acknowledged_at or command.issued_at
            return replace(core, state=IncidentState.IN_PROGRESS, acknowledged_at=taken)
        case CommandKind.HOLD:
            return replace(core, state=IncidentState.ON_HOLD)
        case CommandKind.RESOLVE:
            return replace(core, state=IncidentState.RESOLVED, resolved_at=command.issued_at, resolved_by=command.actor)
        case CommandKind.CANCEL:
            return replace(core, state=IncidentState.CANCELED)
        case _:
            return core


def _text(command: Command, cause: RootCause | None) -> str:
    if command.kind is CommandKind.COMMENT:
        return (command.arguments.get("text") or command.reason)[:COMMENT_CHARACTERS]
    if cause is not None:
        return shorten(f"root cause: {cause.kind} in {cause.service}: {cause.text}", TEXT_CHARACTERS)
    return shorten(_SAID[command.kind] + (f": {command.reason}" if command.reason else ""), TEXT_CHARACTERS)
