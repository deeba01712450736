"""`python -m deploy.stack`: the real servers on this machine; see docs/stack.md."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from deploy.stack.layout import free_ports, layout_from_environment, port_variables
from deploy.stack.stack import SERVERS, Stack, settings_of, variables
from libs.errors import ParamedicError, Unavailable
from paramedic.console import console

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
Names = Annotated[list[str] | None, typer.Argument(help=f"{', '.join(SERVERS)}; all of them by default.")]

WithSettings = Annotated[
    bool, typer.Option("--settings", help="Also Paramedic's settings and OTLP endpoints for these servers.")
]


def _say(line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)


def _possible(stack: Stack, names: list[str] | None) -> list[str]:
    """The servers to start: those asked for, otherwise all that this machine can run, saying loudly which it cannot."""
    if names:
        return names
    obstacles = stack.obstacles()
    for name, obstacle in obstacles.items():
        console.print(f"[yellow bold]NOT STARTED[/] {name}: {obstacle}", soft_wrap=True)
    possible = [name for name in SERVERS if name not in obstacles]
    if not possible:
        raise Unavailable("no server can run on this machine")
    return possible


@app.command()
def up(names: Names = None) -> None:
    """Download what is missing, start what is not running, wait until it answers."""
    stack = Stack(layout_from_environment(), _say)
    stack.up(_possible(stack, names))


@app.command()
def down(
    names: Names = None,
    erase: Annotated[bool, typer.Option("--erase", help="Also delete data and logs; downloads stay.")] = False,
) -> None:
    """Stop by process group: SIGTERM, then SIGKILL."""
    layout = layout_from_environment()
    if layout.data_dir.exists():
        Stack(layout, _say).down(names or SERVERS)
    if erase and not names:
        shutil.rmtree(layout.data_dir, ignore_errors=True)
        _say(f"erased {layout.data_dir}")


@app.command()
def kill(name: str) -> None:
    """kill -9 one server, as a crash would; `up NAME` starts it again on its data."""
    Stack(layout_from_environment(), _say).kill(name)


@app.command()
def fetch(names: Names = None) -> None:
    """Only download and build."""
    stack = Stack(layout_from_environment(), _say)
    stack.fetch(_possible(stack, names))


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Say how each server is; exit code 1 when not all are up."""
    layout = layout_from_environment()
    conditions = Stack(layout, _say).conditions()
    if as_json:
        print(json.dumps([asdict(condition) for condition in conditions]))
    else:
        table = Table(
            "server", "version", "state", "address", "pid", "MiB", caption=f"data and logs: {layout.data_dir}"
        )
        for found in conditions:
            memory = f"{found.resident_mib:.0f}" if found.pid else ""
            table.add_row(found.name, found.version, found.state, found.detail, str(found.pid or ""), memory)
        console.print(table)
    if any(condition.state != "up" for condition in conditions):
        raise typer.Exit(1)


@app.command()
def env(settings: WithSettings = False) -> None:
    """Print the addresses as `export` lines for a shell."""
    try:
        addresses = json.loads(layout_from_environment().addresses_file.read_text())
    except FileNotFoundError:
        raise Unavailable("the stack is not up: make stack-up") from None
    for name, address in {**variables(addresses), **(settings_of(addresses) if settings else {})}.items():
        print(f"export {name}={shlex.quote(address)}")


@app.command()
def logs(name: str, lines: Annotated[int, typer.Option("--lines", "-n", help="How many.")] = 50) -> None:
    """Print the end of a server's log."""
    path = Stack(layout_from_environment()).log(name)
    if not path.exists():
        raise Unavailable(f"{name} has no log in {path.parent}")
    print("\n".join(path.read_text(errors="replace").splitlines()[-lines:]))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    command: list[str],
    only: Annotated[list[str] | None, typer.Option(help="Only this server; may be given more than once.")] = None,
    settings: WithSettings = False,
) -> None:
    """Run a command beside a stack of its own, on free ports and a throw-away folder, and take it down afterwards.

    The folder with the logs is kept when the command fails.
    """
    folder = Path(tempfile.mkdtemp(prefix="paramedic-stack-"))
    folder.chmod(0o755)  # Elasticsearch may run as another user
    layout = replace(layout_from_environment(), data_dir=folder / "stack", ports=free_ports())
    stack = Stack(layout, _say)
    code = 1
    signal.signal(signal.SIGTERM, _leave)
    try:
        addresses = stack.up(_possible(stack, only))
        own = {**port_variables(layout.ports), "PARAMEDIC_STACK_DATA": str(layout.data_dir), **variables(addresses)}
        own |= settings_of(addresses) if settings else {}
        code = subprocess.run(command, env={**os.environ, **own}, check=False).returncode
    finally:
        if layout.data_dir.exists():
            stack.down()
        if code == 0:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _say(f"logs of the servers are in {layout.logs_dir}")
    raise typer.Exit(code)


def _leave(number: int, _: object) -> None:
    """End as an error would, so that the servers do not outlive `run`."""
    raise SystemExit(128 + number)


def main() -> None:
    """Run the command line; an error of ours is one line and exit code 1."""
    try:
        app()
    except ParamedicError as error:
        console.print(f"[red]✗[/] {error}", soft_wrap=True, markup=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
