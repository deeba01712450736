"""Log records by service, severity, words and trace."""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, Field

from libs.contracts.codec import utc_from_ns
from libs.stores.telemetry import LogQuery, LogRow
from services.mcp.answer import Answer, Found, Row, answer
from services.mcp.bounds import Attributes, Name, Paragraph, untrusted
from services.mcp.event_time import TimeArguments, window_of
from services.mcp.otlp_words import LEAST, Severity, severity_word
from services.mcp.service_names import ServiceName, require_service
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register


class LogsArguments(TimeArguments):
    """Which records."""

    service: ServiceName = ""
    text: Annotated[
        str, Field(max_length=200, description="Only records whose message holds this text; case does not matter.")
    ] = ""
    least_severity: Annotated[Severity, Field(description="Only records at least this severe.")] = "trace"
    trace_id: Annotated[str, Field(pattern="^([0-9a-fA-F]{32})?$", description="Only this trace: 32 hex digits.")] = ""
    order: Annotated[Literal["newest", "oldest"], Field(description="Which records come first.")] = "newest"


class LogRecord(Row):
    """A log record."""

    at: AwareDatetime
    service: Annotated[Name, Field(description=untrusted("service.name"))]
    instance: Annotated[Name, Field(description=untrusted("service.instance.id, empty when unknown"))]
    severity: Severity
    logger: Annotated[Name, Field(description=untrusted("Logger name"))]
    body: Annotated[Paragraph, Field(description=untrusted("The message"))]
    trace_id: Annotated[Name, Field(description=untrusted("Trace it belongs to, for get_trace; empty for none"))]
    attributes: Annotated[Attributes, Field(description=untrusted("Further attributes, at most 12"))]


class LogsAnswer(Answer[LogRecord]):
    """Log records in the order asked for."""


def _ask(sources: Sources, asked: LogsArguments) -> LogsAnswer:
    require_service(sources.telemetry, asked.service)
    time = window_of(sources.telemetry, asked.last_s, asked.end)
    wanted = asked.offset + asked.limit + 1  # one more tells whether there are more
    records = sources.telemetry.logs(
        LogQuery(
            window=time.window,
            services=(asked.service,) if asked.service else (),
            # Records without a severity have the number 0 and must not be lost when nothing is filtered.
            least_severity=0 if asked.least_severity == "trace" else LEAST[asked.least_severity],
            trace_id=asked.trace_id.lower(),
            text=asked.text,
            order=asked.order,
            limit=wanted,
        )
    )
    exact = len(records) < wanted
    text = f"{'' if exact else 'At least '}{len(records)} log records match, {asked.order} first."
    return answer(
        LogsAnswer,
        asked,
        Found(
            rows=[_row(record) for record in records[asked.offset :]],
            total=len(records),
            exact=exact,
            summary=text if records else time.nothing("log records that match"),
            window=time.shown,
            pinned=time.pinned,
            narrower="ask for one service, a higher severity or a text; get_log_patterns counts instead",
        ),
    )


def _row(record: LogRow) -> LogRecord:
    return LogRecord(
        at=utc_from_ns(record.timestamp_ns),
        service=record.service,
        instance=record.instance,
        severity=severity_word(record.severity),
        logger=record.logger,
        body=record.body,
        trace_id=record.trace_id,
        attributes=dict(record.attributes),
    )


TOOL: Final = register(
    "observability",
    Tool(
        name="find_logs",
        title="Log records",
        description="Read single log records of a window: of one service or all, at least a severity, with a text in "
        "the message, or of one trace. Use get_log_patterns first to learn which messages became frequent, then this "
        "to read some of them in full.",
        arguments=LogsArguments,
        result=LogsAnswer,
        ask=_ask,
    ),
)
