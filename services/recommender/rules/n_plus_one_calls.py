"""The same call again and again, one after the other, for each element of a list: N+1 calls.

Telemetry tells it from a fan-out (calls overlap), from polling and retries (the same address, or a failure before) and
from a fixed sequence (the number never varies, or the calls come from different lines).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field

from libs.contracts.investigation import Evidence
from libs.stores.telemetry import SpanRow
from services.recommender.calls import address_of, callee_of, follows, is_read, mean, statement_of, together_s
from services.recommender.rule import RULES, Finding, Thresholds, milliseconds, per_day, saves_enough, waiting_saved
from services.recommender.scene import (
    ERROR,
    CodePlace,
    Operation,
    Request,
    Scene,
    end_ns,
    exemplars,
    place_of,
)


class NPlusOneThresholds(Thresholds):
    """When calls are too many."""

    least_calls: Annotated[
        int, Field(ge=2, description="Calls one after the other from one line that make a request count.")
    ] = 2
    least_most_calls: Annotated[
        int, Field(ge=2, description="The largest number of them in a request must reach this.")
    ] = 3
    least_share: Annotated[
        float, Field(gt=0, le=1, description="Share of the operation's requests that must have such calls.")
    ] = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of code that calls.

    Attributes:
        place: The line.
        stack: Frames that led there, as `code.stacktrace` has them, "" for none.
        callee: What it calls.
    """

    place: CodePlace
    stack: str
    callee: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Calls of one request from one line, one after the other.

    Attributes:
        request: The request.
        calls: By start.
    """

    request: Request
    calls: tuple[SpanRow, ...]

    @property
    def elapsed_s(self) -> float:
        """From the start of the first to the end of the last, seconds."""
        return (end_ns(self.calls[-1]) - self.calls[0].start_ns) / 1e9


@RULES.register("n_plus_one_calls")
class NPlusOneCalls:
    """Finds operations that make one call per element where the calls could run together."""

    name: ClassVar[str] = "n_plus_one_calls"
    thresholds: ClassVar[type[Thresholds]] = NPlusOneThresholds

    def find(self, scene: Scene, thresholds: NPlusOneThresholds) -> Sequence[Finding]:
        """One finding per operation and calling line."""
        found: list[Finding] = []
        for operation in scene.operations:
            runs: dict[Line, list[Run]] = defaultdict(list)
            counts: dict[Line, set[int]] = defaultdict(set)
            for request in operation.requests:
                for key, calls in _by_line(request):
                    counts[key].add(len(calls))
                    if len(calls) >= thresholds.least_calls and _one_by_one(calls):
                        runs[key].append(Run(request=request, calls=calls))
            for key in sorted(runs, key=str):
                # A number that never varies is a fixed sequence, not one call per element.
                finding = _finding(scene, operation, key, runs[key], thresholds) if len(counts[key]) > 1 else None
                if finding is not None:
                    found.append(finding)
        return found


def _by_line(request: Request) -> Iterator[tuple[Line, tuple[SpanRow, ...]]]:
    groups: dict[tuple[Line, str], list[SpanRow]] = defaultdict(list)
    for call in request.calls:
        line = Line(place=place_of(call), stack=call.attributes.get("code.stacktrace", ""), callee=callee_of(call))
        groups[line, call.parent_span_id].append(call)
    for (line, _), calls in groups.items():
        yield line, tuple(calls)


def _one_by_one(calls: Sequence[SpanRow]) -> bool:
    """Whether each began after the one before had ended, none failed, and no two asked for the same thing."""
    if any(call.status == ERROR for call in calls):
        return False
    addresses = [address_of(call) for call in calls]
    if any(addresses) and len(set(addresses)) < len(addresses):
        return False
    return all(follows(later, earlier) for earlier, later in pairwise(calls))


def _finding(
    scene: Scene, operation: Operation, line: Line, runs: list[Run], thresholds: NPlusOneThresholds
) -> Finding | None:
    share = len(runs) / len(operation.requests)
    most = max(len(run.calls) for run in runs)
    if share < thresholds.least_share or most < thresholds.least_most_calls:
        return None
    before_s = operation.mean_s
    saved_s = sum(run.elapsed_s - _at_best_s(scene, run) for run in runs) / len(operation.requests)
    if not saves_enough(thresholds, saved_s, before_s):
        return None
    callee = line.callee
    calls = [call for run in runs for call in run.calls]
    endpoint = place_of(runs[0].request.server)
    return Finding(
        rule=NPlusOneCalls.name,
        service=operation.service,
        version=operation.version,
        operation=operation.name,
        subject=f"{operation.name}|{callee}",
        place=line.place,
        title=f"{operation.name} waits for {callee} once per element, one after the other",
        evidence=_evidence(operation, runs, calls, callee, share),
        benefit=waiting_saved(
            saved_s, operation.requests_per_day, _arithmetic(scene, runs, share), before_s, before_s - saved_s
        ),
        confidence=round(0.5 + 0.3 * min(1.0, len(runs) / 50), 2),
        advice="Ask for all elements with one statement (`WHERE ... IN (...)`, or a join)."
        if statement_of(calls[0])
        else "Ask for all elements in one call where the callee offers that; otherwise run the calls together.",
        patcher="" if statement_of(calls[0]) else "fan_out",
        hints={
            "stack": line.stack,
            "endpoint_path": endpoint.path,
            "endpoint": endpoint.function,
            "most": str(most),
            "reads": "yes" if all(is_read(call) for call in calls) else "",
        },
    )


def _at_best_s(scene: Scene, run: Run) -> float:
    """One statement for all elements takes about as long as the longest; calls can only run together."""
    if statement_of(run.calls[0]):
        return max(call.duration_ns for call in run.calls) / 1e9
    return together_s(scene, run.calls)


def _arithmetic(scene: Scene, runs: list[Run], share: float) -> str:
    count = mean([len(run.calls) for run in runs])
    best, now = mean([_at_best_s(scene, run) for run in runs]), mean([run.elapsed_s for run in runs])
    if statement_of(runs[0].calls[0]):
        how = f"one statement for all elements takes {milliseconds(best)} (the longest of them)"
    else:
        how = (
            f"begun together, the calls take {milliseconds(best)} (the longest, and for each further one the part that "
            "caller or callee compute and cannot overlap)"
        )
    return f"{how} where {count:.1f} one after the other take {milliseconds(now)}, in {share:.0%} of the requests"


def _evidence(
    operation: Operation, runs: list[Run], calls: list[SpanRow], callee: str, share: float
) -> tuple[Evidence, ...]:
    sizes = sorted(len(run.calls) for run in runs)
    lines = [
        Evidence(
            text=f"{len(runs)} of {len(operation.requests)} requests of {operation.name} ({share:.0%}, "
            f"{per_day(operation.requests_per_day)}/day) made {sizes[0]} to {sizes[-1]} calls {callee}, each after "
            f"the one before had ended, each for another element",
            weight=min(1.0, len(runs) / 50),
            source=f"spans of {operation.service} {operation.version}".strip(),
        ),
        Evidence(
            text=f"one call takes {milliseconds(mean([call.duration_ns / 1e9 for call in calls]))} in the mean of "
            f"{len(calls)}; the run of them is {mean([r.elapsed_s / r.request.duration_s for r in runs]):.0%} of the "
            "request",
            weight=0.6,
            source=f"client spans of {operation.service}",
        ),
    ]
    by_server = {run.request.server.trace_id: run for run in runs}
    for server in exemplars([run.request.server for run in runs]):
        run = by_server[server.trace_id]
        lines.append(
            Evidence(
                text=f"{len(run.calls)} calls take {milliseconds(run.elapsed_s)} of a request of "
                f"{milliseconds(run.request.duration_s)}",
                weight=0.5,
                source=f"trace {server.trace_id}",
            )
        )
    return tuple(lines)
