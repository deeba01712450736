"""`paramedic kibana`: bring data views, saved searches and the dashboard into Kibana."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from paramedic.console import console

if TYPE_CHECKING:
    from paramedic.kibana import ImportResult


def register(app: typer.Typer) -> None:
    """Add the commands."""
    kibana = typer.Typer(help="Data views, saved searches and a dashboard for Kibana.", no_args_is_help=True)
    app.add_typer(kibana, name="kibana")

    @kibana.callback()
    def group() -> None:
        """Data views, saved searches and a dashboard for Kibana."""

    @kibana.command("import")
    def import_(
        url: Annotated[str, typer.Option(help="Address of Kibana (PARAMEDIC_KIBANA_URL).", metavar="URL")] = "",
        space: Annotated[str, typer.Option(help="Space of Kibana (PARAMEDIC_KIBANA_SPACE).", metavar="SPACE")] = "",
        as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    ) -> None:
        """Import or replace the objects; exit code 1 when Kibana rejects one. Credentials: PARAMEDIC_KIBANA_*."""
        from libs.service.settings import load_settings
        from paramedic.kibana import import_objects, kibana_access, saved_objects

        given = {"kibana_space": space} if space else {}
        settings = load_settings(**given)
        result = import_objects(kibana_access(settings, url), saved_objects(settings.elasticsearch_prefix))
        if as_json:
            print(json.dumps(dataclasses.asdict(result)))
        else:
            _show(result)
        if result.rejected:
            raise typer.Exit(1)


def _show(result: "ImportResult") -> None:
    for taken in result.imported:
        done = "replaced" if taken.replaced else "new"
        elsewhere = f" as {taken.destination}" if taken.destination != taken.id else ""
        text = f"{taken.type} {taken.id}{elsewhere}: {done}, {taken.title}"
        console.print("[green]✓[/]", end=" ")
        console.print(text, soft_wrap=True, markup=False)
    for refused in result.rejected:
        console.print("[red]✗[/]", end=" ")
        console.print(f"{refused.type} {refused.id}: {refused.reason}", soft_wrap=True, markup=False)
    console.print(f"{len(result.imported)} imported, {len(result.rejected)} rejected")
