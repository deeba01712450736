"""`paramedic replay FILE...`: a recording through the same pipeline, and the tickets it would have opened."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from paramedic.console import console


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def replay(
        files: Annotated[
            list[Path],
            typer.Argument(help="OTLP JSON lines (.jsonl[.gz]), or folders of them.", metavar="FILE..."),
        ],
        speed: Annotated[str, typer.Option(help="Times real time, or max.")] = "max",
        json_file: Annotated[
            Path | None, typer.Option("--json", help="Write the incidents and counts as JSON.", metavar="FILE")
        ] = None,
    ) -> None:
        """Play recordings in time order on a store of their own and list the tickets; live ones are never touched."""
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

        from libs.service.settings import load_settings
        from paramedic.replay import replay as run
        from paramedic.replay import report
        from paramedic.replay_table import print_result

        paths = recording_files(files)
        bar = Progress(
            TextColumn("replaying"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[at]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        with bar:
            task = bar.add_task("", total=sum(path.stat().st_size for path in paths if path.is_file()), at="")

            def progress(bytes_read: int, now: datetime) -> None:
                bar.update(task, completed=bytes_read, at=f"{now:%Y-%m-%d %H:%M:%S}")

            result = run(paths, load_settings(), speed=parse_speed(speed), on_progress=progress)
        if json_file is not None:
            json_file.write_text(json.dumps(report(result), indent=2) + "\n")
        print_result(result)


def recording_files(named: list[Path]) -> list[Path]:
    """The files named, folders replaced by the recordings in them."""
    paths: list[Path] = []
    for path in named:
        if path.is_dir():
            paths.extend(sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")]))
        else:
            paths.append(path)
    return paths


def parse_speed(text: str) -> float | None:
    """None for max, else a number above 0."""
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < 1e6:
        raise typer.BadParameter(f"--speed {text}: give a number above 0, or max")
    return speed
