"""`paramedic topics`: the declared topics, and which of them the broker has."""

import json
from typing import Annotated

import typer
from rich.table import Table

from paramedic.console import console


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def topics(
        create: Annotated[bool, typer.Option("--create", help="Create the topics that are missing.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    ) -> None:
        """List the topics of schemas/topics.toml and whether the broker has them; never shrinks or deletes any."""
        import dataclasses

        from libs.contracts.topics import topics as declared
        from libs.errors import ConfigurationError, Unavailable
        from libs.service.platform import open_platform
        from libs.service.settings import load_settings

        platform = open_platform("topics", load_settings())
        try:
            existing = platform.broker.topic_names()
        except (ConfigurationError, Unavailable) as error:
            if create:
                raise
            existing = frozenset()
            console.print(f"[yellow]![/] {error}")
        if create:
            for name in platform.broker.create_topics(list(declared().values())):
                console.print(f"[green]✓[/] created {name}")
            existing = platform.broker.topic_names()
        if as_json:
            print(json.dumps([{**dataclasses.asdict(t), "exists": t.name in existing} for t in declared().values()]))
            return
        table = Table("topic", "record", "key", "producer", "consumers", "partitions", "kept", "exists")
        for topic in declared().values():
            kept = "compacted" if topic.cleanup == "compact" else f"{topic.retention_h:g} h"
            table.add_row(
                topic.name,
                topic.record,
                topic.key,
                topic.producer,
                ", ".join(topic.consumers),
                str(topic.partitions),
                kept,
                "[green]yes[/]" if topic.name in existing else "no",
            )
        console.print(table)
