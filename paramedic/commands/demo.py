"""`paramedic demo`: break a real shop and watch."""

import json
import threading
from pathlib import Path
from typing import Annotated

import typer

from paramedic.console import console
from paramedic.signals import stop_on_signals


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def demo(
        every: Annotated[bool, typer.Option("--all", help="Every scenario, not only those of the short demo.")] = False,
        scenario: Annotated[
            list[str] | None,
            typer.Option(help="Only this scenario (may be given more than once); `quiet` breaks nothing."),
        ] = None,
        keep: Annotated[
            bool, typer.Option("--keep", help="Leave everything running afterwards, until Ctrl-C.")
        ] = False,
        json_file: Annotated[
            Path | None, typer.Option("--json", help="Write the facts as JSON.", metavar="FILE")
        ] = None,
        seed: Annotated[int, typer.Option(help="Seed of the load generator.")] = 7,
        quiet_s: Annotated[float, typer.Option(help="Length of the quiet scenario in seconds.")] = 300.0,
        skip_replay: Annotated[
            bool, typer.Option("--skip-replay", help="Do not replay the recording at the end.")
        ] = False,
        stack: Annotated[
            bool,
            typer.Option(
                "--stack", help="On the broker, registry and stores of the settings, which must be empty, not embedded."
            ),
        ] = False,
    ) -> None:
        """Start broker, services and a real shop; break it; watch Paramedic notice, investigate and heal.

        The exit code is 0 only when every expectation held.
        """
        from paramedic.demo.compare import compare
        from paramedic.demo.report import as_json, is_ok, print_report
        from paramedic.demo.run import DemoOptions, run_demo, scenario_names
        from paramedic.demo.scenario import DEFAULT, QUIET, REPEATED, SCENARIOS

        known = {s.name: s for s in (*SCENARIOS, QUIET)}
        names = list(scenario or ([*(s.name for s in SCENARIOS), REPEATED] if every else DEFAULT))
        unknown = [name for name in names if name not in known]
        if unknown:
            raise typer.BadParameter(
                f"unknown scenario {', '.join(unknown)}; choose from {scenario_names((*SCENARIOS, QUIET))}"
            )
        stop = threading.Event()
        stop_on_signals(stop)
        options = DemoOptions(
            scenarios=tuple(known[name] for name in names),
            keep=keep,
            seed=seed,
            quiet_s=quiet_s,
            improve=not scenario,
            stack=stack,
        )
        result = run_demo(options, stop)
        comparison = None
        if not skip_replay and not result.interrupted:
            with console.status("replaying the recording"):
                comparison = compare(result)
        print_report(result, comparison)
        if json_file is not None:
            json_file.write_text(json.dumps(as_json(result, comparison), indent=2, default=str) + "\n")
        if not is_ok(result, comparison):
            raise typer.Exit(130 if result.interrupted else 1)
