"""What only single traces show: cost of the network, missing answers, exceptions, what a service does per request."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final

import numpy as np

from libs.contracts.columns import FloatArray
from libs.stores.telemetry import SpanRow
from services.investigator.ordinary import floor_of, level_of
from services.investigator.scene import Scene
from services.investigator.tools.demand import read_demand
from services.investigator.tools.instances import read_instances
from services.investigator.tools.per_request import Trials, distance
from services.investigator.tools.span_set import SpanSet, address_of
from services.investigator.tools.tool import SERVICE, Answer, Tool, register, where
from services.investigator.trace_facts import CallGap, ExceptionShift, OperationShift, TraceFacts, Unanswered

_NS: Final = 1e9
_MOST_TEXT: Final = 200


def _ask(scene: Scene, _: Mapping[str, str]) -> Answer[TraceFacts]:
    facts, spans = read_traces(scene)
    clauses = [
        f"{e.service} raised {e.type} {e.now} times (before: {e.before}){e.place and ' at ' + e.place}"
        for e in facts.exceptions[:3]
        if e.now > e.before
    ]
    clauses += [
        f"{u.now - u.now_answered} of {u.now} calls {u.caller} -> {u.callee} have no answer"
        for u in facts.unanswered[:3]
        if u.now > u.now_answered and u.before_answered
    ]
    text = "; ".join(clauses) if clauses else "no new exception and no missing answer"
    return Answer(
        found=bool(spans), finding=f"{spans} spans read: {text}.", query=f"traces of {where(scene)}", part=facts
    )


def read_traces(scene: Scene) -> tuple[TraceFacts, int]:
    """Facts of both windows, and how many spans of the incident they rest on."""
    before, now = (SpanSet(scene.spans(window)) for window in (scene.before_spans, scene.now))
    facts = TraceFacts(
        gaps=_gaps(before, now),
        operations=_operations(before, now),
        exceptions=_exceptions(before, now),
        instances=read_instances(before, now),
        unanswered=_unanswered(before, now),
        demand=read_demand(before, now),
    )
    return facts, len(now.rows)


def _gaps(before: SpanSet, now: SpanSet) -> tuple[CallGap, ...]:
    ordinary, current = _gap_columns(before), _gap_columns(now)
    return tuple(
        CallGap(
            caller=edge[0],
            callee=edge[1],
            before=level_of(ordinary.get(edge, np.zeros(0))),
            low_before=floor_of(ordinary.get(edge, np.zeros(0))),
            now_low_s=float(np.quantile(column, 0.25, method="lower")),
            now_s=float(np.median(column)),
            now_mean_s=float(column.mean()),
            calls=len(column),
        )
        for edge, column in sorted(current.items())
    )


def _gap_columns(spans: SpanSet) -> dict[tuple[str, str], FloatArray]:
    columns: dict[tuple[str, str], list[float]] = defaultdict(list)
    for call, answer in spans.answered:
        # An answer that outlives its call (a caller that gave up, clocks that drift) says nothing about the way there.
        if call.duration_ns >= answer.duration_ns:
            columns[call.service, answer.service].append((call.duration_ns - answer.duration_ns) / _NS)
    return {edge: np.array(column) for edge, column in columns.items()}


def _operations(before: SpanSet, now: SpanSet) -> tuple[OperationShift, ...]:
    done_before, done_now = before.done(), now.done()
    asked_before, asked_now = _by_service(before), _by_service(now)
    return tuple(
        OperationShift(
            service=key[0],
            operation=key[1],
            before=_count(done_before.get(key, {})),
            now=_count(done_now.get(key, {})),
            expected=_expected(done_before.get(key, {}), asked_before[key[0]], asked_now[key[0]]),
            distance=distance(done_before.get(key, {}), done_now.get(key, {}), asked_before[key[0]], asked_now[key[0]]),
        )
        for key in sorted(done_before.keys() | done_now.keys())
    )


def _by_service(spans: SpanSet) -> dict[str, dict[str, set[str]]]:
    """Ids of requests by service and endpoint."""
    found: dict[str, dict[str, set[str]]] = defaultdict(dict)
    for (service, endpoint), ids in spans.request_ids.items():
        found[service][endpoint] = ids
    return found


def _count(done: Trials) -> int:
    return sum(len(ids) for ids in done.values())


def _expected(done: Trials, asked_before: Trials, asked_now: Trials) -> float:
    """Requests that would do it now at the shares before."""
    return sum(
        len(ids) / len(asked_before[endpoint]) * len(asked_now.get(endpoint, ()))
        for endpoint, ids in done.items()
        if asked_before.get(endpoint)
    )


def _exceptions(before: SpanSet, now: SpanSet) -> tuple[ExceptionShift, ...]:
    counts_before = Counter(key for key, _, _ in _raised(before))
    counts_now: Counter[tuple[str, str, str]] = Counter()
    samples: dict[tuple[str, str, str], tuple[SpanRow, str]] = {}
    for key, span, message in _raised(now):
        counts_now[key] += 1
        samples.setdefault(key, (span, message))
    return tuple(
        ExceptionShift(
            service=service,
            type=kind,
            place=place,
            message=samples[service, kind, place][1],
            before=counts_before[service, kind, place],
            now=count,
            trace_id=samples[service, kind, place][0].trace_id,
        )
        for (service, kind, place), count in counts_now.most_common(50)
    )


def _raised(spans: SpanSet) -> list[tuple[tuple[str, str, str], SpanRow, str]]:
    return [
        (
            (span.service, event.get("exception.type", "exception")[:_MOST_TEXT], raising_frame(event)),
            span,
            event.get("exception.message", "")[:_MOST_TEXT],
        )
        for span in spans.rows
        for event in span.exceptions
    ]


def raising_frame(event: Mapping[str, str]) -> str:
    """The frame of a stack trace that raised: last of Python's, first of the others'; "" without one."""
    lines = [line.strip() for line in event.get("exception.stacktrace", "").splitlines()]
    python = [line for line in lines if line.startswith("File ")]
    if python:
        return python[-1][:_MOST_TEXT]
    others = [line for line in lines if line.startswith("at ")]
    return others[0][:_MOST_TEXT] if others else ""


def _unanswered(before: SpanSet, now: SpanSet) -> tuple[Unanswered, ...]:
    callee_of = {**before.callee_of, **now.callee_of}
    instance_of = {**now.instance_of, **before.instance_of}
    groups_before, groups_now = (_call_groups(spans, callee_of, instance_of) for spans in (before, now))
    found = []
    for key in sorted(groups_now):
        calls, ordinary = groups_now[key], groups_before.get(key, [])
        failed = [call.duration_ns / _NS for call in calls if call.status == 2]
        lost = [call.start_ns for call in calls if call.status == 2 and not now.is_answered(call)]
        found.append(
            Unanswered(
                caller=key[0],
                callee=key[1],
                instance=key[2],
                before=len(ordinary),
                before_answered=sum(before.is_answered(call) for call in ordinary),
                now=len(calls),
                now_answered=sum(now.is_answered(call) for call in calls),
                now_failed=len(failed),
                failed_mean_s=float(np.mean(failed)) if failed else 0.0,
                kept_up=_kept_up(before, now, key[1], key[2], min(lost)) if lost else 0.0,
            )
        )
    return tuple(found)


def _kept_up(before: SpanSet, now: SpanSet, service: str, instance: str, since_ns: int) -> float:
    """Requests finished since a moment, over what is ordinary for as long."""
    ordinary, current = (
        [row.start_ns + row.duration_ns for row in spans.serving if _is_of(row, service, instance)]
        for spans in (before, now)
    )
    elapsed_ns = max(row.start_ns + row.duration_ns for row in now.rows) - since_ns
    expected = len(ordinary) / max(max(ordinary, default=0) - min(ordinary, default=0), _NS) * elapsed_ns
    return sum(end_ns > since_ns for end_ns in current) / expected if expected > 0 else 0.0


def _is_of(row: SpanRow, service: str, instance: str) -> bool:
    """Whether an instance served a span; "" stands for all of the service."""
    return row.service == service and instance in ("", row.instance)


def _call_groups(
    spans: SpanSet, callee_of: Mapping[tuple[str, str], str], instance_of: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str, str], list[SpanRow]]:
    groups: dict[tuple[str, str, str], list[SpanRow]] = defaultdict(list)
    for call in spans.calls:
        callee = callee_of.get((call.service, call.peer), call.peer)
        groups[call.service, callee, instance_of.get((callee, address_of(call)), "")].append(call)
    return groups


TOOL: Final = register(
    Tool(
        name="traces",
        title="What single traces show: network cost, missing answers, exceptions, behaviour per request",
        ask=_ask,
        arguments=SERVICE,
    )
)
