"""The demo's closing table and its JSON: the same facts."""

import dataclasses
import math
import statistics
from typing import Any

from rich.markup import escape
from rich.table import Table

from libs.contracts.codec import to_fields
from libs.runbooks.scorecard import scorecard
from paramedic.console import console
from paramedic.demo.compare import Comparison
from paramedic.demo.improvement import LEAST_RATIO, MOST_RATIO, Improvement
from paramedic.demo.judge import APPROVAL_S, Outcome
from paramedic.demo.run import DemoResult
from paramedic.healing import scorecard_table

DETECTION_GOAL_S = 30.0
TICKET_GOAL_S = 1.0
HYPOTHESES_GOAL_S = 5.0


def as_json(result: DemoResult, comparison: Comparison | None) -> dict[str, Any]:
    """Everything that the table shows, and more."""
    return {
        "ok": is_ok(result, comparison),
        "outcomes": [dataclasses.asdict(outcome) for outcome in result.outcomes],
        "recommendations": improvement_json(result.improvement),
        "early_tickets": result.early_tickets,
        "medians_s": medians(result.outcomes),
        "scorecard": to_fields(scorecard(result.run_states)),
        "replay": None if comparison is None else dataclasses.asdict(comparison),
        "memory_mib": {name: round(size, 1) for name, size in result.memory_mib.items()},
        "wall_s": round(result.wall_s, 1),
        "recording": str(result.recording),
    }


def is_ok(result: DemoResult, comparison: Comparison | None) -> bool:
    """Whether every expectation held."""
    return (
        not result.interrupted
        and bool(result.outcomes)
        and not result.early_tickets
        and not any(outcome.failures for outcome in result.outcomes)
        and not (result.improvement is not None and result.improvement.failures)
        and (comparison is None or comparison.same)
    )


def improvement_json(improvement: Improvement | None) -> dict[str, Any] | None:
    """Everything about the recommended code changes, with what follows from it."""
    if improvement is None:
        return None
    fields = dataclasses.asdict(improvement)
    for part in ("before", "after"):  # JSON has no infinity
        fields[part]["error_s"] = _finite(fields[part]["error_s"])
    return {
        **fields,
        "estimated_saving_s": improvement.estimated_saving_s,
        "measured_saving_s": improvement.measured_saving_s,
        "saving_error_s": _finite(improvement.saving_error_s),
        "ratio": improvement.ratio,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def medians(outcomes: list[Outcome]) -> dict[str, float | None]:
    """Median of each delay in seconds over the faults that have it."""
    found: dict[str, float | None] = {}
    for name in ("detected_after_s", "ticket_after_s", "investigated_after_s", "approved_after_s"):
        values = [value for outcome in outcomes if (value := getattr(outcome, name)) is not None]
        found[name] = round(statistics.median(values), 3) if values else None
    return found


def print_report(result: DemoResult, comparison: Comparison | None) -> None:
    """Print the closing table, the success rate, the medians and what did not hold."""
    table = Table(
        "fault",
        "detected\nafter",
        "ticket",
        "users",
        "first hypothesis",
        "right",
        "action",
        "verified",
        "human\nneeded",
    )
    for column in table.columns:
        column.overflow = "fold"  # at 80 columns a word is broken rather than lost
    for outcome in result.outcomes:
        table.add_row(
            outcome.scenario,
            "-" if outcome.detected_after_s is None else f"{outcome.detected_after_s:.1f} s",
            f"{outcome.incident} {outcome.priority}" if outcome.incident else "-",
            str(outcome.affected_users),
            escape(f"{outcome.first_hypothesis} ({outcome.confidence:.0%})" if outcome.first_hypothesis else "-"),
            _mark(outcome.cause_right, outcome.scenario != "quiet"),
            f"{outcome.action or 'none'} ({outcome.run_state or '-'})",
            _mark(outcome.verified, bool(outcome.action)),
            "yes" if outcome.human_needed else "no",
        )
    console.print(table)
    console.print(scorecard_table(scorecard(result.run_states)))
    _print_medians(result.outcomes)
    _print_history(result.outcomes)
    if result.improvement is not None:
        _print_improvement(result.improvement)
    _print_memory(result)
    if comparison is not None:
        mark = "[green]✓[/]" if comparison.same else "[red]✗[/]"
        console.print(f"{mark} replay of the recording: {escape(comparison.text)}")
    for failure in result.improvement.failures if result.improvement else ():
        console.print(f"[red]✗[/] recommendations: {escape(failure)}")
    for number in result.early_tickets:
        console.print(f"[red]✗[/] ticket {number} was opened before any fault")
    for outcome in result.outcomes:
        for failure in outcome.failures:
            console.print(f"[red]✗[/] {outcome.scenario}: {escape(failure)}")
    verdict = "[green]every expectation held[/]" if is_ok(result, comparison) else "[red]not every expectation held[/]"
    console.print(f"{verdict} in {result.wall_s:.0f} s; logs and stores: {result.settings.data_dir}")
    console.print(
        f"[dim]look at its tickets again: PARAMEDIC_DATA_DIR={escape(str(result.settings.data_dir))} paramedic up, "
        "and open the console that it names[/]",
        soft_wrap=True,
    )


def _mark(held: bool, applies: bool) -> str:
    if not applies:
        return "-"
    return "[green]✓[/]" if held else "[red]✗[/]"


def _print_medians(outcomes: list[Outcome]) -> None:
    found = medians(outcomes)
    goals = {
        "detected_after_s": DETECTION_GOAL_S,
        "ticket_after_s": TICKET_GOAL_S,
        "investigated_after_s": HYPOTHESES_GOAL_S,
        "approved_after_s": APPROVAL_S,
    }
    names = {
        "detected_after_s": "fault → anomaly",
        "ticket_after_s": "anomaly → ticket",
        "investigated_after_s": "ticket → hypotheses",
        "approved_after_s": "approval → applied",
    }
    parts = [f"{names[key]} {value:.2f} s (goal {goals[key]:g})" for key, value in found.items() if value is not None]
    if parts:
        console.print("median " + ", ".join(parts))


def _print_history(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.history:
            console.print(f"{outcome.scenario} again, {outcome.incident}: {escape(outcome.history)}", soft_wrap=True)


def _print_improvement(improvement: Improvement) -> None:
    """The recommendations by number, and what the tried one brought beside what it promised."""
    console.print(
        f"recommended code changes: {len(improvement.found)} open, of {len(improvement.rules)} kinds "
        f"({escape(', '.join(improvement.rules) or 'none')})",
        soft_wrap=True,
    )
    if improvement.version:
        table = Table("", "before", "after", "saved", title=escape(f"{improvement.chosen}: {improvement.version}"))
        before, after = improvement.before, improvement.after
        table.add_row(
            "estimated",
            _ms(improvement.estimated_before_s),
            _ms(improvement.estimated_after_s),
            _ms(improvement.estimated_saving_s),
        )
        error = f" ± {2 * improvement.saving_error_s * 1e3:.1f}" if math.isfinite(improvement.saving_error_s) else ""
        table.add_row(
            f"measured ({before.requests} and {after.requests} × {escape(improvement.operation)})",
            _ms(before.mean_s),
            _ms(after.mean_s),
            f"{_ms(improvement.measured_saving_s)}{error}",
        )
        console.print(table)
        ratio = "-" if improvement.ratio is None else f"{improvement.ratio:.2f}"
        console.print(f"estimated over measured saving {ratio} (expected {LEAST_RATIO:g} to {MOST_RATIO:g})")


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms"


def _print_memory(result: DemoResult) -> None:
    if not result.memory_mib:
        return
    total = sum(result.memory_mib.values())
    largest = max(result.memory_mib, key=lambda name: result.memory_mib[name])
    sizes = ", ".join(f"{name} {size:.0f}" for name, size in result.memory_mib.items())
    console.print(f"[dim]resident memory, MiB: {sizes}; in all {total:.0f}, largest {largest}[/]")
