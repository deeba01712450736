"""One line per published event, coloured, as the demo goes on."""

import threading
from datetime import UTC, datetime

from rich.markup import escape

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity
from libs.contracts.incident import IncidentChange, IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.remediation import RemediationChanged, RunState
from paramedic.console import console
from paramedic.demo.observer import Seen

_TOLD_CHANGES = {
    IncidentChange.OPENED,
    IncidentChange.ACKNOWLEDGED,
    IncidentChange.ROOT_CAUSE_CONFIRMED,
    IncidentChange.RESOLVED,
    IncidentChange.REOPENED,
    IncidentChange.CANCELED,
}
_RUN_STYLE = {
    RunState.SUCCEEDED: "green",
    RunState.FAILED: "red",
    RunState.ESCALATED: "yellow",
    RunState.AWAITING_APPROVAL: "yellow",
    RunState.ROLLED_BACK: "red",
}


class Timeline:
    """Prints events relative to the start of the demo; safe from several threads."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._began = datetime.now(UTC)
        self._quiet = quiet
        self._told: dict[str, str] = {}
        self._lock = threading.Lock()

    def say(self, text: str, style: str = "bold") -> None:
        """One line of the demo itself."""
        self._line(datetime.now(UTC), "demo", f"[{style}]{escape(text)}[/]")

    def seen(self, seen: Seen) -> None:
        """One published event; those that only repeat what is known are left out."""
        described = describe(seen)
        if isinstance(seen.record, RemediationChanged | CodeChangeRecommended):
            if self._told.get(seen.record.id) == seen.record.state:
                return
            self._told[seen.record.id] = seen.record.state
        if described is not None:
            who, text = described
            self._line(seen.at, who, text)

    def _line(self, at: datetime, who: str, text: str) -> None:
        if self._quiet:
            return
        with self._lock:
            console.print(f"[dim]{(at - self._began).total_seconds():6.1f} s[/] {who:<12} {text}", soft_wrap=True)


def describe(seen: Seen) -> tuple[str, str] | None:
    """Who says what, in rich markup; None for events that add nothing for a viewer."""
    record = seen.record
    if isinstance(record, AnomalyDetected):
        return _anomaly(record)
    if isinstance(record, IncidentChanged):
        return _incident(record)
    if isinstance(record, InvestigationCompleted):
        return _investigation(record)
    if isinstance(record, RemediationChanged):
        return _run(record)
    if isinstance(record, CodeChangeRecommended):
        return _recommendation(record)
    return None


def _anomaly(anomaly: AnomalyDetected) -> tuple[str, str] | None:
    if anomaly.state is EpisodeState.UPDATED or anomaly.severity is Severity.LOW:
        return None
    if anomaly.state is EpisodeState.CLOSED:
        return "detector", f"[green]back to normal[/] {escape(anomaly.service)} {escape(anomaly.metric)}"
    return (
        "detector",
        f"[magenta]anomaly[/] {escape(anomaly.explanation or anomaly.metric)} [dim]({anomaly.detector})[/]",
    )


def _incident(incident: IncidentChanged) -> tuple[str, str] | None:
    if incident.change not in _TOLD_CHANGES:
        return None
    users = f", {incident.affected_users.count} users" if incident.affected_users else ""
    head = f"[bold]{incident.number}[/] {incident.change} {incident.priority}{users}"
    by = f" by {incident.resolved_by}" if incident.change is IncidentChange.RESOLVED else ""
    return "ticketing", f"{head}{by}: {escape(incident.title)}"


def _investigation(result: InvestigationCompleted) -> tuple[str, str]:
    if not result.hypotheses:
        return "investigator", "no hypothesis: nothing deviates in the window"
    first = result.hypotheses[0]
    text = f"{first.service}: {first.kind}, {first.cause} ({first.confidence:.0%})"
    return "investigator", f"[cyan]{escape(text)}[/] [dim]in {result.duration_s:.1f} s[/]"


def _run(run: RemediationChanged) -> tuple[str, str]:
    style = _RUN_STYLE.get(run.state, "blue")
    what = f"{run.action} {run.target}" if run.action else "no known pattern"
    return "remediation", f"[{style}]{run.state}[/] {escape(what)} [dim]{escape(run.reason)}[/]"


def _recommendation(one: CodeChangeRecommended) -> tuple[str, str] | None:
    if one.state != "open":
        return None
    where = f"{one.location.path}:{one.location.line}"
    return "recommender", f"[blue]{escape(one.title)}[/] [dim]{escape(where)}, {one.rule}, {one.confidence:.0%}[/]"
