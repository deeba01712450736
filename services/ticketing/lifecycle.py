"""The ITIL states of an incident: which command may do what, and what reopening means."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

from libs.contracts.command import CommandKind
from libs.contracts.incident import OPEN_STATES, IncidentChanged, IncidentState
from libs.contracts.remediation import RunState

CLOSE_AFTER: Final = timedelta(hours=24)
# A run that changes production or watches what it changed: recovery must not end the incident under its hands.
ACTIVE_RUNS: Final = frozenset({RunState.RUNNING, RunState.VERIFYING, RunState.HOLDING, RunState.ROLLING_BACK})

_ANY: Final = frozenset(IncidentState)
ALLOWED: Final[Mapping[CommandKind, frozenset[IncidentState]]] = {
    CommandKind.ACKNOWLEDGE: OPEN_STATES,
    CommandKind.COMMENT: _ANY,
    CommandKind.HOLD: frozenset({IncidentState.NEW, IncidentState.IN_PROGRESS}),
    CommandKind.RESOLVE: OPEN_STATES,
    CommandKind.CANCEL: OPEN_STATES,
    CommandKind.CONFIRM_ROOT_CAUSE: _ANY - {IncidentState.CANCELED},
}


def refusal(kind: CommandKind, incident: IncidentChanged) -> str:
    """Why a command cannot be carried out on an incident in its state; "" when it can."""
    allowed = ALLOWED[kind]
    if incident.state in allowed:
        return ""
    wanted = " or ".join(sorted(state.value for state in allowed))
    return f"{incident.number} is {incident.state.value}; {kind.value} needs {wanted}"


def is_over(incident: IncidentChanged) -> bool:
    """Whether the incident is resolved, closed or canceled."""
    return incident.state not in OPEN_STATES


def reopened(incident: IncidentChanged) -> IncidentChanged:
    """The incident in work again: with whoever took it, else waiting for somebody."""
    state = IncidentState.IN_PROGRESS if incident.acknowledged_at else IncidentState.NEW
    return replace(incident, state=state, resolved_at=None, resolved_by=None)
