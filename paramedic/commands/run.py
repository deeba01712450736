"""`paramedic run SERVICE`: one service in the foreground."""

import os
import sys
from typing import Annotated

import typer

from paramedic.supervisor import SERVICES


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def run(
        service: Annotated[str, typer.Argument(help=f"One of: {', '.join(SERVICES)}.")],
    ) -> None:
        """Run one service in the foreground until Ctrl-C."""
        if service not in SERVICES:
            raise typer.BadParameter(f"{service!r} is not a service; choose one of {', '.join(SERVICES)}")
        os.execv(sys.executable, [sys.executable, "-m", f"services.{service}"])
