"""A statement that takes long for what it is: it wants an index, or it is written so that none can serve it.

Telemetry names the statement, its time and the function that runs it; whether an index helps is decided on the
schema in the mapped repository.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Final

from pydantic import Field

from libs.contracts.investigation import Evidence
from libs.stores.telemetry import SpanRow
from services.recommender.calls import callee_of, mean, percentile, statement_of
from services.recommender.rule import RULES, Finding, Thresholds, milliseconds, per_day, saves_enough, waiting_saved
from services.recommender.scene import CodePlace, Operation, Scene, exemplars, place_of

_UNKNOWN_FAST_S: Final = 0.001


class SlowQueryThresholds(Thresholds):
    """When a statement is slow."""

    least_mean_ms: Annotated[float, Field(gt=0, description="Least mean duration of the statement, milliseconds.")] = (
        15.0
    )
    least_count: Annotated[int, Field(ge=1, description="Times it must have run.")] = 20
    times_others: Annotated[
        float,
        Field(ge=1, description="It must take this many times the median of the service's other statements."),
    ] = 5.0


@RULES.register("slow_query")
class SlowQuery:
    """Finds slow SELECTs."""

    name: ClassVar[str] = "slow_query"
    thresholds: ClassVar[type[Thresholds]] = SlowQueryThresholds

    def find(self, scene: Scene, thresholds: SlowQueryThresholds) -> Sequence[Finding]:
        """One finding per operation, statement and function."""
        found: list[Finding] = []
        for operation in scene.operations:
            statements: dict[tuple[str, CodePlace], list[SpanRow]] = defaultdict(list)
            for request in operation.requests:
                for call in request.calls:
                    if statement_of(call)[:6].upper() in ("SELECT", "WITH R", "WITH ("):
                        statements[callee_of(call), place_of(call)].append(call)
            for key in sorted(statements, key=str):
                fast_s = _others_s(scene, operation.service, key[0])
                finding = _finding(operation, key, statements[key], fast_s, thresholds)
                if finding is not None:
                    found.append(finding)
        return found


def _others_s(scene: Scene, service: str, statement: str) -> float:
    """Median duration of what else the service asks its database, seconds; 1 ms when there is nothing else."""
    others = [
        call.duration_ns / 1e9
        for operation in scene.operations
        if operation.service == service
        for request in operation.requests
        for call in request.calls
        if statement_of(call) and callee_of(call) != statement
    ]
    return percentile(others, 0.5) if others else _UNKNOWN_FAST_S


def _finding(
    operation: Operation,
    key: tuple[str, CodePlace],
    calls: list[SpanRow],
    fast_s: float,
    thresholds: SlowQueryThresholds,
) -> Finding | None:
    statement, place = key
    durations = [call.duration_ns / 1e9 for call in calls]
    slow_s = mean(durations)
    if len(calls) < thresholds.least_count or slow_s * 1e3 < thresholds.least_mean_ms:
        return None
    if slow_s < thresholds.times_others * fast_s:
        return None  # the whole database is slow: that is not this statement's fault
    runs = len(calls) / len(operation.requests)
    saved_s = runs * (slow_s - fast_s)
    if not saves_enough(thresholds, saved_s, operation.mean_s):
        return None
    system = calls[0].attributes.get("db.system.name") or calls[0].attributes.get("db.system", "")
    return Finding(
        rule=SlowQuery.name,
        service=operation.service,
        version=operation.version,
        operation=operation.name,
        subject=f"{operation.name}|{statement}",
        place=place,
        title=f"{operation.name} waits for a slow query in {place.name or operation.service}",
        evidence=(
            Evidence(text=statement, weight=0.5, source="db.query.text"),
            Evidence(
                text=f"{len(calls)} runs ({per_day(runs * operation.requests_per_day)}/day): mean "
                f"{milliseconds(slow_s)}, 95 % within {milliseconds(percentile(durations, 0.95))}; other statements of "
                f"the service take {milliseconds(fast_s)} in the median; {runs * slow_s / operation.mean_s:.0%} of "
                f"{operation.name}",
                weight=min(1.0, len(calls) / 50),
                source=f"client spans of {operation.service} {operation.version}".strip(),
            ),
            *(
                Evidence(text=f"one of {milliseconds(s.duration_ns / 1e9)}", weight=0.5, source=f"trace {s.trace_id}")
                for s in exemplars(calls)
            ),
        ),
        benefit=replace(
            waiting_saved(
                saved_s,
                operation.requests_per_day,
                f"with an index the statement takes about what the service's other statements take: {runs:.2g} x "
                f"({milliseconds(slow_s)} - {milliseconds(fast_s)})",
                operation.mean_s,
                operation.mean_s - saved_s,
            ),
            at_most=f"at most {runs:.2g} x {milliseconds(slow_s)} of {milliseconds(operation.mean_s)} per request x "
            f"{per_day(operation.requests_per_day)} requests/day; how much depends on the rewritten statement",
        ),
        confidence=0.5,
        advice="Look at the statement's plan: index what it filters by, or ask for less.",
        patcher="create_index",
        hints={"statement": statement_of(calls[0]), "system": system},
        acute=True,
    )
