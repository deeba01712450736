"""One trace in full: its spans in call order, where the time went, and which exceptions were raised."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import AwareDatetime, BeforeValidator, Field

from libs.contracts.codec import utc_from_ns
from libs.stores.telemetry import SpanRow
from services.mcp.answer import Answer, Found, PageArguments, Row, answer, page_of
from services.mcp.bounds import MOST_ROWS, Attributes, Figure, Line, Name, Paragraph, untrusted
from services.mcp.otlp_words import Kind, Status, kind_word, status_word
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

_NS: Final = 1e9
_ERROR: Final = 2
_MOST_EXCEPTIONS: Final = 3
_MOST_DEPTH: Final = 1_000


class TraceArguments(PageArguments):
    """Which trace."""

    limit: Annotated[int, Field(ge=1, le=MOST_ROWS, description="Most spans in the answer.")] = 100
    trace_id: Annotated[
        str, Field(pattern="^[0-9a-fA-F]{32}$", description="32 hex digits, as find_traces gives them.")
    ]


def _last_lines(value: Any) -> Any:
    """The end of a stack trace: Python's raising frame is its last."""
    return value[-1_500:] if isinstance(value, str) else value


class ExceptionShown(Row):
    """An exception event of a span."""

    type: Annotated[Name, Field(description=untrusted("Type of the exception"))]
    message: Annotated[Line, Field(description=untrusted("Its message"))]
    stack_end: Annotated[
        Paragraph,
        BeforeValidator(_last_lines),
        Field(description=untrusted("Last 1,500 characters of its stack trace")),
    ]


class SpanShown(Row):
    """A span."""

    depth: Annotated[int, Field(description="0 for a root; a child is one deeper than its parent.")]
    service: Annotated[Name, Field(description=untrusted("service.name"))]
    operation: Annotated[Name, Field(description=untrusted("Span name"))]
    kind: Kind
    status: Status
    offset_s: Annotated[Figure, Field(description="Start, in seconds after the trace began.")]
    duration_s: Annotated[Figure, Field(description="Duration in seconds.")]
    self_s: Annotated[Figure, Field(description="Seconds in which none of its children ran: where the time went.")]
    instance: Annotated[Name, Field(description=untrusted("service.instance.id, empty when unknown"))]
    version: Annotated[Name, Field(description=untrusted("service.version, empty when unknown"))]
    peer: Annotated[Name, Field(description=untrusted("Callee as the caller names it, empty for none"))]
    attributes: Annotated[Attributes, Field(description=untrusted("Further attributes, at most 12"))]
    exceptions: Annotated[
        list[ExceptionShown], Field(max_length=_MOST_EXCEPTIONS, description="Exceptions raised in it, at most 3.")
    ]


class TraceAnswer(Answer[SpanShown]):
    """Spans, each followed by its children in order of start."""

    started_at: AwareDatetime | None
    duration_s: Annotated[Figure, Field(description="From the first start to the last end, in seconds.")]
    failed_spans: Annotated[int, Field(description="Spans with status error.")]


def _ask(sources: Sources, asked: TraceArguments) -> TraceAnswer:
    spans = sources.telemetry.trace(asked.trace_id.lower())
    start_ns = min((span.start_ns for span in spans), default=0)
    end_ns = max((span.start_ns + span.duration_ns for span in spans), default=0)
    failed = sum(span.status == _ERROR for span in spans)
    children: dict[str, list[SpanRow]] = defaultdict(list)
    for span in spans:
        children[span.parent_span_id].append(span)
    ordered = list(_tree(spans, children))
    text = (
        f"{len(spans)} spans of {len({span.service for span in spans})} services, {failed} failed, "
        f"{(end_ns - start_ns) / _NS:.3f} s."
    )
    gone = f"No spans of trace {asked.trace_id}: it was never recorded, or is older than what is kept."
    found = Found(
        rows=[_row(span, depth, start_ns, children[span.span_id]) for span, depth in page_of(ordered, asked)],
        total=len(ordered),
        summary=text if spans else gone,
    )
    started_at = utc_from_ns(start_ns) if spans else None
    return answer(
        TraceAnswer, asked, found, started_at=started_at, duration_s=(end_ns - start_ns) / _NS, failed_spans=failed
    )


def _tree(spans: Sequence[SpanRow], children: Mapping[str, Sequence[SpanRow]]) -> Iterator[tuple[SpanRow, int]]:
    """Depth first; a span whose parent is missing is a root, and spans in a circle of parents come last."""
    known = {span.span_id for span in spans}
    seen: set[int] = set()  # by identity: a client and its server span may share one span id (B3 propagation)
    roots = [span for span in spans if span.parent_span_id not in known]
    for start in (*roots, *spans):
        stack = [(start, 0)]
        while stack:
            span, depth = stack.pop()
            if id(span) in seen:
                continue
            seen.add(id(span))
            yield span, depth
            below = children.get(span.span_id, ())
            stack.extend((child, min(depth + 1, _MOST_DEPTH)) for child in reversed(below))


def _row(span: SpanRow, depth: int, start_ns: int, children: Sequence[SpanRow]) -> SpanShown:
    return SpanShown(
        depth=depth,
        service=span.service,
        operation=span.name,
        kind=kind_word(span.kind),
        status=status_word(span.status),
        offset_s=(span.start_ns - start_ns) / _NS,
        duration_s=span.duration_ns / _NS,
        self_s=_self_ns(span, children) / _NS,
        instance=span.instance,
        version=span.version,
        peer=span.peer,
        attributes=dict(span.attributes),
        exceptions=[
            ExceptionShown(
                type=event.get("exception.type", ""),
                message=event.get("exception.message", ""),
                stack_end=event.get("exception.stacktrace", ""),
            )
            for event in span.exceptions[:_MOST_EXCEPTIONS]
        ],
    )


def _self_ns(span: SpanRow, children: Sequence[SpanRow]) -> int:
    """Duration not covered by children, which may overlap one another and outlive their parent."""
    covered, reached = 0, span.start_ns
    end_ns = span.start_ns + span.duration_ns
    for child in sorted(children, key=lambda one: one.start_ns):
        begin, finish = max(child.start_ns, reached), min(child.start_ns + child.duration_ns, end_ns)
        if finish > begin:
            covered += finish - begin
            reached = finish
    return span.duration_ns - covered


TOOL: Final = register(
    "observability",
    Tool(
        name="get_trace",
        title="One request in full",
        description="Read one trace: every span with its service, operation, status, duration, the time that is its "
        "own (self_s), and the exceptions raised in it, in call order. The span with the greatest self_s is where the "
        "time went; the deepest failed span is where a failure began. A client span without a child span of its peer "
        "means that the peer did not answer or sends no telemetry.",
        arguments=TraceArguments,
        result=TraceAnswer,
        ask=_ask,
    ),
)
