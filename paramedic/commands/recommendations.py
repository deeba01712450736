"""`paramedic recommendations list|show|diff|accept|dismiss|run`: code changes that production data suggests."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from paramedic.console import console

if TYPE_CHECKING:
    from libs.contracts.recommendation import CodeChangeRecommended

Identity = Annotated[str, typer.Argument(help="Id of the recommendation, or the beginning of it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON lines.")]
Actor = Annotated[str | None, typer.Option(help="Who decides; your login name by default.")]
Reason = Annotated[str, typer.Option(help="Why; kept with the recommendation.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Code changes that production data suggests; nothing merges by itself.", no_args_is_help=True
    )
    app.add_typer(group, name="recommendations")
    _reading(group)
    _deciding(group)

    @group.command()
    def run(as_json: AsJson = False) -> None:
        """Look at the telemetry of now and print what is found; nothing is stored or told."""
        from libs.service.platform import open_platform
        from libs.service.settings import load_settings
        from services.recommender.command import look_now

        settings = load_settings()
        with console.status("looking, and testing patches"):
            report = look_now(open_platform("recommender", settings), settings)
        for note in report.notes:
            if not as_json:
                console.print(f"[dim]{note}[/]")
        _print_list(report.found, as_json=as_json)


def _reading(group: typer.Typer) -> None:
    @group.command("list")
    def list_(
        state: Annotated[list[str] | None, typer.Option(help="Only these states.")] = None,
        service: Annotated[list[str] | None, typer.Option(help="Only these services.")] = None,
        as_json: AsJson = False,
    ) -> None:
        """List recommendations, open ones first, the largest benefit first."""
        known = ("open", "accepted", "dismissed", "superseded")
        for name in state or ():
            if name not in known:
                raise typer.BadParameter(f"{name!r} is no state; choose from {', '.join(known)}")
        found = [
            one for one in _stored() if (not state or one.state in state) and (not service or one.service in service)
        ]
        _print_list(sorted(found, key=lambda one: (known.index(one.state), one.service, one.rule)), as_json=as_json)

    @group.command()
    def show(identity: Identity, as_json: AsJson = False) -> None:
        """Show one recommendation whole: evidence, benefit, what was checked, diff."""
        from libs.contracts.codec import to_json
        from paramedic.recommendation_tables import print_recommendation

        one = _one(identity)
        if as_json:
            print(to_json(one).decode())
        else:
            print_recommendation(one)

    @group.command()
    def diff(identity: Identity) -> None:
        """Print the patch as a plain unified diff: `paramedic recommendations diff ID | git apply`."""
        from libs.errors import NotFound

        one = _one(identity)
        if not one.diff:
            raise NotFound(f"{one.id} has no patch: {one.validation or 'none could be made'}")
        print(one.diff, end="")


def _deciding(group: typer.Typer) -> None:
    @group.command()
    def accept(identity: Identity, actor: Actor = None, reason: Reason = "") -> None:
        """Accept a recommendation; the change itself stays yours to merge."""
        _decide(identity, "accept", actor, reason)

    @group.command()
    def dismiss(identity: Identity, actor: Actor = None, reason: Reason = "") -> None:
        """Dismiss a recommendation; it does not come back."""
        _decide(identity, "dismiss", actor, reason)


def _decide(identity: str, verb: str, actor: str | None, reason: str) -> None:
    from libs.service.settings import load_settings
    from paramedic.api_client import default_actor, post

    one = _one(identity)
    body: dict[str, Any] = {"actor": actor or default_actor(), "reason": reason}
    answer = post(load_settings(), f"/api/v1/recommendations/{one.id}/{verb}", body)
    state = answer.get("state") if isinstance(answer, dict) else None
    told = f"{state}" if state else "written; the recommender has not carried it out yet (is it running?)"
    console.print(f"[green]✓[/] {one.id[:8]} {told}")


def _stored() -> "list[CodeChangeRecommended]":
    from libs.contracts.codec import from_json
    from libs.contracts.recommendation import CodeChangeRecommended
    from paramedic.open_store import open_incidents

    store = open_incidents()
    try:
        return [from_json(state.value, CodeChangeRecommended) for state in store.states("recommendation/").values()]
    finally:
        store.close()


def _one(identity: str) -> "CodeChangeRecommended":
    from libs.errors import NotFound

    found = [one for one in _stored() if one.id.startswith(identity.casefold())]
    if len(found) == 1:
        return found[0]
    what = "no recommendation" if not found else f"{len(found)} recommendations begin with"
    raise NotFound(f"{what} {identity!r}; `paramedic recommendations list` shows what there is")


def _print_list(found: "list[CodeChangeRecommended] | tuple[CodeChangeRecommended, ...]", *, as_json: bool) -> None:
    from libs.contracts.codec import to_json
    from paramedic.recommendation_tables import recommendation_table

    if as_json:
        for one in found:
            print(to_json(one).decode())
    else:
        console.print(recommendation_table(found) if found else "no recommendations")
