"""`paramedic record DIR`: write live telemetry as an OTLP JSON-lines recording."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from paramedic.console import console
from paramedic.signals import stop_on_signals


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def record(
        directory: Annotated[Path, typer.Argument(help="Folder for the recording; made if missing.", metavar="DIR")],
        duration_s: Annotated[
            float | None, typer.Option("--duration", help="Seconds to record; until Ctrl-C by default.")
        ] = None,
        from_beginning: Annotated[
            bool, typer.Option("--from-beginning", help="Also what the broker still holds, not only what comes.")
        ] = False,
    ) -> None:
        """Record live telemetry and changes to DIR/{metrics,logs,spans,changes}.jsonl.gz, for `paramedic replay`."""
        from libs.service.platform import open_platform
        from libs.service.settings import load_settings
        from paramedic.recording_writer import record_topics

        stop = threading.Event()
        stop_on_signals(stop)
        platform = open_platform("record", load_settings())
        counts = record_topics(platform, directory, stop=stop, duration_s=duration_s, from_beginning=from_beginning)
        written = ", ".join(f"{lines} {name}" for name, lines in counts.items())
        console.print(f"[green]✓[/] {directory}: lines of {written}")
