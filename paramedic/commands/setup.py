"""`paramedic setup`: topics, schemas, index templates and Kibana's objects, put in place before services run."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from paramedic.console import console

if TYPE_CHECKING:
    from paramedic.setup_steps import Outcome

_MARKS = {
    "done": "[green]+[/]",
    "already so": "[green]✓[/]",
    "to do": "[yellow]~[/]",
    "not needed": "[dim]-[/]",
    "failed": "[red]✗[/]",
}


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def setup(
        kibana: Annotated[
            str, typer.Option(help="Import into this Kibana too (PARAMEDIC_KIBANA_URL).", metavar="URL")
        ] = "",
        wait_s: Annotated[
            float, typer.Option("--wait", help="Longest wait for each server, in seconds.", min=0)
        ] = 120.0,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the steps as JSON.")] = False,
    ) -> None:
        """Put in place what the settings need; can run again at any time. Exit code 1 when a step failed."""
        from libs.service.settings import load_settings
        from paramedic.setup_steps import Patience, Status, carry_out, setup_steps

        patience = Patience(longest_s=wait_s, tell=_tell)
        outcomes = []
        for outcome in carry_out(setup_steps(load_settings(), kibana), patience, dry_run=dry_run):
            outcomes.append(outcome)
            if not as_json:
                _show(outcome)
        if as_json:
            print(json.dumps([dataclasses.asdict(outcome) for outcome in outcomes]))
        if any(outcome.status is Status.FAILED for outcome in outcomes):
            raise typer.Exit(1)


def _tell(text: str) -> None:
    Console(stderr=True).print(text, soft_wrap=True, markup=False, highlight=False)


def _show(outcome: "Outcome") -> None:
    console.print(_MARKS[outcome.status], end=" ")
    console.print(f"{outcome.step}: {outcome.status}: {outcome.detail}", soft_wrap=True, markup=False)
    if outcome.advice:
        console.print(f"    {outcome.advice}", soft_wrap=True, markup=False)
