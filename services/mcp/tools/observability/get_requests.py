"""Rate, errors and duration of services and of the calls between them, now and right before."""

from typing import Annotated, Final

from pydantic import Field

from libs.stores.telemetry import RedWindow, TelemetryReader, Window
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Figure, Name, untrusted
from services.mcp.event_time import EventWindow, TimeArguments, window_of
from services.mcp.service_names import ServiceName, require_service
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

# Steps lie at multiples of their width: one this wide holds every moment up to the year 2096.
_WHOLE_S: Final = 4e9


class RequestsArguments(TimeArguments):
    """Whose requests."""

    last_s: Annotated[
        float,
        Field(
            ge=1,
            le=3 * 3600.0,
            description="Length of the window in seconds, back from `end`; it is compared with as long before it.",
        ),
    ] = 300.0
    service: ServiceName = ""


class RequestsRow(Row):
    """A service's own requests (peer empty), or its calls of one callee."""

    service: Annotated[Name, Field(description=untrusted("Service that serves the requests, or makes the calls"))]
    peer: Annotated[Name, Field(description=untrusted("Callee of the calls; empty: requests served by the service"))]
    requests: Annotated[int, Field(description="Requests that ended in the window.")]
    requests_per_s: Figure
    error_ratio: Annotated[Figure, Field(description="Failed requests / requests, 0 to 1.")]
    mean_s: Annotated[Figure, Field(description="Mean duration in seconds.")]
    p50_s: Annotated[Figure, Field(description="Median duration in seconds.")]
    p95_s: Annotated[Figure, Field(description="95th percentile of the duration in seconds.")]
    p99_s: Annotated[Figure, Field(description="99th percentile of the duration in seconds.")]
    before_requests_per_s: Annotated[Figure, Field(description="In the window before; null: no request there.")]
    before_error_ratio: Annotated[Figure, Field(description="In the window before.")]
    before_mean_s: Annotated[Figure, Field(description="In the window before, in seconds.")]
    before_p95_s: Annotated[Figure, Field(description="In the window before, in seconds.")]
    added_s: Annotated[
        Figure, Field(description="Seconds of duration per second of time added since before: how much it matters.")
    ]


class RequestsAnswer(Answer[RequestsRow]):
    """Services and calls, those with the most failures and delay added since before first."""


def _ask(sources: Sources, asked: RequestsArguments) -> RequestsAnswer:
    require_service(sources.telemetry, asked.service)
    time = window_of(sources.telemetry, asked.last_s, asked.end)
    services = (asked.service,) if asked.service else ()
    now, before = (_whole(sources.telemetry, window, services) for window in (time.window, time.before))
    rows = [_row(key, now.get(key), before.get(key), time) for key in now.keys() | before.keys()]
    rows.sort(key=_rank)
    text = (
        f"{sum(not row.peer for row in rows)} services and {sum(bool(row.peer) for row in rows)} call edges; those "
        f"that failed or slowed most, compared with the {time.seconds:g} s before, come first."
    )
    return answer(
        RequestsAnswer,
        asked,
        Found(
            rows=page_of(rows, asked),
            total=len(rows),
            summary=text if rows else time.nothing("requests"),
            window=time.shown,
            pinned=time.pinned,
        ),
    )


def _whole(telemetry: TelemetryReader, window: Window, services: tuple[str, ...]) -> dict[tuple[str, str], RedWindow]:
    return {(red.service, red.peer): red for red in telemetry.red(window, _WHOLE_S, services=services)}


def _row(key: tuple[str, str], now: RedWindow | None, before: RedWindow | None, time: EventWindow) -> RequestsRow:
    mean_s = now.duration_sum_s / now.requests if now else None
    before_mean_s = before.duration_sum_s / before.requests if before else None
    per_s = now.requests / time.seconds if now else 0.0
    return RequestsRow(
        service=key[0],
        peer=key[1],
        requests=now.requests if now else 0,
        requests_per_s=per_s,
        error_ratio=now.errors / now.requests if now else None,
        mean_s=mean_s,
        p50_s=now.p50_s if now else None,
        p95_s=now.p95_s if now else None,
        p99_s=now.p99_s if now else None,
        before_requests_per_s=before.requests / time.seconds if before else None,
        before_error_ratio=before.errors / before.requests if before else None,
        before_mean_s=before_mean_s,
        before_p95_s=before.p95_s if before else None,
        added_s=(mean_s - before_mean_s) * per_s if mean_s is not None and before_mean_s is not None else None,
    )


def _rank(row: RequestsRow) -> tuple[float, float, str, str]:
    """Failures added per second first, then duration added, so that symptoms and causes stand at the top."""
    failures = ((row.error_ratio or 0.0) - (row.before_error_ratio or 0.0)) * (row.requests_per_s or 0.0)
    return -round(failures, 3), -(row.added_s or 0.0), row.service, row.peer


TOOL: Final = register(
    "observability",
    Tool(
        name="get_requests",
        title="Request rate, errors and latency, compared with before",
        description="For each service and each call edge (service -> peer): requests per second, error ratio, mean and "
        "percentile durations in a window, next to the window of the same length before it; what got worse comes "
        "first. The best second question after list_services. A slow caller whose calls of a peer are as slow is a "
        "symptom: follow the edges down to the last slow one. Name a service to see only its own requests and calls. "
        "Durations need spans; use list_metrics where a service sends only metrics.",
        arguments=RequestsArguments,
        result=RequestsAnswer,
        ask=_ask,
    ),
)
