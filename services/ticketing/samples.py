"""Exemplar traces and log patterns of an incident's window."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from libs.contracts.codec import utc_from_ns
from libs.contracts.document import LogSample, TraceSample
from libs.stores.telemetry import LogQuery, LogRow, SpanQuery, SpanRow, TelemetryReader, Window

MOST_TRACES: Final = 10
MOST_LOGS: Final = 20
_SERVER_KINDS: Final = (2, 5)
_ERROR: Final = 2
_WARN: Final = 13
_LOG_ROWS: Final = 1_000
_BODY_CHARACTERS: Final = 1_000
# What differs between two records of one statement: ids, addresses, numbers, quoted values.
_VARIABLE: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\b[0-9a-fA-F]{8,}(?:-[0-9a-fA-F]+)*\b|\d+(?:[.:]\d+)*")


def traces_of(
    reader: TelemetryReader, window: Window, services: Sequence[str], exemplars: Iterable[str]
) -> tuple[TraceSample, ...]:
    """At most ten traces: the detector's exemplars first, then failed and slowest ones in turn."""
    names = tuple(services)
    failed = reader.spans(SpanQuery(window=window, services=names, errors_only=True, limit=50))
    slowest = reader.spans(SpanQuery(window=window, services=names, kinds=_SERVER_KINDS, order="slowest", limit=20))
    chosen: dict[str, str] = {}
    for trace_id in exemplars:
        chosen.setdefault(trace_id, "exemplar")
        if len(chosen) >= MOST_TRACES // 2:
            break
    for one, other in _in_turn([span.trace_id for span in failed], [span.trace_id for span in slowest]):
        if one:
            chosen.setdefault(one, "error")
        if other:
            chosen.setdefault(other, "slow")
    samples = []
    for trace_id, reason in list(chosen.items())[:MOST_TRACES]:
        spans = reader.trace(trace_id)
        if spans:
            samples.append(trace_sample(spans, reason))
    return tuple(samples)


def _in_turn(failed: Sequence[str], slowest: Sequence[str]) -> Iterable[tuple[str, str]]:
    ones, others = list(dict.fromkeys(failed)), list(dict.fromkeys(slowest))
    longest = max(len(ones), len(others))
    pad = [""] * longest
    return zip((ones + pad)[:longest], (others + pad)[:longest], strict=True)


def trace_sample(spans: Sequence[SpanRow], reason: str) -> TraceSample:
    """Summary of one trace; its root is the span without a parent in it, the earliest of several."""
    known = {span.span_id for span in spans}
    roots = [span for span in spans if span.parent_span_id not in known]
    root = min(roots or spans, key=lambda span: (span.start_ns, span.span_id))
    start_ns = min(span.start_ns for span in spans)
    end_ns = max(span.start_ns + span.duration_ns for span in spans)
    services = dict.fromkeys(span.service for span in sorted(spans, key=lambda span: (span.start_ns, span.span_id)))
    return TraceSample(
        trace_id=root.trace_id,
        root_service=root.service,
        root_name=root.name,
        started_at=utc_from_ns(start_ns),
        duration_s=(end_ns - start_ns) / 1e9,
        spans=len(spans),
        errors=sum(span.status == _ERROR for span in spans),
        services=tuple(services),
        reason=reason,
    )


def logs_of(reader: TelemetryReader, window: Window, services: Sequence[str]) -> tuple[LogSample, ...]:
    """At most twenty patterns of WARN and above, the most severe and frequent first, each with its first record."""
    query = LogQuery(window=window, services=tuple(services), least_severity=_WARN, order="oldest", limit=_LOG_ROWS)
    groups: dict[tuple[str, str, int, str], list[LogRow]] = {}
    for row in reader.logs(query):
        groups.setdefault((row.service, row.logger, row.severity, shape(row.body)), []).append(row)
    ranked = sorted(groups.items(), key=lambda item: (-item[0][2], -len(item[1]), item[0]))
    return tuple(_log_sample(rows) for _, rows in ranked[:MOST_LOGS])


def shape(body: str) -> str:
    """The statement behind a record: its first line with everything that varies masked."""
    line = body.split("\n", 1)[0][:_BODY_CHARACTERS]
    return _VARIABLE.sub("<*>", line)


def _log_sample(rows: Sequence[LogRow]) -> LogSample:
    first = min(rows, key=lambda row: (row.timestamp_ns, row.body))
    return LogSample(
        timestamp=utc_from_ns(first.timestamp_ns),
        service=first.service,
        severity=first.severity,
        logger=first.logger,
        body=first.body[:_BODY_CHARACTERS],
        trace_id=first.trace_id,
        count=len(rows),
    )
