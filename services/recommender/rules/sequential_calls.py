"""Two reads that always run one after the other and do not need each other could run together.

Telemetry shows the order and that they never overlap; only the code shows that the second does not use the first's
answer. So a mapped repository must prove it, and without one the rule is silent unless `without_code` is set.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field

from libs.contracts.investigation import Evidence
from libs.stores.telemetry import SpanRow
from services.recommender.calls import callee_of, caller_s, follows, is_read, mean
from services.recommender.rule import RULES, Finding, Thresholds, milliseconds, per_day, saves_enough, waiting_saved
from services.recommender.scene import ERROR, CodePlace, Operation, Request, Scene, exemplars, place_of


class SequentialThresholds(Thresholds):
    """When a sequence is worth a look."""

    least_share: Annotated[
        float,
        Field(gt=0, le=1, description="Share of the operation's requests that must have both calls in this order."),
    ] = 0.3
    without_code: Annotated[
        bool,
        Field(description="Whether to recommend where no repository is mapped, so that nothing proves independence."),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A call by the line that makes it."""

    place: CodePlace
    callee: str


@dataclass(slots=True, kw_only=True)
class Pair:
    """Two steps in a row.

    Attributes:
        requests: Requests that had both.
        calls: The two spans of each.
        saved_s: What each would have saved.
    """

    requests: list[Request] = field(default_factory=list)
    calls: list[tuple[SpanRow, SpanRow]] = field(default_factory=list)
    saved_s: list[float] = field(default_factory=list)


@RULES.register("sequential_calls")
class SequentialCalls:
    """Finds neighbouring reads of a request that could run together."""

    name: ClassVar[str] = "sequential_calls"
    thresholds: ClassVar[type[Thresholds]] = SequentialThresholds

    def find(self, scene: Scene, thresholds: SequentialThresholds) -> Sequence[Finding]:
        """One finding per operation and pair of steps."""
        found: list[Finding] = []
        for operation in scene.operations:
            pairs, disturbed = _pairs(scene, operation)
            for key in sorted(pairs, key=str):
                if key in disturbed or (key[1], key[0]) in pairs:
                    continue
                finding = _finding(operation, key, pairs[key], thresholds)
                if finding is not None:
                    found.append(finding)
        return found


def _pairs(scene: Scene, operation: Operation) -> tuple[dict[tuple[Step, Step], Pair], set[tuple[Step, Step]]]:
    """Neighbouring reads, each made once in its request; and pairs that overlapped somewhere."""
    pairs: dict[tuple[Step, Step], Pair] = defaultdict(Pair)
    disturbed: set[tuple[Step, Step]] = set()
    for request in operation.requests:
        direct = [call for call in request.calls if call.parent_span_id == request.server.span_id]
        steps = [Step(place=place_of(call), callee=callee_of(call)) for call in direct]
        for (first, first_step), (second, second_step) in pairwise(zip(direct, steps, strict=True)):
            key = (first_step, second_step)
            if not follows(second, first):
                disturbed |= {key, (second_step, first_step)}
                continue
            repeated = steps.count(first_step) > 1 or steps.count(second_step) > 1
            if repeated or not (is_read(first) and is_read(second)) or ERROR in (first.status, second.status):
                continue
            pair = pairs[key]
            pair.requests.append(request)
            pair.calls.append((first, second))
            pair.saved_s.append(min(_waits_s(scene, first), _waits_s(scene, second)))
    return pairs, disturbed


def _waits_s(scene: Scene, call: SpanRow) -> float:
    """The part of a call in which the caller only waits."""
    return max(call.duration_ns / 1e9 - caller_s(scene, call), 0.0)


def _finding(
    operation: Operation, key: tuple[Step, Step], pair: Pair, thresholds: SequentialThresholds
) -> Finding | None:
    share = len(pair.requests) / len(operation.requests)
    saved_s = sum(pair.saved_s) / len(operation.requests)
    if share < thresholds.least_share or not saves_enough(thresholds, saved_s, operation.mean_s):
        return None
    first, second = key
    durations = [mean([calls[at].duration_ns / 1e9 for calls in pair.calls]) for at in (0, 1)]
    endpoint = place_of(pair.requests[0].server)
    benefit = waiting_saved(
        saved_s,
        operation.requests_per_day,
        f"the shorter of the two ({milliseconds(durations[0])} and {milliseconds(durations[1])}) disappears behind the "
        f"longer, without the part that the caller computes itself, in {share:.0%} of the requests",
        operation.mean_s,
        operation.mean_s - saved_s,
    )
    servers = [request.server for request in pair.requests]
    return Finding(
        rule=SequentialCalls.name,
        service=operation.service,
        version=operation.version,
        operation=operation.name,
        subject=f"{operation.name}|{first.callee}|{second.callee}",
        place=second.place,
        title=f"{operation.name} waits for {_short(first)}, then for {_short(second)}, and could wait for both at once",
        evidence=(
            Evidence(
                text=f"in {len(servers)} of {len(operation.requests)} requests of {operation.name} ({share:.0%}, "
                f"{per_day(operation.requests_per_day)}/day) {second.callee} began after {first.callee} had ended; "
                "in none did they overlap or change places",
                weight=min(1.0, len(servers) / 50),
                source=f"spans of {operation.service} {operation.version}".strip(),
            ),
            *(
                Evidence(
                    text=f"an example of {milliseconds(server.duration_ns / 1e9)}",
                    weight=0.4,
                    source=f"trace {server.trace_id}",
                )
                for server in exemplars(servers)
            ),
        ),
        benefit=benefit,
        confidence=0.3 if thresholds.without_code else 0.0,
        advice="Start both calls, then wait for both, if the second does not need the first's answer.",
        patcher="run_together",
        hints={
            "first_path": first.place.path,
            "first_function": first.place.function,
            "first_line": str(first.place.line),
            "first_stack": pair.calls[0][0].attributes.get("code.stacktrace", ""),
            "second_stack": pair.calls[0][1].attributes.get("code.stacktrace", ""),
            "endpoint_path": endpoint.path,
            "endpoint": endpoint.function,
        },
        code_decides=True,
    )


def _short(step: Step) -> str:
    return step.place.name or step.callee[:60]
