"""`paramedic doctor`: one line per check, what is wrong and what to do; resident memory of each process."""

import json
from typing import Annotated

import typer

from paramedic.console import console


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def doctor(
        as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
    ) -> None:
        """Check Python, ports, broker, topics, stores and processes; exit code 1 when something is wrong."""
        from libs.service.settings import load_settings
        from paramedic.checks import Status, examine

        findings = examine(load_settings())
        if as_json:
            print(
                json.dumps(
                    [{"check": f.check, "status": f.status, "detail": f.detail, "advice": f.advice} for f in findings]
                )
            )
        else:
            marks = {Status.OK: "[green]✓[/]", Status.WARNING: "[yellow]![/]", Status.WRONG: "[red]✗[/]"}
            for finding in findings:
                advice = f" [dim]→ {finding.advice}[/]" if finding.advice else ""
                console.print(f"{marks[finding.status]} {finding.check}: {finding.detail}{advice}", soft_wrap=True)
        if any(finding.status is Status.WRONG for finding in findings):
            raise typer.Exit(1)
