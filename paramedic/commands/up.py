"""`paramedic up`: the whole platform on this machine."""

import threading
from typing import Annotated

import typer

from paramedic.console import console
from paramedic.signals import stop_on_signals


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def up(
        only: Annotated[
            list[str] | None, typer.Option("--only", help="Start only this service (may be given more than once).")
        ] = None,
    ) -> None:
        """Start the broker (unless PARAMEDIC_BROKER names a cluster) and every service; Ctrl-C stops them all."""
        from libs.service.settings import load_settings
        from paramedic.supervisor import SERVICES, Supervisor, run_file

        settings = load_settings()
        wanted = tuple(only) if only else SERVICES
        unknown = sorted(set(wanted) - set(SERVICES))
        if unknown:
            raise typer.BadParameter(f"unknown service {', '.join(unknown)}; choose from {', '.join(SERVICES)}")
        stop = threading.Event()
        stop_on_signals(stop)
        with Supervisor(settings, on_event=lambda text: console.print(f"[yellow]![/] {text}")) as supervisor:
            if settings.broker == "embedded":
                with console.status("starting the embedded broker"):
                    supervisor.start_broker()
                    supervisor.wait_broker()
                console.print("[green]✓[/] broker (embedded, in memory)")
            for service in wanted:
                supervisor.start_service(service)
            for service in wanted:
                with console.status(f"starting {service}"):
                    supervisor.wait_ready(service)
                console.print(f"[green]✓[/] {service}")
            intake, api, page = (run_file(settings, name).get("url") for name in ("intake", "ticketing", "console"))
            if intake:
                console.print(
                    f"\nSend OTLP to [bold]{intake}[/]   (OTEL_EXPORTER_OTLP_ENDPOINT={intake})", soft_wrap=True
                )
            if page:
                console.print(f"Console: [bold]{page}[/]", soft_wrap=True)
            if api:
                console.print(f"Incidents: [bold]{api}/api/v1/incidents[/]   API: {api}/docs", soft_wrap=True)
            console.print(f"Logs: {supervisor.logs_dir}   Ctrl-C stops everything.", soft_wrap=True)
            while not stop.wait(0.5):
                supervisor.tend()
            console.print("stopping")
