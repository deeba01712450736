"""Which log messages became more frequent: records grouped into patterns, counted now and right before."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field

from libs.observability.log_patterns import PatternMiner
from libs.stores.telemetry import LogQuery, LogRow, TelemetryReader, Window
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Line, Name, untrusted
from services.mcp.event_time import TimeArguments, window_of
from services.mcp.otlp_words import LEAST, Severity, severity_word
from services.mcp.service_names import ServiceName, require_service
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

_MOST_RECORDS: Final = 10_000  # each window; Drain groups them in about half a second


class PatternsArguments(TimeArguments):
    """Which records are grouped."""

    last_s: Annotated[
        float,
        Field(
            ge=1,
            le=3 * 3600.0,
            description="Length of the window in seconds, back from `end`; it is compared with as long before it.",
        ),
    ] = 300.0
    service: ServiceName = ""
    least_severity: Annotated[Severity, Field(description="Only records at least this severe.")] = "warn"


class PatternRow(Row):
    """A pattern of messages."""

    service: Annotated[Name, Field(description=untrusted("service.name"))]
    logger: Annotated[Name, Field(description=untrusted("Logger name"))]
    severity: Annotated[Severity, Field(description="Highest severity among the records.")]
    count: Annotated[int, Field(description="Records in the window.")]
    count_before: Annotated[int, Field(description="Records in the window of the same length before.")]
    pattern: Annotated[Line, Field(description=untrusted("The message, <*> and <n> where it varies"))]
    example: Annotated[Line, Field(description=untrusted("One of the messages"))]
    example_trace_id: Annotated[Name, Field(description=untrusted("Trace of the example, for get_trace, or empty"))]


class PatternsAnswer(Answer[PatternRow]):
    """Patterns, the one that gained most records first."""

    records: Annotated[int, Field(description="Records of the window that were grouped.")]
    records_before: Annotated[int, Field(description="Records of the window before that were grouped.")]


def _ask(sources: Sources, asked: PatternsArguments) -> PatternsAnswer:
    require_service(sources.telemetry, asked.service)
    time = window_of(sources.telemetry, asked.last_s, asked.end)
    before, now = (_read(sources.telemetry, window, asked) for window in (time.before, time.window))
    rows = _patterns(before, now)
    cut = len(now) >= _MOST_RECORDS or len(before) >= _MOST_RECORDS
    text = f"{len(now)} records in {len(rows)} patterns, {len(before)} records in the {time.seconds:g} s before."
    if cut:
        text += f" Only the newest {_MOST_RECORDS} of each window were read: ask for a shorter window or one service."
    return answer(
        PatternsAnswer,
        asked,
        Found(
            rows=page_of(rows, asked),
            total=len(rows),
            exact=not cut,
            summary=text if rows else time.nothing(f"log records of severity {asked.least_severity} or more"),
            window=time.shown,
            pinned=time.pinned,
        ),
        records=len(now),
        records_before=len(before),
    )


def _read(telemetry: TelemetryReader, window: Window, asked: PatternsArguments) -> list[LogRow]:
    return telemetry.logs(
        LogQuery(
            window=window,
            services=(asked.service,) if asked.service else (),
            least_severity=0 if asked.least_severity == "trace" else LEAST[asked.least_severity],
            limit=_MOST_RECORDS,
        )
    )


def _patterns(before: Sequence[LogRow], now: Sequence[LogRow]) -> list[PatternRow]:
    miner = PatternMiner()
    counts_before: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    templates: dict[str, str] = {}
    examples: dict[str, LogRow] = {}
    severities: dict[str, int] = {}
    for rows, counter in ((before, counts_before), (now, counts)):
        for row in reversed(rows):  # oldest first, as they were written
            pattern = miner.pattern_of(row.service, row.logger, row.body)
            counter[pattern.id] += 1
            templates[pattern.id] = pattern.template  # Drain widens it as records come in: the last is the widest
            examples[pattern.id] = row
            severities[pattern.id] = max(severities.get(pattern.id, 0), row.severity)
    ids = sorted(templates, key=lambda one: (counts_before[one] - counts[one], -severities[one], one))
    return [
        PatternRow(
            service=examples[one].service,
            logger=examples[one].logger,
            severity=severity_word(severities[one]),
            count=counts[one],
            count_before=counts_before[one],
            pattern=templates[one],
            example=examples[one].body,
            example_trace_id=examples[one].trace_id,
        )
        for one in ids
    ]


TOOL: Final = register(
    "observability",
    Tool(
        name="get_log_patterns",
        title="Log messages that became more frequent",
        description="Group the log records of a window into patterns (messages without their numbers and ids) and "
        "count each, next to its count in the window of the same length before; what gained most comes first. A "
        "pattern with count_before 0 is new. Counts follow traffic: compare them with requests_per_s of get_requests.",
        arguments=PatternsArguments,
        result=PatternsAnswer,
        ask=_ask,
    ),
)
