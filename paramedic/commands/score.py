"""`paramedic score FILE.csv --out OUT.csv`: the detector's scoring over a CSV."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def score(
        file: Annotated[Path, typer.Argument(help="CSV (or .csv.gz): timestamp,value or many value columns.")],
        out: Annotated[Path, typer.Option(help="Where the scores go: timestamp,anomaly_score,is_anomaly.")],
        train: Annotated[Path | None, typer.Option(help="History to learn from first, of the same shape.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    ) -> None:
        """Score a CSV causally, row by row, with exactly the live detector's code; one row out per row in."""
        from services.detector.score_command import score as run

        run(file=file, out=out, train=train, as_json=as_json)
