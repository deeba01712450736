"""What a client span called, in words that do not vary from call to call, and what calls cost when they overlap."""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from libs.stores.telemetry import SpanRow
from services.recommender.scene import Scene, end_ns

_LITERALS: Final = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b")
_MOST: Final = 300
# Clocks of one process agree to well under this; starts and ends are read by different lines of code.
OVERLAP_NS: Final = 200_000


def statement_of(call: SpanRow) -> str:
    """SQL text of a statement's span, "" for other calls."""
    return call.attributes.get("db.query.text") or call.attributes.get("db.statement", "")


def callee_of(call: SpanRow) -> str:
    """What is called: a statement without its literals, or the span's name and its peer."""
    statement = statement_of(call)
    if statement:
        return _LITERALS.sub("?", " ".join(statement.split()))[:_MOST]
    return (f"{call.name} of {call.peer}" if call.peer else call.name)[:_MOST]


def address_of(call: SpanRow) -> str:
    """Path and query that a call asks for, whatever the instance; "" when unknown."""
    full = call.attributes.get("url.full") or call.attributes.get("http.url", "")
    try:
        parts = urlsplit(full)
    except ValueError:
        return full
    path = call.attributes.get("url.path") or parts.path
    return path + ("?" + parts.query if parts.query else "")


def is_read(call: SpanRow) -> bool:
    """Whether a call only asks, so that its order among others does not matter."""
    method = call.attributes.get("http.request.method") or call.attributes.get("http.method", "")
    return method in ("GET", "HEAD") or statement_of(call).lstrip("( ")[:6].upper() == "SELECT"


def follows(later: SpanRow, earlier: SpanRow) -> bool:
    """Whether a call began only after another had ended."""
    return later.start_ns >= end_ns(earlier) - OVERLAP_NS


def together_s(scene: Scene, calls: Sequence[SpanRow]) -> float:
    """How long calls of one kind take that are begun at once, seconds, from what they took one after the other.

    Waiting overlaps, computing does not: on the caller's side each call costs what its span lasts beyond the answer's
    span, on the callee's side what the answer's span spends outside its own calls, on as many instances as there are.
    Calls flow through both like a pipeline, so the longest one takes its whole time and each further one the longest
    stage (the makespan of a flow shop of equal jobs). A callee that reports no spans is taken to compute half of its
    time.
    """
    longest = max(call.duration_ns for call in calls) / 1e9
    caller, callee = [], []
    for call in calls:
        answer = scene.answer(call)
        caller.append(caller_s(scene, call))
        if answer is None:
            callee.append(call.duration_ns / 2e9)
        else:
            callee.append(scene.own_s(answer) / max(len(scene.instances.get(answer.service, ())), 1))
    stage = max(mean(caller), mean(callee))
    elapsed = (end_ns(calls[-1]) - calls[0].start_ns) / 1e9
    return min(longest + (len(calls) - 1) * stage, elapsed)


def caller_s(scene: Scene, call: SpanRow) -> float:
    """What the caller itself spends on a call, seconds: its span beyond the answer's; 0 when there is no answer."""
    answer = scene.answer(call)
    return 0.0 if answer is None else max(call.duration_ns - answer.duration_ns, 0) / 1e9


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean."""
    return sum(values) / len(values)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
