"""One metric of a service over time, in even steps."""

from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
from pydantic import AwareDatetime, Field

from libs.contracts.codec import utc_from_ns
from libs.errors import NotFound
from libs.observability.untrusted_text import cut_text
from libs.stores.telemetry import SeriesWindow, TelemetryReader
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import MOST_NAME, Attributes, Figure, Name, untrusted
from services.mcp.event_time import EventWindow, TimeArguments, window_of
from services.mcp.service_names import OneService, require_service
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

_NS: Final = 1e9
_MOST_SERIES: Final = 2_000
_MOST_STEPS: Final = 120
_MOST_NAMED: Final = 30


class GetMetricArguments(TimeArguments):
    """Which metric."""

    service: OneService
    metric: Annotated[
        str, Field(min_length=1, max_length=MOST_NAME, description="Exact metric name; list_metrics names them.")
    ]
    statistic: Annotated[
        str, Field(max_length=20, description="Only this statistic: value, rate, mean, p50, p95 or p99; empty: all.")
    ] = ""
    instance: Annotated[
        str, Field(max_length=MOST_NAME, description="Only this service.instance.id; empty: all instances.")
    ] = ""
    steps: Annotated[int, Field(ge=1, le=_MOST_STEPS, description="Steps that the window is cut into.")] = 30


class SeriesRow(Row):
    """One series; `means` and `greatest` have one entry per step, null where it has no point."""

    instance: Annotated[Name, Field(description=untrusted("service.instance.id, empty when unknown"))]
    statistic: Annotated[Name, Field(description=untrusted("What the values are"))]
    unit: Annotated[Name, Field(description=untrusted("UCUM unit of the values, empty when unknown"))]
    attributes: Annotated[Attributes, Field(description=untrusted("Attributes of the series, at most 12"))]
    points: Annotated[int, Field(description="Points in the window.")]
    first: Annotated[Figure, Field(description="Oldest value, in `unit`.")]
    last: Annotated[Figure, Field(description="Newest value, in `unit`.")]
    means: Annotated[
        list[Figure], Field(max_length=_MOST_STEPS, description="Mean of each step in `unit`, oldest first.")
    ]
    greatest: Annotated[
        list[Figure], Field(max_length=_MOST_STEPS, description="Greatest value of each step, in `unit`.")
    ]


class MetricAnswer(Answer[SeriesRow]):
    """Series of one metric, the one whose mean moved most first."""

    first_step: Annotated[AwareDatetime, Field(description="Start of the first step.")]
    step_s: Annotated[Figure, Field(description="Length of a step in seconds.")]


def _ask(sources: Sources, asked: GetMetricArguments) -> MetricAnswer:
    telemetry = sources.telemetry
    require_service(telemetry, asked.service)
    time = window_of(telemetry, asked.last_s, asked.end)
    series = telemetry.series(time.window, services=(asked.service,), names=(asked.metric,), limit=_MOST_SERIES)
    if not series:
        _require_metric(telemetry, asked, time)
    rows = [
        _row(one, time, asked.steps)
        for one in series
        if (not asked.statistic or one.statistic == asked.statistic)
        and (not asked.instance or one.instance == asked.instance)
    ]
    rows.sort(key=lambda row: -_movement(row))
    text = f"{len(rows)} series of {asked.metric} of {asked.service}; those that moved most come first."
    return answer(
        MetricAnswer,
        asked,
        Found(
            rows=page_of(rows, asked),
            total=len(rows),
            exact=len(series) < _MOST_SERIES,
            summary=text if rows else time.nothing(f"points of {asked.metric} of {asked.service}"),
            window=time.shown,
            pinned=time.pinned,
            narrower="name a statistic or an instance, or ask for fewer steps",
        ),
        first_step=utc_from_ns(time.window.start_ns),
        step_s=time.seconds / asked.steps,
    )


def _require_metric(telemetry: TelemetryReader, asked: GetMetricArguments, time: EventWindow) -> None:
    known = sorted({one.name for one in telemetry.series(time.window, services=(asked.service,), limit=_MOST_SERIES)})
    if known:
        listed = ", ".join(cut_text(name, 80) for name in known[:_MOST_NAMED])
        more = f" and {len(known) - _MOST_NAMED} more (list_metrics)" if len(known) > _MOST_NAMED else ""
        raise NotFound(
            f"{asked.service} has no metric {cut_text(asked.metric, 80)!r} in this window; it has {listed}{more}"
        )


def _row(one: SeriesWindow, time: EventWindow, steps: int) -> SeriesRow:
    finite = np.isfinite(one.values)
    times, values = one.timestamps_ns[finite], one.values[finite]
    length_ns = time.window.end_ns - time.window.start_ns
    # As floats: seconds times steps stay far below 2^53, nanoseconds times steps would not.
    place = ((times - time.window.start_ns) / length_ns * steps).astype(np.int64).clip(0, steps - 1)
    counts = np.bincount(place, minlength=steps)
    sums = np.bincount(place, weights=values, minlength=steps)
    greatest = np.full(steps, -np.inf)
    np.maximum.at(greatest, place, values)
    return SeriesRow(
        instance=one.instance,
        statistic=one.statistic,
        unit=one.unit,
        attributes=dict(one.attributes),
        points=len(one.values),
        first=float(values[0]) if len(values) else None,
        last=float(values[-1]) if len(values) else None,
        means=_figures(sums / np.maximum(counts, 1), counts),
        greatest=_figures(greatest, counts),
    )


def _figures(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> list[float | None]:
    return [value if count else None for value, count in zip(values.tolist(), counts.tolist(), strict=True)]


def _movement(row: SeriesRow) -> float:
    """How far the means move, relative to their size, so that bytes and ratios compare."""
    known = [mean for mean in row.means if mean is not None]
    if not known:
        return 0.0
    return (max(known) - min(known)) / (max(abs(mean) for mean in known) or 1.0)


TOOL: Final = register(
    "observability",
    Tool(
        name="get_metric",
        title="One metric over time",
        description="Read one metric of one service over a window, cut into even steps: mean and greatest value per "
        "step and series (one series per instance and set of attributes). Use it to see when something began to climb "
        "or fall (memory, pools, queues, cpu). Take the exact name from list_metrics.",
        arguments=GetMetricArguments,
        result=MetricAnswer,
        ask=_ask,
    ),
)
