"""`paramedic investigate INCIDENT`: investigate again, now."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from libs.contracts.investigation import InvestigationCompleted
    from libs.service.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def investigate(
        incident: Annotated[str, typer.Argument(help="Number (INC-000042) or id.")],
        as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
        actor: Annotated[str | None, typer.Option(help="Who asks; your login name by default.")] = None,
    ) -> None:
        """Investigate an incident again with the telemetry of now, and print the ranked hypotheses.

        The running investigator does it and publishes the result. Where none runs it is done here: the result is stored
        on the ticket and not published.
        """
        from libs.contracts.codec import to_json
        from libs.service.settings import load_settings
        from paramedic.tables import print_investigation

        result, published = _investigate(load_settings(), incident, actor)
        if as_json:
            print(to_json(result).decode())
        else:
            print_investigation(result)
        if not published:
            typer.echo(
                "stored on the ticket, not published: no incident API runs here. Who subscribes to `investigations` "
                "(ticketing, remediation) does not hear of it; start `paramedic up` and ask again.",
                err=True,
            )


def _investigate(settings: "Settings", incident: str, actor: str | None) -> "tuple[InvestigationCompleted, bool]":
    """The result, and whether it was published."""
    from libs.service.platform import open_platform
    from paramedic.api_client import default_actor
    from paramedic.ask_investigator import AskInvestigator
    from paramedic.supervisor import is_ready
    from services.investigator.command import investigate as look_here

    platform = open_platform("investigator", settings)
    if is_ready(settings, "ticketing"):
        asked = AskInvestigator(settings=settings, incidents=platform.incidents)
        return asked.ask(incident, actor or default_actor()), True
    return look_here(platform, settings, incident), False
