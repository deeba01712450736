"""`paramedic topics`: the declared topics, which of them the broker has, and `apply` to make it so."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from paramedic.console import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from libs.streaming.topic_plan import Step

_EMBEDDED = "the embedded broker creates its topics itself; set PARAMEDIC_BROKER to a Kafka cluster's host:port"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    topics = typer.Typer(help="The topics of schemas/topics.toml: list them, or bring a Kafka cluster to them.")
    app.add_typer(topics, name="topics")

    @topics.callback(invoke_without_command=True)
    def list_(
        context: typer.Context,
        as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    ) -> None:
        """List the declared topics and whether the broker has them."""
        if context.invoked_subcommand is None:
            _list(as_json=as_json)

    @topics.command()
    def apply(
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, change nothing.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    ) -> None:
        """Create and grow topics, dead-letter topics too; never shrinks one. Exit code 1: --dry-run found changes."""
        from libs.service.settings import load_settings
        from paramedic.topics_apply import apply_topics

        settings = load_settings()
        if settings.broker == "embedded":
            console.print(_EMBEDDED)
            return
        steps = apply_topics(settings, dry_run=dry_run)
        if as_json:
            print(json.dumps([dataclasses.asdict(step) for step in steps]))
        else:
            _show(steps, dry_run=dry_run)
        if dry_run and any(step.changes for step in steps):
            raise typer.Exit(1)


def _show(steps: "Sequence[Step]", *, dry_run: bool) -> None:
    changed = [step for step in steps if step.changes]
    for step in steps:
        for change in step.changes:
            console.print(f"[green]{'+' if step.action == 'create' else '~'}[/] {step.name}: {change}", soft_wrap=True)
        for note in step.notes:
            console.print(f"[yellow]![/] {step.name}: {note}", soft_wrap=True)
    done = "to change" if dry_run else "changed"
    console.print(f"{len(changed)} topics {done}, {len(steps) - len(changed)} as declared")


def _list(*, as_json: bool) -> None:
    from libs.contracts.topics import topics as declared
    from libs.errors import ConfigurationError, Unavailable
    from libs.service.platform import open_platform
    from libs.service.settings import load_settings

    platform = open_platform("topics", load_settings())
    try:
        existing = platform.broker.topic_names()
    except (ConfigurationError, Unavailable) as error:
        existing = frozenset()
        console.print(f"[yellow]![/] {error}")
    if as_json:
        print(json.dumps([{**dataclasses.asdict(t), "exists": t.name in existing} for t in declared().values()]))
        return
    table = Table("topic", "record", "key", "producers", "consumers", "partitions", "kept", "exists")
    for topic in declared().values():
        table.add_row(
            topic.name,
            topic.record,
            topic.key,
            ", ".join(topic.producers),
            ", ".join(topic.consumers),
            str(topic.partitions),
            "compacted" if topic.cleanup == "compact" else f"{topic.retention_h:g} h",
            "[green]yes[/]" if topic.name in existing else "no",
        )
    console.print(table)
