"""Which incident is due for an investigation, up to which event time, and why; pure decisions over what is stored."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.contracts.incident import OPEN_STATES, IncidentChange, IncidentChanged
from libs.contracts.investigation import InvestigationCompleted

# A growing incident is looked at again at most this often, in event time.
GROWTH_S: Final = 10.0
# A young incident shows two windows of spans and no point of a metric that comes once a minute: it is looked at again
# when more is known. Two export intervals of 1 min metrics, then of 5 min metrics.
SETTLE_S: Final = (30.0, 120.0, 600.0)
# Telemetry reaches the store within two seconds of an export; what has not come after three is not waited for.
WAIT_S: Final = 3.0

_BEGIN: Final = frozenset({IncidentChange.OPENED, IncidentChange.REOPENED})
# What a look adds is measured by what is known already: a ticket that grew for five minutes was looked at 23 times,
# a second each, which was half of the time of its replay.
_GROWTH_PAUSE: Final = 0.5
_GROW: Final = frozenset({IncidentChange.ANOMALY_ADDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """One investigation to be made.

    Attributes:
        incident_id: The incident.
        as_of: Event time up to which telemetry is considered.
        reason: opened, grown, settled, late or asked.
        asked_at: Wall clock at which waiting for telemetry began.
        with_model: Whether a model may go further afterwards.
        command_id: The command that asked; "" when nobody did.
    """

    incident_id: str
    as_of: datetime
    reason: str
    asked_at: datetime
    with_model: bool = True
    command_id: str = ""


def asked_key(command_id: str) -> str:
    """Shared state that is there once a command to investigate was carried out."""
    return f"investigator/command/{command_id}"


def due_for(event: IncidentChanged, stored: InvestigationCompleted | None, now: datetime) -> Due | None:
    """What a change of an incident asks for.

    Args:
        event: The change.
        stored: Newest investigation of the incident.
        now: Wall clock.
    Returns:
        None when nothing is to be done, or was done already: a message that comes twice asks once.
    """
    if event.state not in OPEN_STATES:
        return None
    if stored is None or event.change in _BEGIN:
        as_of = max(event.opened_at, event.updated_at)
        if stored is not None and stored.as_of >= as_of:
            return None
        return Due(incident_id=event.id, as_of=as_of, reason="opened", asked_at=now)
    if event.change in _GROW and event.updated_at > stored.as_of:
        known_s = (stored.as_of - event.opened_at).total_seconds()
        pause = timedelta(seconds=max(GROWTH_S, _GROWTH_PAUSE * known_s))
        as_of = max(event.updated_at, stored.as_of + pause)
        return Due(incident_id=event.id, as_of=as_of, reason="grown", asked_at=now)
    return None


def settle_moments(opened_at: datetime) -> Sequence[datetime]:
    """When an incident that stays open is looked at again."""
    return [opened_at + timedelta(seconds=seconds) for seconds in SETTLE_S]


def next_settle(incident: IncidentChanged, stored: InvestigationCompleted) -> datetime | None:
    """The next look at an incident that still deviates, None when there is none."""
    if incident.state not in OPEN_STATES or all(anomaly.closed_at is not None for anomaly in incident.anomalies):
        return None
    return next((moment for moment in settle_moments(incident.opened_at) if moment > stored.as_of), None)


def has_waited(due: Due, now: datetime) -> bool:
    """Whether telemetry was waited for long enough."""
    return (now - due.asked_at).total_seconds() >= WAIT_S
