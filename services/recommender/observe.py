"""Read a window of telemetry into a scene: bounded, whole requests only, nothing after the window's end."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Final

from libs.stores.telemetry import LogQuery, LogRow, SpanQuery, SpanRow, TelemetryReader, Window
from services.recommender.configuration import Sources
from services.recommender.scene import CLIENT, SERVER, Operation, Request, Scene, end_ns

_MOST_DEPTH: Final = 16
_MOST_LOGS: Final = 2_000
_WARNING: Final = 13  # OTLP SeverityNumber of WARN
# Batches of spans leave a process within seconds (the SDK's default is 5 s); a request younger than that may still
# miss half of its spans.
SETTLE_S: Final = 6.0


def observe(telemetry: TelemetryReader, window: Window, sources: Sources, services: Sequence[str] = ()) -> Scene:
    """Read a window.

    Args:
        telemetry: Where from.
        window: Event time; its newest seconds are left to the next run, they may be incomplete.
        sources: Bounds and which services are judged.
        services: Only these are judged, all when empty; the others' spans are read as context all the same.
    """
    rows = telemetry.spans(SpanQuery(window=window, order="newest", limit=sources.most_spans))
    logs = telemetry.logs(LogQuery(window=window, least_severity=_WARNING, order="newest", limit=_MOST_LOGS))
    return scene_of(rows, logs, window, sources, chosen(sources, services), cut=len(rows) >= sources.most_spans)


def chosen(sources: Sources, services: Sequence[str]) -> Callable[[str], bool]:
    """Whether a service is judged."""

    def wanted(service: str) -> bool:
        if services and service not in services:
            return False
        included = any(fnmatchcase(service, pattern) for pattern in sources.services)
        return included and not any(fnmatchcase(service, pattern) for pattern in sources.exclude)

    return wanted


def scene_of(
    rows: Sequence[SpanRow],
    logs: Sequence[LogRow],
    window: Window,
    sources: Sources,
    wanted: Callable[[str], bool],
    *,
    cut: bool,
) -> Scene:
    """Arrange rows that were read; `cut` says that there were more than could be read."""
    settled_ns = window.end_ns - int(SETTLE_S * 1e9)
    # Where reading stopped in the middle of a trace, its older half is missing.
    begin = end_ns if cut else _start_ns
    start_ns = min((begin(row) for row in rows), default=window.start_ns)
    children: dict[tuple[str, str], list[SpanRow]] = defaultdict(list)
    for row in rows:
        children[row.trace_id, row.parent_span_id].append(row)
    for below in children.values():
        below.sort(key=lambda span: (span.start_ns, span.span_id))
    frozen = {key: tuple(below) for key, below in children.items()}
    served = [
        row
        for row in rows
        if row.kind == SERVER and wanted(row.service) and row.start_ns >= start_ns and end_ns(row) < settled_ns
    ]
    versions = _versions(served)
    instances: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        instances[row.service].add(row.instance)
    return Scene(
        start_ns=start_ns,
        end_ns=max(settled_ns, start_ns + 1),
        operations=_operations(served, versions, frozen, sources, settled_ns),
        versions=versions,
        children=frozen,
        logs=tuple(
            sorted(
                (
                    log
                    for log in logs
                    if "exception.type" in log.attributes and start_ns <= log.timestamp_ns < settled_ns
                ),
                key=lambda log: (log.timestamp_ns, log.service, log.trace_id),
            )
        ),
        instances={service: frozenset(names) for service, names in instances.items()},
    )


def _start_ns(row: SpanRow) -> int:
    return row.start_ns


def _versions(served: Sequence[SpanRow]) -> dict[str, str]:
    """The version that served last, by service."""
    newest: dict[str, tuple[int, str]] = {}
    for row in served:
        newest[row.service] = max(newest.get(row.service, (0, "")), (row.start_ns, row.version))
    return {service: version for service, (_, version) in sorted(newest.items())}


def _operations(
    served: Sequence[SpanRow],
    versions: dict[str, str],
    children: dict[tuple[str, str], tuple[SpanRow, ...]],
    sources: Sources,
    settled_ns: int,
) -> tuple[Operation, ...]:
    by_operation: dict[tuple[str, str], list[SpanRow]] = defaultdict(list)
    since_ns: dict[str, int] = {}  # a version that came in the middle of the window was seen for a part of it only
    for row in served:
        if row.version == versions[row.service]:
            by_operation[row.service, row.name].append(row)
            since_ns[row.service] = min(since_ns.get(row.service, row.start_ns), row.start_ns)
    return tuple(
        Operation(
            service=service,
            name=name,
            version=versions[service],
            requests=tuple(
                Request(server=row, calls=_calls(row, children))
                for row in sorted(rows, key=lambda row: (row.start_ns, row.span_id))
            ),
            covered_s=max((settled_ns - since_ns[service]) / 1e9, 1.0),
        )
        for (service, name), rows in sorted(by_operation.items())
        if len(rows) >= sources.least_requests
    )


def _calls(server: SpanRow, children: dict[tuple[str, str], tuple[SpanRow, ...]]) -> tuple[SpanRow, ...]:
    """Client spans of the same service below a server span, through internal spans, never into a callee."""
    found: list[SpanRow] = []
    level: list[SpanRow] = [server]
    for _ in range(_MOST_DEPTH):
        level = [
            child
            for span in level
            for child in children.get((span.trace_id, span.span_id), ())
            if child.service == server.service and child.kind != SERVER
        ]
        found += [span for span in level if span.kind == CLIENT]
        if not level:
            break
    return tuple(sorted(found, key=lambda span: (span.start_ns, span.span_id)))
