"""Incidents and scorecards as terminal tables."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from libs.contracts.document import IncidentDocument
from libs.contracts.incident import IncidentChanged, Priority
from libs.contracts.investigation import InvestigationCompleted
from paramedic.console import console

_PRIORITY_STYLE = {
    Priority.P1: "bold red",
    Priority.P2: "red",
    Priority.P3: "yellow",
    Priority.P4: "cyan",
    Priority.P5: "dim",
}


def incident_table(incidents: Sequence[IncidentChanged]) -> Table:
    """One row an incident."""
    table = Table("number", "opened (UTC)", "priority", "state", "services", "users", "title")
    for incident in incidents:
        table.add_row(
            incident.number,
            f"{incident.opened_at:%m-%d %H:%M:%S}",
            f"[{_PRIORITY_STYLE[incident.priority]}]{incident.priority}[/]",
            incident.state,
            ", ".join(incident.services),
            str(incident.affected_users.count) if incident.affected_users else "",
            escape(incident.title),
        )
    return table


def print_document(document: IncidentDocument) -> None:
    """Everything of one incident that people read, top down."""
    incident = document.incident
    style = _PRIORITY_STYLE[incident.priority]
    console.print(
        f"[bold]{incident.number}[/] [{style}]{incident.priority}[/] {incident.state}  {escape(incident.title)}"
    )
    users = document.context.affected_users
    console.print(f"opened {incident.opened_at:%Y-%m-%d %H:%M:%S} UTC, services {', '.join(incident.services)}")
    console.print(f"affected users: {users.count} ({escape(users.basis or 'not counted')})\n")
    _print_anomalies(incident)
    print_investigation(document.investigation)
    _print_remediation(document)
    if document.root_cause is not None:
        cause = document.root_cause
        console.print(
            f"[bold]Root cause[/] {cause.service} ({cause.kind}): {escape(cause.text)}, by {cause.confirmed_by}\n"
        )
    if document.timeline:
        console.print("[bold]Timeline[/]")
        for entry in document.timeline:
            console.print(f"  {entry.at:%H:%M:%S} [dim]{entry.actor}[/] {escape(entry.text)}")


def _print_anomalies(incident: IncidentChanged) -> None:
    table = Table("anomaly", "observed", "expected", "score", "since", title="Anomalies", title_justify="left")
    for anomaly in incident.anomalies:
        where = anomaly.service + (f" → {anomaly.peer}" if anomaly.peer else "")
        expected = f"{anomaly.expected_lower:.4g}..{anomaly.expected_upper:.4g} {anomaly.unit}"
        table.add_row(
            escape(f"{where} {anomaly.metric} {anomaly.statistic} ({anomaly.detector}, {anomaly.state})"),
            f"{anomaly.observed:.4g}",
            expected,
            f"{anomaly.score:.2f}",
            f"{anomaly.started_at:%H:%M:%S}",
        )
    console.print(table)


def print_investigation(investigation: InvestigationCompleted | None) -> None:
    """Ranked hypotheses with their evidence, and the gaps."""
    if investigation is None:
        console.print("not investigated yet\n")
        return
    console.print(f"[bold]Hypotheses[/] ({investigation.author}, {investigation.duration_s:.1f} s)")
    for hypothesis in investigation.hypotheses:
        head = f"  {hypothesis.rank}. {hypothesis.confidence:.0%} {hypothesis.service} ({hypothesis.kind})"
        console.print(escape(f"{head}: {hypothesis.cause}"))
        for mark, evidence in (("+", hypothesis.evidence_for), ("-", hypothesis.evidence_against)):
            for item in evidence:
                console.print(f"       [dim]{mark}[/] {escape(item.text)}")
    for gap in investigation.gaps:
        console.print(f"  [yellow]gap[/] {escape(gap)}")
    console.print()


def _print_remediation(document: IncidentDocument) -> None:
    for run in document.remediation:
        name = run.pattern or "no known pattern"
        console.print(f"[bold]Remediation[/] {escape(name)} ({run.mode}): [bold]{run.state}[/] {escape(run.reason)}")
        for step in run.steps:
            console.print(f"  {step.at:%H:%M:%S} {step.name}: {step.status} {escape(step.detail)}")
        console.print(f"  [dim]run {run.id}[/]\n")
