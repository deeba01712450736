"""`paramedic evidence DIR`: the logs, incidents and scorecard as files that an auditor reads."""

from pathlib import Path
from typing import Annotated

import typer

from paramedic.console import console


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def evidence(
        folder: Annotated[Path, typer.Argument(help="Folder to write to; new, or one that `evidence` has written.")],
        as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
    ) -> None:
        """Write the ticket log, self-healing log, recommendations and scorecard as files, and check that they agree.

        Exit code 1 when the files were written but a check does not hold.
        """
        import json

        from libs.contracts.codec import to_json
        from libs.service.platform import utc_now
        from libs.service.settings import load_settings
        from paramedic.evidence import Sources, write_evidence
        from paramedic.open_store import open_incidents

        settings = load_settings()
        store = open_incidents()
        try:
            written = write_evidence(
                folder,
                Sources(
                    incidents=store,
                    logs_dir=settings.data_dir / "logs",
                    recommendations_file=settings.recommendations_file,
                    now=utc_now(),
                ),
            )
        finally:
            store.close()
        if as_json:
            print(json.dumps({**json.loads(to_json(written)), "folder": str(folder)}, indent=2))
        else:
            for name, size in written.files.items():
                console.print(f"{size:>12,} B  {folder / name}", highlight=False, soft_wrap=True)
            for check in written.checks:
                mark = "[green]✓[/]" if check.holds else "[red]✗[/]"
                console.print(f"{mark} {check.name}: {check.detail}", highlight=False, soft_wrap=True)
        if not all(check.holds for check in written.checks):
            raise typer.Exit(1)
