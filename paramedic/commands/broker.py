"""`paramedic broker`: the embedded broker in the foreground."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def broker() -> None:
        """Run the embedded Kafka-protocol broker (in memory, one machine, for trying out)."""
        from libs.service.settings import load_settings
        from paramedic.broker_process import serve

        serve(load_settings())
