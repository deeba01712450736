"""The console script `paramedic`; a command is one file of paramedic/commands and imports its weight when it runs."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from libs.errors import ParamedicError
from paramedic.commands import (
    broker,
    decisions,
    demo,
    dlq,
    doctor,
    evidence,
    incidents,
    investigate,
    kibana,
    mcp,
    recommendations,
    record,
    replay,
    run,
    schemas,
    score,
    scorecard,
    setup,
    topics,
    up,
)

app = typer.Typer(
    name="paramedic",
    help="The first responder of production: anomalies on Kafka become investigated, healed incident tickets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    demo,
    up,
    run,
    broker,
    doctor,
    incidents,
    investigate,
    decisions,
    recommendations,
    scorecard,
    evidence,
    score,
    replay,
    record,
    dlq,
    setup,
    topics,
    schemas,
    kibana,
    mcp,
):
    module.register(app)


@app.callback()
def options(
    data_dir: Annotated[
        str | None,
        typer.Option(help="Folder of the embedded stores, logs and addresses (PARAMEDIC_DATA_DIR).", metavar="DIR"),
    ] = None,
) -> None:
    """Options of every command."""
    if data_dir is not None:
        import os

        os.environ["PARAMEDIC_DATA_DIR"] = data_dir


def main() -> None:
    """Run; an error that says what to do ends with exit code 2, Ctrl-C with 130."""
    try:
        app()
    except ParamedicError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
