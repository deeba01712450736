"""A call that nothing ends: when the callee hangs, so does the request, and with enough of them the caller.

Three things show it, from strong to weak: the client says so on its span (`http.client.timeout` 0), calls have lasted
longer than any sensible timeout, or the code at the calling line gives none. The last needs a mapped repository.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10
from typing import Annotated, ClassVar, Final

from pydantic import Field

from libs.contracts.investigation import Evidence
from libs.stores.telemetry import SpanRow
from services.recommender.calls import callee_of, percentile, statement_of
from services.recommender.rule import RULES, Benefit, Finding, Thresholds, milliseconds, per_day
from services.recommender.scene import CodePlace, Operation, Scene, exemplars, place_of

_ATTRIBUTE: Final = "http.client.timeout"  # seconds, 0 for none; no convention names one yet
_LEAST_S: Final = 1.0
_MARGIN: Final = 3.0


class TimeoutThresholds(Thresholds):
    """When a call counts as endless."""

    least_calls: Annotated[int, Field(ge=1, description="Calls from one line that must have been seen.")] = 30
    hang_s: Annotated[
        float, Field(gt=0, description="A call that lasted this long had no sensible timeout, seconds.")
    ] = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls from one line.

    Attributes:
        place: The line.
        callee: What is called.
        spans: The calls.
        per_day: Their rate.
        operations: Operations that make them, by name.
    """

    place: CodePlace
    callee: str
    spans: tuple[SpanRow, ...]
    per_day: float
    operations: tuple[str, ...]


@RULES.register("call_without_timeout")
class CallWithoutTimeout:
    """Finds calls of other services without a timeout."""

    name: ClassVar[str] = "call_without_timeout"
    thresholds: ClassVar[type[Thresholds]] = TimeoutThresholds

    def find(self, scene: Scene, thresholds: TimeoutThresholds) -> Sequence[Finding]:
        """One finding per service and calling line."""
        found: list[Finding] = []
        for service, version in scene.versions.items():
            operations = [one for one in scene.operations if one.service == service]
            for calls in _by_line(operations):
                told = {span.attributes[_ATTRIBUTE] for span in calls.spans if _ATTRIBUTE in span.attributes}
                if len(calls.spans) >= thresholds.least_calls and not any(_seconds(text) > 0 for text in told):
                    found.append(_finding(service, version, calls, told=bool(told), hang_s=thresholds.hang_s))
        return found


def _by_line(operations: Sequence[Operation]) -> list[Calls]:
    spans: dict[tuple[CodePlace, str], list[SpanRow]] = defaultdict(list)
    rates: dict[tuple[CodePlace, str], float] = defaultdict(float)
    names: dict[tuple[CodePlace, str], set[str]] = defaultdict(set)
    for operation in operations:
        for request in operation.requests:
            for call in request.calls:
                if not statement_of(call) and call.peer:
                    key = (place_of(call), callee_of(call))
                    spans[key].append(call)
                    rates[key] += operation.requests_per_day / len(operation.requests)
                    names[key].add(operation.name)
    return [
        Calls(
            place=key[0],
            callee=key[1],
            spans=tuple(spans[key]),
            per_day=rates[key],
            operations=tuple(sorted(names[key])),
        )
        for key in sorted(spans, key=str)
    ]


def _finding(service: str, version: str, calls: Calls, *, told: bool, hang_s: float) -> Finding:
    durations = [span.duration_ns / 1e9 for span in calls.spans]
    p99_s = percentile(durations, 0.99)
    hung = [span for span in calls.spans if span.duration_ns >= hang_s * 1e9]
    timeout_s = sensible_timeout_s(p99_s if not hung else percentile([d for d in durations if d < hang_s] or [1], 0.99))
    lines = [
        Evidence(
            text=f"{len(durations)} calls {calls.callee} from {calls.place} in {' and '.join(calls.operations)} "
            f"({per_day(calls.per_day)}/day): median {milliseconds(percentile(durations, 0.5))}, 99 % within "
            f"{milliseconds(p99_s)}, longest {milliseconds(max(durations))}",
            weight=0.5,
            source=f"client spans of {service} {version}".strip(),
        )
    ]
    if told:
        lines.append(
            Evidence(text="the client says on each of them that it was given none", weight=0.9, source=_ATTRIBUTE)
        )
    lines += [
        Evidence(
            text=f"a call lasted {milliseconds(span.duration_ns / 1e9)}",
            weight=0.8 if span in hung else 0.4,
            source=f"trace {span.trace_id}",
        )
        for span in exemplars(hung or calls.spans)
    ]
    return Finding(
        rule=CallWithoutTimeout.name,
        service=service,
        version=version,
        operation=calls.operations[0] if len(calls.operations) == 1 else "",
        subject=calls.callee,
        place=calls.place,
        title=f"{service} calls {calls.callee} without a timeout",
        evidence=tuple(lines),
        benefit=Benefit(
            words=f"{per_day(calls.per_day)} calls/day can each hang without end; with {timeout_s:g} s "
            f"({_MARGIN:g} x the 99th percentile of {milliseconds(p99_s)}, rounded up, at least {_LEAST_S:g} s) a "
            f"callee that hangs costs {timeout_s:g} s a call: at this rate at most "
            f"{calls.per_day / 86_400 * timeout_s:.1f} requests wait at once, where now "
            "their number grows as long as it hangs",
            value=round(calls.per_day),
            unit="calls/day",
        ),
        confidence=0.8 if told else 0.6 if hung else 0.0,
        advice=f"Give the call a timeout, about {timeout_s:g} s by what it takes today.",
        patcher="add_timeout",
        hints={"timeout_s": f"{timeout_s:g}"},
        acute=bool(hung),
        code_decides=True,
    )


def sensible_timeout_s(p99_s: float) -> float:
    """Three times the 99th percentile, rounded up to 1, 2 or 5 times a power of ten, at least a second."""
    wanted = max(_MARGIN * p99_s, _LEAST_S)
    power = 10.0 ** (ceil(log10(wanted)) - 1)
    return float(f"{next(step * power for step in (1, 2, 5, 10) if step * power >= wanted * 0.999):.3g}")


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
