"""The closing table of a replay."""

from rich.markup import escape
from rich.table import Table

from paramedic.console import console
from paramedic.replay import ReplayResult


def print_result(result: ReplayResult) -> None:
    """Print the tickets that the recording would have opened, and what went through."""
    counts = result.counts
    if result.documents:
        table = Table("opened (UTC)", "priority", "services", "users", "title", "first hypothesis")
        for document in result.documents:
            incident, investigation = document.incident, document.investigation
            first = investigation.hypotheses[0] if investigation and investigation.hypotheses else None
            table.add_row(
                f"{incident.opened_at:%Y-%m-%d %H:%M:%S}",
                incident.priority,
                ", ".join(incident.services),
                str(document.context.affected_users.count),
                escape(incident.title),
                escape(f"{first.service}: {first.kind} ({first.confidence:.0%})") if first else "-",
            )
        console.print(table)
    else:
        console.print("no ticket would have been opened")
    rate = (counts.points + counts.spans + counts.logs) / max(counts.wall_s, 1e-9)
    console.print(
        f"{counts.points} points, {counts.spans} spans, {counts.logs} logs, {counts.changes} changes "
        f"in {counts.wall_s:.1f} s ({rate:,.0f} records/s)"
    )
    if counts.bad_lines:
        console.print(f"[yellow]{counts.bad_lines} bad lines or records were refused:[/]")
        for reason in counts.reasons:
            console.print(f"  {escape(reason)}")
