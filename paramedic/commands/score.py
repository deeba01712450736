"""`paramedic score FILE.csv --out OUT.csv`: the detector's scoring over a CSV."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command; its options live beside the code that it runs."""
    from services.detector.score_command import score

    app.command()(score)
