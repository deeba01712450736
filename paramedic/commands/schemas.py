"""`paramedic schemas`: compare the record schemas with a Schema Registry, and register them."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer

from paramedic.console import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from libs.streaming.registry import Registry
    from paramedic.schema_registration import Subject

_MARKS = {
    "registered": "[green]✓[/]",
    "missing": "[yellow]+[/]",
    "new version": "[yellow]~[/]",
    "incompatible": "[red]✗[/]",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    schemas = typer.Typer(help="Record schemas in a Schema Registry (PARAMEDIC_SCHEMA_REGISTRY).", no_args_is_help=True)
    app.add_typer(schemas, name="schemas")

    @schemas.command()
    def check(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
        """Show what is registered and what would change; exit code 1 when a schema is not BACKWARD compatible."""
        from paramedic.schema_registration import compare

        subjects = compare(_registry())
        _show(subjects, as_json=as_json)
        if any(subject.state == "incompatible" for subject in subjects):
            raise typer.Exit(1)

    @schemas.command("register")
    def register_(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
        """Register what is missing or new, hold each subject to BACKWARD; nothing at all when one is incompatible."""
        from paramedic.schema_registration import register as register_all

        subjects = register_all(_registry())
        _show(subjects, as_json=as_json)
        if not as_json:
            written = sum(subject.state != "registered" for subject in subjects)
            console.print(f"{written} registered, {len(subjects) - written} were there")


def _registry() -> "Registry":
    from libs.service.open_registry import open_registry
    from libs.service.settings import load_settings

    return open_registry(load_settings())


def _show(subjects: "Sequence[Subject]", *, as_json: bool) -> None:
    if as_json:
        print(json.dumps([dataclasses.asdict(subject) for subject in subjects]))
        return
    for subject in subjects:
        version = f" version {subject.version}" if subject.version else ""
        level = f", {subject.compatibility}" if subject.compatibility else ""
        console.print(f"{_MARKS[subject.state]} {subject.name}: {subject.state}{version}{level}", soft_wrap=True)
        for change in subject.changes:
            console.print(f"    {change}", soft_wrap=True, markup=False)
