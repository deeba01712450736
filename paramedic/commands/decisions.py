"""`paramedic approve|reject|halt|resume`: what a human decides about self-healing."""

from typing import Annotated, Any

import typer

from paramedic.console import console

Actor = Annotated[str | None, typer.Option(help="Who decides; your login name by default.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the audit trail.")]
Target = Annotated[str, typer.Argument(help="Remediation run id, incident id or incident number.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def approve(target: Target, actor: Actor = None, reason: Reason = "") -> None:
        """Approve a remediation run that waits for a human."""
        _decide(f"/api/v1/remediations/{target}/approve", actor, reason, f"approved {target}")

    @app.command()
    def reject(target: Target, actor: Actor = None, reason: Reason = "") -> None:
        """Reject a remediation run that waits for a human."""
        _decide(f"/api/v1/remediations/{target}/reject", actor, reason, f"rejected {target}")

    @app.command()
    def halt(actor: Actor = None, reason: Reason = "") -> None:
        """Stop all self-healing that has not been applied yet, until `paramedic halt` is taken back by `resume`."""
        _decide("/api/v1/halt", actor, reason, "self-healing is halted; `paramedic resume` lets it go on")

    @app.command()
    def resume(actor: Actor = None, reason: Reason = "") -> None:
        """Let self-healing go on after `halt`."""
        _decide("/api/v1/resume", actor, reason, "self-healing goes on")


def _decide(path: str, actor: str | None, reason: str, done: str) -> None:
    from libs.service.settings import load_settings
    from paramedic.api_client import default_actor, post

    body: dict[str, Any] = {"actor": actor or default_actor(), "reason": reason}
    post(load_settings(), path, body)
    console.print(f"[green]✓[/] {done}")
