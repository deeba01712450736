"""What the telemetry store still knows of an incident: the triggering metric and a trace, ready to be drawn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.codec import ns_from_utc
from libs.contracts.telemetry import ChangeEvent
from libs.stores.telemetry import RedWindow, SeriesWindow, SpanRow, TelemetryReader, Window
from services.console.charts.metric import Line, Mark, MetricDrawing
from services.console.charts.waterfall import Bar
from services.console.wording import plain

BEFORE_S: Final = 300.0  # enough of normal operation to see what is expected
AFTER_S: Final = 60.0
# `red` of 35 min of one service with 200 spans/s takes some 50 ms (docs/stores.md); a page has 150.
LONGEST_S: Final = 1800.0
_MOST_POINTS: Final = 240
_MOST_LINES: Final = 6
_NS: Final = 1_000_000_000
_SPAN_METRICS: Final = ("span.server.", "span.client.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """What is drawn of a metric.

    Attributes:
        window: Event time.
        step_s: Distance of two points; a multiple of the evaluation window.
    """

    window: Window
    step_s: float


def metric_range(anomaly: AnomalyDetected, watermark_ns: int) -> Range:
    """From five minutes before the deviation to a minute after it, or to now while it lasts; half an hour of it."""
    start_ns = ns_from_utc(anomaly.started_at)
    until_ns = (
        ns_from_utc(anomaly.closed_at) if anomaly.closed_at else max(watermark_ns, ns_from_utc(anomaly.updated_at))
    )
    end_ns = min(until_ns + int(AFTER_S * _NS), start_ns + int(LONGEST_S * _NS))
    begin_ns = start_ns - int(BEFORE_S * _NS)
    points = (end_ns - begin_ns) / _NS / anomaly.window_s
    step_s = anomaly.window_s * max(int(-(-points // _MOST_POINTS)), 1)
    return Range(window=Window(start_ns=begin_ns, end_ns=end_ns), step_s=step_s)


def read_metric(telemetry: TelemetryReader, anomaly: AnomalyDetected, changes: Sequence[ChangeEvent]) -> MetricDrawing:
    """The metric of an anomaly around its deviation; without curves when telemetry of then is not kept any more."""
    extent = metric_range(anomaly, telemetry.watermark_ns())
    if anomaly.metric.startswith(_SPAN_METRICS):
        windows = telemetry.red(extent.window, extent.step_s, services=(anomaly.service,))
        lines = tuple(span_lines(windows, anomaly, extent.step_s))
    else:
        found = telemetry.series(extent.window, services=(anomaly.service,), names=(anomaly.metric,))
        lines = tuple(series_lines(found, anomaly))[:_MOST_LINES]
    return metric_drawing(anomaly, extent, lines, changes)


def metric_drawing(
    anomaly: AnomalyDetected, extent: Range, lines: Sequence[Line], changes: Sequence[ChangeEvent]
) -> MetricDrawing:
    """What is drawn."""
    start_s, end_s = extent.window.start_ns / _NS, extent.window.end_ns / _NS
    marks = (Mark(at_s=change.timestamp.timestamp(), text=change_text(change)) for change in changes)
    return MetricDrawing(
        label=metric_label(anomaly),
        unit=anomaly.unit,
        start_s=start_s,
        end_s=end_s,
        step_s=extent.step_s,
        lines=tuple(lines),
        lower=anomaly.expected_lower,
        upper=anomaly.expected_upper,
        observed=anomaly.observed,
        deviates_from_s=anomaly.started_at.timestamp(),
        deviates_until_s=anomaly.closed_at.timestamp() if anomaly.closed_at else None,
        marks=tuple(mark for mark in marks if start_s <= mark.at_s <= end_s),
    )


def metric_label(anomaly: AnomalyDetected) -> str:
    """Where and what: catalog, span.server.duration p95."""
    where = f"{anomaly.service} to {anomaly.peer}" if anomaly.peer else anomaly.service
    told = ", ".join(f"{name} {value}" for name, value in sorted(anomaly.attributes.items()))
    return f"{where}, {anomaly.metric} {plain(anomaly.statistic)}" + (f" ({told})" if told else "")


def change_text(change: ChangeEvent) -> str:
    """A change in a few words."""
    version = f" {change.version}" if change.version else ""
    return f"{change.kind.value} {change.service}{version}"


def span_lines(windows: Iterable[RedWindow], anomaly: AnomalyDetected, step_s: float) -> Iterable[Line]:
    """The curve of a metric that is derived from spans, none when the statistic is not one that steps tell."""
    wanted = [window for window in windows if window.peer == (anomaly.peer or "") and window.requests]
    wanted.sort(key=lambda window: window.start_ns)
    values = [_statistic(window, anomaly, step_s) for window in wanted]
    if wanted and all(value is not None for value in values):
        yield Line(
            times_s=tuple(window.start_ns / _NS + step_s for window in wanted),
            values=tuple(value for value in values if value is not None),
        )


def _statistic(window: RedWindow, anomaly: AnomalyDetected, step_s: float) -> float | None:
    kind = anomaly.metric.rsplit(".", 1)[-1]
    if kind == "duration" and anomaly.unit == "s":
        known = {"p50": window.p50_s, "p95": window.p95_s, "p99": window.p99_s}
        return known.get(
            anomaly.statistic, window.duration_sum_s / window.requests if anomaly.statistic == "mean" else None
        )
    if kind == "errors":
        return window.errors / window.requests if anomaly.unit in ("ratio", "1", "") else window.errors / step_s
    if kind == "requests":
        return window.requests / step_s
    return None


def series_lines(found: Iterable[SeriesWindow], anomaly: AnomalyDetected) -> Iterable[Line]:
    """Curves of the series that the anomaly names, one an instance."""
    for series in found:
        attributes = {**series.attributes, "instance": series.instance, "service.instance.id": series.instance}
        named = all(attributes.get(name, value) == value for name, value in anomaly.attributes.items())
        if series.statistic == anomaly.statistic and named:
            yield Line(
                times_s=tuple(float(moment) / _NS for moment in series.timestamps_ns),
                values=tuple(float(value) for value in series.values),
            )


def bars_of(spans: Sequence[SpanRow]) -> list[Bar]:
    """Spans of one trace as bars, times after its first start."""
    first_ns = min((span.start_ns for span in spans), default=0)
    return [
        Bar(
            span_id=span.span_id,
            parent_span_id=span.parent_span_id,
            service=span.service,
            name=span.name,
            status=span.status,
            start_s=(span.start_ns - first_ns) / _NS,
            duration_s=span.duration_ns / _NS,
            note=_exception(span),
        )
        for span in spans
    ]


def _exception(span: SpanRow) -> str:
    for exception in span.exceptions:
        kind, message = exception.get("exception.type", ""), exception.get("exception.message", "")
        return ": ".join(part for part in (kind, message) if part)
    return ""
