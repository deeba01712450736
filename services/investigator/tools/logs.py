"""Which log patterns a service writes more or less often per request than before; new errors first."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Set
from typing import Final

from libs.stores.telemetry import LogQuery, LogRow, Window
from services.investigator.evidence import LogShift
from services.investigator.scene import Scene
from services.investigator.tools.log_shape import statement
from services.investigator.tools.per_request import Trials, distance, traces_by_endpoint
from services.investigator.tools.span_set import SpanSet
from services.investigator.tools.tool import SERVICE, Answer, Tool, register, where

_MOST_RECORDS: Final = 20_000
_MOST_TEXT: Final = 200
_WARN: Final = 13
_ERROR: Final = 17
_LEVEL: Final = re.compile(r"\b(?:ERROR|FATAL|SEVERE|CRITICAL|PANIC|WARN(?:ING)?)\b")
_MOST_LEVEL: Final = 60

Key = tuple[str, str, str]
_NONE: Final[frozenset[str]] = frozenset()


def _ask(scene: Scene, arguments: Mapping[str, str]) -> Answer[tuple[LogShift, ...]]:
    shifts = read_logs(scene, arguments.get("text", ""))
    loud = sorted(
        (s for s in shifts if s.severity >= _WARN and s.now > s.expected + 2), key=lambda s: s.expected - s.now
    )
    told = "; ".join(f"{s.service} {s.now} x {s.sample[:80]!r} (expected {s.expected:.1f})" for s in loud[:3])
    text = (
        f"{len(shifts)} patterns; more often than before: {told}."
        if told
        else (f"{len(shifts)} patterns, no warning or error more often than before." if shifts else "no log records.")
    )
    return Answer(found=bool(shifts), finding=text, query=f"log patterns of {where(scene)}", part=shifts)


def read_logs(scene: Scene, text: str = "") -> tuple[LogShift, ...]:
    """Every pattern of both windows with the count that its rate per request predicts for now."""
    before_rows, now_rows = (_rows(scene, window, text) for window in (scene.before_spans, scene.now))
    if not before_rows and not now_rows:
        return ()
    before_spans, now_spans = (SpanSet(scene.spans(window)) for window in (scene.before_spans, scene.now))
    earlier, later = _Requests(before_spans), _Requests(now_spans)
    expected = _expected(before_rows, earlier, later, _time_ratio(scene, before_rows))
    now_rows = [row for row in now_rows if earlier.knows(row.service, later.endpoints(row))]
    counts_before, counts_now = Counter(map(_key, before_rows)), Counter(map(_key, now_rows))
    written_before, written_now = _traces(before_rows), _traces(now_rows)
    asked_before, asked_now = traces_by_endpoint(before_spans), traces_by_endpoint(now_spans)
    samples: dict[Key, LogRow] = {}
    for row in (*before_rows, *now_rows):
        known = samples.get(_key(row))
        if known is None or severity_of(row) > severity_of(known):
            samples[_key(row)] = row
    return tuple(
        LogShift(
            service=key[0],
            logger=key[1],
            pattern=key[2],
            severity=severity_of(samples[key]),
            before=counts_before[key],
            now=counts_now[key],
            expected=expected.get(key, 0.0),
            distance=_moved(
                written_before.get(key, _NONE), written_now.get(key, _NONE), asked_before[key[0]], asked_now[key[0]]
            ),
            sample=samples[key].body[:_MOST_TEXT],
        )
        for key in sorted(samples)
    )


def severity_of(row: LogRow) -> int:
    """OTLP SeverityNumber of a record; from its own words where the collector did not parse them (a stack trace)."""
    if row.severity >= _WARN:
        return row.severity
    said = _LEVEL.search(row.body[:_MOST_LEVEL])
    if said is None:
        return row.severity
    return _WARN if said[0].startswith("WARN") else _ERROR


class _Requests:
    """Requests of a window by service and endpoint, and which endpoints each trace used."""

    def __init__(self, spans: SpanSet) -> None:
        self.spans = spans
        self.by_service: Counter[str] = Counter()
        for (service, _), count in spans.requests.items():
            self.by_service[service] += count

    def knows(self, service: str, endpoints: list[str]) -> bool:
        """Whether records of these endpoints can be judged: those never asked before write what was never read."""
        return not endpoints or any(self.spans.requests[service, endpoint] for endpoint in endpoints)

    def endpoints(self, row: LogRow) -> list[str]:
        """Endpoints of the record's service in its trace."""
        return self.spans.endpoints.get((row.trace_id, row.service), []) if row.trace_id else []


def _expected(rows: list[LogRow], before: _Requests, now: _Requests, time_ratio: float) -> dict[Key, float]:
    """Records that the rates before predict for now.

    A record that belongs to a traced request counts for that request's endpoint, another one for all requests of its
    service, and where there are no requests for the time that has passed.
    """
    expected: dict[Key, float] = defaultdict(float)
    for row in rows:
        used = before.endpoints(row)
        if used:
            for endpoint in used:
                asked = before.spans.requests[row.service, endpoint]
                expected[_key(row)] += now.spans.requests[row.service, endpoint] / asked / len(used)
        elif before.by_service[row.service] and now.by_service[row.service]:
            expected[_key(row)] += now.by_service[row.service] / before.by_service[row.service]
        else:
            expected[_key(row)] += time_ratio
    return expected


def _moved(before: Set[str], now: Set[str], asked_before: Trials, asked_now: Trials) -> float | None:
    """Distance of a pattern written in these traces; None when no trace tells its endpoint in both windows."""
    judged = [endpoint for endpoint in asked_now if asked_before.get(endpoint)]
    hits = sum(len(before & asked_before[e]) + len(now & asked_now[e]) for e in judged)
    if not hits:
        return None if not before and not now else 0.0
    return distance(dict.fromkeys(judged, before), dict.fromkeys(judged, now), asked_before, asked_now)


def _traces(rows: list[LogRow]) -> dict[Key, set[str]]:
    found: dict[Key, set[str]] = defaultdict(set)
    for row in rows:
        if row.trace_id:
            found[_key(row)].add(row.trace_id)
    return found


def _time_ratio(scene: Scene, before: list[LogRow]) -> float:
    """Length of now over the length of the part of before that has records."""
    if not before:
        return 0.0
    covered_ns = scene.before_spans.end_ns - min(row.timestamp_ns for row in before)
    return (scene.now.end_ns - scene.now.start_ns) / max(covered_ns, 1_000_000_000)


def _rows(scene: Scene, window: Window, text: str) -> list[LogRow]:
    return scene.telemetry.logs(LogQuery(window=window, services=scene.services, text=text, limit=_MOST_RECORDS))


def _key(row: LogRow) -> Key:
    return row.service, row.logger, statement(row.logger, row.body)


TOOL: Final = register(
    Tool(
        name="logs",
        title="Log patterns that became more or less frequent per request",
        ask=_ask,
        arguments={**SERVICE, "text": "only records whose body holds this text, case-insensitive"},
    )
)
