"""`paramedic dlq`: look at refused messages and send them back once the cause is mended."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from paramedic.console import console

if TYPE_CHECKING:
    from libs.service.platform import Platform


def _platform() -> "Platform":
    from libs.service.platform import open_platform
    from libs.service.settings import load_settings

    return open_platform("dlq", load_settings())


def register(app: typer.Typer) -> None:
    """Add the commands."""
    dlq = typer.Typer(help="Refused messages: list them, or send them back to their topic.", no_args_is_help=True)
    app.add_typer(dlq, name="dlq")

    @dlq.command("list")
    def list_(
        topic: Annotated[str | None, typer.Option(help="Only messages refused from this topic.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="Newest messages shown.")] = 50,
        as_json: Annotated[bool, typer.Option("--json", help="Print as JSON lines.")] = False,
    ) -> None:
        """List refused messages, newest first, with the reason of each."""
        from paramedic.dead_letter_reading import read_dead_letters

        letters = read_dead_letters(_platform(), topic)
        if as_json:
            for letter in letters[:limit]:
                print(json.dumps(letter.fields()))
            return
        if not letters:
            console.print("no refused messages")
            return
        table = Table("refused at", "topic", "partition:offset", "by", "error", "bytes")
        for letter in letters[:limit]:
            error = f"{letter.error_type}: {letter.error_message}"
            place = f"{letter.partition}:{letter.offset}"
            table.add_row(letter.refused_at, letter.topic, place, letter.service, error, str(len(letter.value or b"")))
        console.print(table)
        console.print(f"{min(limit, len(letters))} of {len(letters)} shown")

    @dlq.command("replay")
    def replay(
        topic: Annotated[str, typer.Argument(help="Topic whose refused messages are sent back.")],
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, send nothing.")] = False,
    ) -> None:
        """Send a topic's refused messages back to it with their original bytes and headers."""
        from paramedic.dead_letter_reading import read_dead_letters, send_back

        platform = _platform()
        letters = read_dead_letters(platform, topic)
        if not dry_run:
            send_back(platform, letters)
        console.print(f"{'would send' if dry_run else 'sent'} {len(letters)} messages back to {topic}")
