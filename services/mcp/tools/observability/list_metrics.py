"""Which metrics a service reports, and what each of them tells of."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated, Final

import numpy as np
from pydantic import Field

from libs.observability.signals import classify
from libs.stores.telemetry import SeriesWindow
from services.mcp.answer import Answer, Found, Row, answer, page_of
from services.mcp.bounds import Figure, Name, Names, untrusted
from services.mcp.event_time import TimeArguments, window_of
from services.mcp.service_names import OneService, require_service
from services.mcp.sources import Sources
from services.mcp.tool import Tool, register

_MOST_SERIES: Final = 2_000


class ListMetricsArguments(TimeArguments):
    """Whose metrics."""

    service: OneService


class MetricRow(Row):
    """A metric with one statistic."""

    metric: Annotated[Name, Field(description=untrusted("Metric name"))]
    statistic: Annotated[Name, Field(description=untrusted("What its values are: value, rate, mean, p50, p95 or p99"))]
    unit: Annotated[Name, Field(description=untrusted("UCUM unit of its values, empty when unknown"))]
    signal: Annotated[Name, Field(description=untrusted("Golden signal it tells of: latency, errors, traffic, ..."))]
    resource: Annotated[Name, Field(description=untrusted("Resource it measures (cpu, memory, pool, ...), or empty"))]
    is_limit: Annotated[bool, Field(description="Whether it is a configured limit, not a measurement.")]
    series: Annotated[int, Field(description="How many series (instances x attributes) it has.")]
    instances: Annotated[Names, Field(description=untrusted("service.instance.ids that report it, at most 20"))]
    attribute_names: Annotated[Names, Field(description=untrusted("Names of its attributes, at most 20"))]
    points: Annotated[int, Field(description="Points in the window, over all series.")]
    mean: Annotated[Figure, Field(description="Mean of all points, in `unit`.")]
    least: Annotated[Figure, Field(description="Least value, in `unit`.")]
    greatest: Annotated[Figure, Field(description="Greatest value, in `unit`.")]


class MetricsAnswer(Answer[MetricRow]):
    """Metrics by name and statistic."""


def _ask(sources: Sources, asked: ListMetricsArguments) -> MetricsAnswer:
    require_service(sources.telemetry, asked.service)
    time = window_of(sources.telemetry, asked.last_s, asked.end)
    series = sources.telemetry.series(time.window, services=(asked.service,), limit=_MOST_SERIES)
    groups: dict[tuple[str, str, str], list[SeriesWindow]] = defaultdict(list)
    for one in series:
        groups[one.name, one.statistic, one.unit].append(one)
    rows = [_row(groups[key]) for key in sorted(groups)]
    text = f"{asked.service} reported {len(rows)} metrics in {len(series)} series."
    return answer(
        MetricsAnswer,
        asked,
        Found(
            rows=page_of(rows, asked),
            total=len(rows),
            exact=len(series) < _MOST_SERIES,
            summary=text if rows else time.nothing(f"metrics of {asked.service}"),
            window=time.shown,
            pinned=time.pinned,
        ),
    )


def _row(group: Sequence[SeriesWindow]) -> MetricRow:
    first = group[0]
    kind = classify(first.name, first.unit, first.statistic)
    values = np.concatenate([one.values for one in group])
    finite = values[np.isfinite(values)]
    return MetricRow(
        metric=first.name,
        statistic=first.statistic,
        unit=first.unit,
        signal=kind.signal.value,
        resource=kind.resource,
        is_limit=kind.is_limit,
        series=len(group),
        instances=sorted({one.instance for one in group if one.instance}),
        attribute_names=sorted({name for one in group for name in one.attributes}),
        points=len(values),
        mean=float(finite.mean()) if len(finite) else None,
        least=float(finite.min()) if len(finite) else None,
        greatest=float(finite.max()) if len(finite) else None,
    )


TOOL: Final = register(
    "observability",
    Tool(
        name="list_metrics",
        title="Metrics of a service",
        description="List the metrics that one service reported in a window, with unit, what they tell of (latency, "
        "errors, traffic, saturation of which resource), and their mean, least and greatest value. Use it to find the "
        "exact names that get_metric takes. For request rate, errors and latency get_requests is usually better.",
        arguments=ListMetricsArguments,
        result=MetricsAnswer,
        ask=_ask,
    ),
)
