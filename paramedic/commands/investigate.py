"""`paramedic investigate INCIDENT`: investigate again, now."""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def investigate(
        incident: Annotated[str, typer.Argument(help="Number (INC-000042) or id.")],
        as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    ) -> None:
        """Investigate an incident again with the telemetry of now, and print the ranked hypotheses."""
        from libs.contracts.codec import to_json
        from libs.service.platform import open_platform
        from libs.service.settings import load_settings
        from paramedic.tables import print_investigation
        from services.investigator.command import investigate as run

        settings = load_settings()
        result = run(open_platform("investigator", settings), settings, incident)
        if as_json:
            print(to_json(result).decode())
        else:
            print_investigation(result)
