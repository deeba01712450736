"""`paramedic scorecard`: the self-healing success rate with its numerator and denominator."""

from typing import Annotated

import typer

from paramedic.console import console


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def scorecard(
        as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
    ) -> None:
        """Show the self-healing success rate per pattern: successes / automatic runs that applied a change."""
        from libs.contracts.codec import to_json
        from paramedic.healing import read_scorecard, scorecard_table

        card = read_scorecard()
        if as_json:
            print(to_json(card).decode())
        else:
            console.print(scorecard_table(card))
