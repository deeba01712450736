"""`paramedic incidents list|show`: tickets in the terminal, read from the incident store."""

from typing import Annotated

import typer

from paramedic.console import console


def register(app: typer.Typer) -> None:
    """Add the commands."""
    incidents = typer.Typer(help="Incidents: list them, or show one whole.", no_args_is_help=True)
    app.add_typer(incidents, name="incidents")

    @incidents.command("list")
    def list_(
        state: Annotated[list[str] | None, typer.Option(help="Only these ITIL states.")] = None,
        service: Annotated[list[str] | None, typer.Option(help="Only incidents that touch these services.")] = None,
        text: Annotated[str, typer.Option(help="Full-text search.")] = "",
        limit: Annotated[int, typer.Option(min=1, max=1000, help="Most incidents shown.")] = 20,
        as_json: Annotated[bool, typer.Option("--json", help="Print as JSON lines.")] = False,
    ) -> None:
        """List incidents, newest first."""
        from libs.contracts.codec import to_json
        from libs.contracts.incident import IncidentState
        from libs.stores.incidents import IncidentQuery
        from paramedic.open_store import open_incidents
        from paramedic.tables import incident_table

        try:
            states = tuple(IncidentState(name) for name in state or ())
        except ValueError as error:
            raise typer.BadParameter(f"{error}; choose from {', '.join(IncidentState)}") from None
        query = IncidentQuery(text=text, states=states, services=tuple(service or ()), limit=limit)
        page = open_incidents().search(query)
        if as_json:
            for incident in page.incidents:
                print(to_json(incident).decode())
            return
        console.print(incident_table(page.incidents) if page.incidents else "no incidents")
        if page.total > len(page.incidents):
            console.print(f"{len(page.incidents)} of {page.total} shown; --limit shows more")

    @incidents.command()
    def show(
        incident: Annotated[str, typer.Argument(help="Number (INC-000042) or id.")],
        as_json: Annotated[bool, typer.Option("--json", help="Print the whole document as JSON.")] = False,
    ) -> None:
        """Show one incident whole: anomalies, context, hypotheses, remediation, timeline."""
        from libs.contracts.codec import to_json
        from libs.errors import NotFound
        from paramedic.open_store import open_incidents
        from paramedic.tables import print_document

        document = open_incidents().get(incident)
        if document is None:
            raise NotFound(f"no incident {incident}; `paramedic incidents list` shows what there is")
        if as_json:
            print(to_json(document).decode())
        else:
            print_document(document)
