"""Recommended code changes in the terminal."""

from collections.abc import Sequence

from rich.markup import escape
from rich.syntax import Syntax
from rich.table import Table

from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from paramedic.console import console

_STYLE = {"open": "bold", "accepted": "green", "dismissed": "dim", "superseded": "dim"}


def recommendation_table(found: Sequence[CodeChangeRecommended]) -> Table:
    """One row a recommendation."""
    table = Table("id", "state", "service", "title", "where", "benefit", "sure", "patch")
    for one in found:
        table.add_row(
            one.id[:8],
            f"[{_STYLE.get(one.state, 'bold')}]{escape(one.state)}[/]",
            escape(one.service),
            escape(one.title),
            escape(place_text(one.location)),
            f"{one.benefit_value:,.3g} {escape(one.benefit_unit)}",
            f"{one.confidence:.0%}",
            "yes" if one.diff else "no",
        )
    return table


def print_recommendation(one: CodeChangeRecommended) -> None:
    """Everything of one recommendation, top down."""
    console.print(f"[bold]{escape(one.title)}[/]  {escape(one.state)}  {one.id}")
    where = (
        f"{place_text(one.location)} in {one.location.function}" if one.location.function else place_text(one.location)
    )
    console.print(escape(f"{one.service} {one.location.version}, {where}; rule {one.rule}, {one.confidence:.0%} sure"))
    if one.incident_id:
        console.print(f"led to by incident {escape(one.incident_id)}")
    for line in one.evidence:
        console.print(f"  [dim]+[/] {escape(line.text)} [dim]({escape(line.source)})[/]")
    console.print(f"\n[bold]Benefit[/] {escape(one.benefit)}")
    if one.before_s:
        console.print(
            escape(f"{one.operation}: {one.before_s * 1e3:.1f} ms now, about {one.after_s * 1e3:.1f} ms after")
        )
    console.print(f"[bold]Checked[/] {escape(one.validation or 'nothing')}")
    if one.decided_by:
        console.print(escape(f"{one.state} by {one.decided_by}" + (f": {one.reason}" if one.reason else "")))
    if one.branch:
        console.print(escape(f"branch {one.branch}"))
    if one.diff:
        console.print(Syntax(one.diff, "diff", background_color="default"))


def place_text(location: CodeLocation) -> str:
    """`examples/shop/cart.py:77`."""
    return f"{location.path}:{location.line}" if location.line else location.path
