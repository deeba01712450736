"""Judge one scenario from the published events alone: pure functions from events to an outcome."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from libs.contracts.incident import OPEN_STATES, IncidentChanged
from libs.contracts.investigation import Hypothesis
from libs.contracts.remediation import RemediationChanged, RunState
from paramedic.demo.observer import Seen, first_anomaly, investigations, newest_incident, openings, runs
from paramedic.demo.scenario import Ending, Scenario

APPROVAL_S: Final = 2.0  # from an approval to its applied action: longer, and people press the button again


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one fault.

    Attributes:
        scenario: Name of the fault.
        title: For people.
        detected_after_s: From the fault being live to the first anomaly of its ticket; None when nothing fired.
        ticket_after_s: From that anomaly to the ticket.
        investigated_after_s: From the ticket to ranked hypotheses.
        incident: Number of the ticket, "" for none.
        incident_id: Its id.
        services: Services on the ticket.
        priority: P1 to P5.
        affected_users: Distinct users.
        first_hypothesis: First hypothesis of the newest investigation, in words.
        first_at_once: Whether the very first investigation already put the right cause first.
        cause_right: Whether the newest investigation puts the injected service and kind first.
        confidence: Confidence of that hypothesis.
        action: Applied action, "" for none.
        run_state: Final state of the remediation run.
        verified: Whether the fix was verified.
        human_needed: Whether a human decided or acted.
        resolved: Whether the incident ended resolved.
        approved_after_s: From a human's approval to the applied action; None where nobody approved.
        history: What the ticket says of an earlier one of the same fault, "" for nothing expected.
        extra_tickets: Tickets opened meanwhile that do not belong to the fault.
        failures: Expectations that did not hold, in words.
    """

    scenario: str
    title: str
    detected_after_s: float | None = None
    ticket_after_s: float | None = None
    investigated_after_s: float | None = None
    incident: str = ""
    incident_id: str = ""
    services: tuple[str, ...] = ()
    priority: str = ""
    affected_users: int = 0
    first_hypothesis: str = ""
    first_at_once: bool = False
    cause_right: bool = False
    confidence: float = 0.0
    action: str = ""
    run_state: str = ""
    verified: bool = False
    human_needed: bool = False
    resolved: bool = False
    approved_after_s: float | None = None
    history: str = ""
    extra_tickets: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()


def is_right(scenario: Scenario, hypothesis: Hypothesis | None) -> bool:
    """Whether a hypothesis names the injected service and kind."""
    return hypothesis is not None and hypothesis.service in scenario.services and hypothesis.kind in scenario.kinds


def ticket_of(scenario: Scenario, events: list[Seen], began_at: datetime) -> tuple[datetime, IncidentChanged] | None:
    """The ticket of a fault: of those opened since, the first whose newest investigation names it, else the first.

    Another one, which an echo of the fault before may have opened earlier, counts as an extra ticket either way.
    """
    opened = openings(events, began_at)
    for at, incident in opened:
        found = investigations(events, incident.id)
        if found and is_right(scenario, next(iter(found[-1][1].hypotheses), None)):
            return at, incident
    return opened[0] if opened else None


def judge(
    scenario: Scenario, events: list[Seen], live_at: datetime, began_at: datetime, approved_at: datetime | None = None
) -> Outcome:
    """Judge a scenario.

    Args:
        scenario: What was injected and what is expected.
        events: Everything published so far.
        live_at: When the fault was live in the shop.
        began_at: When the injection began; tickets opened since then belong to it.
        approved_at: When a human sent an approval; None when none was asked for.
    """
    own = ticket_of(scenario, events, began_at)
    if own is None:
        return Outcome(scenario=scenario.name, title=scenario.title, failures=("no ticket was opened",))
    opened_at, first_state = own
    incident = newest_incident(events, first_state.id) or first_state
    found = investigations(events, incident.id)
    first = found[0][1].hypotheses[:1] if found else ()
    newest = found[-1][1].hypotheses[:1] if found else ()
    top = newest[0] if newest else None
    changes = [change for _, change in runs(events, incident.id)]
    final = last_run(changes)
    anomaly_at = first_anomaly(events, incident)
    outcome = Outcome(
        scenario=scenario.name,
        title=scenario.title,
        detected_after_s=None if anomaly_at is None else max(0.0, (anomaly_at - live_at).total_seconds()),
        ticket_after_s=None if anomaly_at is None else (opened_at - anomaly_at).total_seconds(),
        investigated_after_s=(found[0][0] - opened_at).total_seconds() if found else None,
        incident=incident.number,
        incident_id=incident.id,
        services=incident.services,
        priority=incident.priority,
        affected_users=incident.affected_users.count if incident.affected_users else 0,
        first_hypothesis=f"{top.service}: {top.kind}" if top else "",
        first_at_once=is_right(scenario, first[0] if first else None),
        cause_right=is_right(scenario, top),
        confidence=top.confidence if top else 0.0,
        action=final.action if final and final.applied_at else "",
        run_state=final.state if final else "",
        verified=final is not None and final.state is RunState.SUCCEEDED,
        human_needed=scenario.ending is Ending.HUMAN or any(change.human_involved for change in changes),
        resolved=incident.state not in OPEN_STATES,
        approved_after_s=approved_after_s(events, incident.id, approved_at),
        extra_tickets=tuple(other.number for _, other in openings(events, began_at) if other.id != first_state.id),
    )
    return with_failures(scenario, outcome, incident)


def approved_after_s(events: list[Seen], incident_id: str, approved_at: datetime | None) -> float | None:
    """Seconds from a human's approval to the first event that says that the action was applied."""
    if approved_at is None:
        return None
    applied = [at for at, change in runs(events, incident_id) if at >= approved_at and change.applied_at is not None]
    return (min(applied) - approved_at).total_seconds() if applied else None


def last_run(changes: list[RemediationChanged]) -> RemediationChanged | None:
    """Newest state of the run that got furthest: one that applied something wins over proposals."""
    by_run: dict[str, RemediationChanged] = {}
    for change in changes:
        by_run[change.id] = change
    ordered = sorted(by_run.values(), key=lambda run: (run.applied_at is not None, run.updated_at))
    return ordered[-1] if ordered else None


def with_failures(scenario: Scenario, outcome: Outcome, incident: IncidentChanged) -> Outcome:
    """Add the expectations that did not hold."""
    failures = []
    if outcome.detected_after_s is None:
        failures.append("no anomaly was published for its ticket")
    if not outcome.cause_right:
        failures.append(f"first hypothesis is {outcome.first_hypothesis or 'missing'}")
    if scenario.ending in (Ending.HEALED, Ending.APPROVED):
        if outcome.action != scenario.action:
            failures.append(f"action is {outcome.action or 'none'}, expected {scenario.action}")
        if not outcome.verified:
            failures.append(f"not verified (run is {outcome.run_state or 'missing'})")
    if scenario.ending is Ending.HEALED and outcome.human_needed:
        failures.append("a human was involved")
    if scenario.ending is Ending.APPROVED and not outcome.human_needed:
        failures.append("no human was asked")
    took_s = outcome.approved_after_s
    if scenario.ending is Ending.APPROVED and (took_s is None or took_s > APPROVAL_S):
        took = "never" if took_s is None else f"{took_s:.1f} s after it"
        failures.append(f"the approved action was applied {took}, expected within {APPROVAL_S:g} s")
    if scenario.ending is Ending.HUMAN and outcome.action:
        failures.append(f"{outcome.action} was applied where no pattern is known")
    if not outcome.resolved:
        failures.append(f"the incident is still {incident.state}")
    if outcome.extra_tickets:
        failures.append(f"more tickets than one: {', '.join(outcome.extra_tickets)}")
    return replace(outcome, failures=tuple(failures))
