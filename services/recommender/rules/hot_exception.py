"""An exception that is raised again and again at one line: swallowed ones cost and hide, others fail requests.

Deliberate ones do not count: a line that says `raise` speaks to its caller, and an exception about a call is a
symptom of the callee.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Final

from pydantic import Field

from libs.contracts.investigation import Evidence
from services.recommender.rule import RULES, Benefit, Finding, Thresholds, per_day
from services.recommender.scene import DAY_S, ERROR, CodePlace, Operation, Scene
from services.recommender.stack_frames import Frame, frames, innermost_own

_OF_CALLS: Final = (
    "timeout",
    "connect",
    "unavailable",
    "http",
    "peer",
    "socket",
    "rpc",
    "deadline",
    "network",
    "cancel",
)
_EXAMPLES: Final = 3


class HotExceptionThresholds(Thresholds):
    """When an exception is hot."""

    least_count: Annotated[int, Field(ge=1, description="Requests that must have raised it.")] = 15
    least_share: Annotated[
        float, Field(gt=0, le=1, description="Share of the operation's requests that must have raised it.")
    ] = 0.02


@dataclass(slots=True, kw_only=True)
class Raised:
    """One exception type at one line.

    Attributes:
        frame: Where.
        path: Frames of the service's own code that led there, outermost first.
        message: An example.
        traces: Trace ids of requests that raised it, whether the request failed.
        trace_bytes: Bytes of stack traces written.
    """

    frame: Frame
    path: tuple[Frame, ...]
    message: str
    traces: dict[str, bool] = field(default_factory=dict)
    trace_bytes: int = 0


@RULES.register("hot_exception")
class HotException:
    """Finds lines that raise in many requests."""

    name: ClassVar[str] = "hot_exception"
    thresholds: ClassVar[type[Thresholds]] = HotExceptionThresholds

    def find(self, scene: Scene, thresholds: HotExceptionThresholds) -> Sequence[Finding]:
        """One finding per operation, exception type and line."""
        logged = _logged(scene)
        found: list[Finding] = []
        for operation in scene.operations:
            raised = _raised(operation, logged)
            for key in sorted(raised, key=str):
                one = raised[key]
                share = len(one.traces) / len(operation.requests)
                if len(one.traces) >= thresholds.least_count and share >= thresholds.least_share:
                    found.append(_finding(operation, key[0], one, share))
        return found


def _logged(scene: Scene) -> Mapping[tuple[str, str], list[Mapping[str, str]]]:
    """Exceptions in logs, by service and trace."""
    found: dict[tuple[str, str], list[Mapping[str, str]]] = defaultdict(list)
    for log in scene.logs:
        if log.trace_id:
            found[log.service, log.trace_id].append(log.attributes)
    return found


def _raised(
    operation: Operation, logged: Mapping[tuple[str, str], list[Mapping[str, str]]]
) -> dict[tuple[str, CodePlace], Raised]:
    found: dict[tuple[str, CodePlace], Raised] = {}
    for request in operation.requests:
        server = request.server
        events = [*server.exceptions, *(event for call in request.calls for event in call.exceptions)]
        for event in (*events, *_of_request(logged, operation, server.trace_id)):
            kind, trace = event.get("exception.type", ""), event.get("exception.stacktrace", "")
            frame = innermost_own(trace)
            if not kind or frame is None or not _is_defect(kind, frame):
                continue
            one = found.setdefault(
                (kind, frame.place),
                Raised(
                    frame=frame,
                    path=tuple(entry for entry in frames(trace) if entry.own),
                    message=event.get("exception.message", "")[:120],
                ),
            )
            one.traces[server.trace_id] = one.traces.get(server.trace_id, False) or server.status == ERROR
            one.trace_bytes += len(trace)
    return found


def _of_request(
    logged: Mapping[tuple[str, str], list[Mapping[str, str]]], operation: Operation, trace_id: str
) -> Iterator[Mapping[str, str]]:
    yield from logged.get((operation.service, trace_id), ())


def _is_defect(kind: str, frame: Frame) -> bool:
    about_a_call = any(word in kind.casefold() for word in _OF_CALLS)
    return not about_a_call and not frame.line_text.startswith("raise")


def _finding(operation: Operation, kind: str, one: Raised, share: float) -> Finding:
    failed = sum(one.traces.values())
    count, place = len(one.traces), one.frame.place
    daily = count / operation.covered_s * DAY_S
    handled = "and failed the request" if failed else "and was swallowed: the request went on without its result"
    name = kind.rpartition(".")[2]
    if failed:
        benefit = Benefit(
            words=f"{failed} of {len(operation.requests)} requests failed with it: "
            f"{per_day(failed / operation.covered_s * DAY_S)} failed requests/day at this rate",
            value=round(failed / operation.covered_s * DAY_S),
            unit="failed requests/day",
        )
    else:
        size = one.trace_bytes / count
        benefit = Benefit(
            words=f"{per_day(daily)} requests/day do not get what the line was to do; {per_day(daily)} stack traces "
            f"x {size:,.0f} bytes = {daily * size / 1e6:.1f} MB/day are written for it",
            value=round(daily),
            unit="exceptions/day",
        )
    return Finding(
        rule=HotException.name,
        service=operation.service,
        version=operation.version,
        operation=operation.name,
        subject=f"{operation.name}|{kind}|{place.name}",
        place=place,
        title=f"{name} at {place.name or 'one line'} in many requests of {operation.name}",
        evidence=(
            Evidence(
                text=f"{name} ({one.message!r}) was raised in {count} of {len(operation.requests)} requests of "
                f"{operation.name} ({share:.0%}, {per_day(daily)}/day) {handled}",
                weight=min(1.0, count / 50),
                source=f"exceptions of {operation.service} {operation.version}".strip(),
            ),
            Evidence(
                text=" -> ".join(
                    f"{entry.place.path.rpartition('/')[2]}:{entry.place.line} {entry.place.function}"
                    for entry in one.path[-4:]
                )
                + (f": {one.frame.line_text}" if one.frame.line_text else ""),
                weight=0.7,
                source="exception.stacktrace",
            ),
            *(
                Evidence(text="an example", weight=0.4, source=f"trace {trace}")
                for trace in sorted(one.traces)[:_EXAMPLES]
            ),
        ),
        benefit=benefit,
        confidence=round(0.6 + 0.3 * min(1.0, count / 50), 2),
        advice=f"Handle the case before the line raises {name}; an exception is no branch of ordinary traffic.",
        hints={"exception": kind, "source_line": one.frame.line_text},
        acute=bool(failed),
    )
