"""Traces of a window: failed ones, slow ones, or the newest."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from libs.contracts.codec import utc_from_ns
from libs.stores.telemetry import SpanQuery, SpanRow, TelemetryReader
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Figure, Name, Names, untrusted
from services.mcp.event_time import TimeArguments, window_of
from services.mcp.otlp_words import Status, status_word
from services.mcp.service_names import ServiceName, require_service
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

_NS: Final = 1e9
_ERROR: Final = 2
_MOST_SPANS: Final = 5_000


class TracesArguments(TimeArguments):
    """Which traces."""

    limit: Annotated[int, Field(ge=1, le=50, description="Most traces in the answer.")] = 10
    service: ServiceName = ""
    errors_only: Annotated[bool, Field(description="Only traces with a failed span (of `service`, when named).")] = (
        False
    )
    operation: Annotated[
        str, Field(max_length=200, description="Only where the name of a span holds this text; case does not matter.")
    ] = ""
    order: Annotated[
        Literal["slowest", "newest", "oldest"], Field(description="Which come first, by the span that matches.")
    ] = "slowest"


class TraceRow(Row):
    """A trace, and the span in it that matches best."""

    trace_id: Annotated[Name, Field(description=untrusted("Id for get_trace"))]
    started_at: Annotated[AwareDatetime, Field(description="Start of its first span.")]
    duration_s: Annotated[Figure, Field(description="From its first start to its last end, in seconds.")]
    root_service: Annotated[Name, Field(description=untrusted("Service of its first span"))]
    root_operation: Annotated[Name, Field(description=untrusted("Name of its first span"))]
    spans: Annotated[int, Field(description="Spans stored of it.")]
    failed_spans: Annotated[int, Field(description="Spans with status error.")]
    services: Annotated[Names, Field(description=untrusted("Services it went through, at most 20"))]
    match_service: Annotated[Name, Field(description=untrusted("Service of the span that matches"))]
    match_operation: Annotated[Name, Field(description=untrusted("Name of the span that matches"))]
    match_duration_s: Annotated[Figure, Field(description="Duration of the span that matches, in seconds.")]
    match_status: Status


class TracesAnswer(Answer[TraceRow]):
    """Traces in the order asked for."""


def _ask(sources: Sources, asked: TracesArguments) -> TracesAnswer:
    telemetry = sources.telemetry
    require_service(telemetry, asked.service)
    time = window_of(telemetry, asked.last_s, asked.end)
    spans = telemetry.spans(
        SpanQuery(
            window=time.window,
            services=(asked.service,) if asked.service else (),
            errors_only=asked.errors_only,
            order=asked.order,
            limit=_MOST_SPANS,
        )
    )
    wanted = asked.operation.casefold()
    best: dict[str, SpanRow] = {}
    for span in spans:
        if wanted in span.name.casefold():
            best.setdefault(span.trace_id, span)
    rows = [_row(telemetry, span) for span in page_of(list(best.values()), asked)]
    exact = len(spans) < _MOST_SPANS
    text = f"{'' if exact else 'At least '}{len(best)} traces match, {asked.order} first."
    if not exact:
        text += f" Only {_MOST_SPANS} spans were looked at."
    return answer(
        TracesAnswer,
        asked,
        Found(
            rows=rows,
            total=len(best),
            exact=exact,
            summary=text if best else time.nothing("traces that match"),
            window=time.shown,
            pinned=time.pinned,
        ),
    )


def _row(telemetry: TelemetryReader, match: SpanRow) -> TraceRow:
    spans: Sequence[SpanRow] = telemetry.trace(match.trace_id) or [match]
    first = next((span for span in spans if not span.parent_span_id), spans[0])
    start_ns = min(span.start_ns for span in spans)
    return TraceRow(
        trace_id=match.trace_id,
        started_at=utc_from_ns(start_ns),
        duration_s=(max(span.start_ns + span.duration_ns for span in spans) - start_ns) / _NS,
        root_service=first.service,
        root_operation=first.name,
        spans=len(spans),
        failed_spans=sum(span.status == _ERROR for span in spans),
        services=sorted({span.service for span in spans}),
        match_service=match.service,
        match_operation=match.name,
        match_duration_s=match.duration_ns / _NS,
        match_status=status_word(match.status),
    )


TOOL: Final = register(
    "observability",
    Tool(
        name="find_traces",
        title="Slow or failed requests",
        description="Find traces (single requests followed through all services) of a window: the slowest, the newest, "
        "or only failed ones; of one service, or with a text in an operation's name. Each comes with its duration, "
        "its services and how many of its spans failed. Read one in full with get_trace.",
        arguments=TracesArguments,
        result=TracesAnswer,
        ask=_ask,
    ),
)
