"""Metric points become series of values: gauges as they are, sums as rates, histograms and summaries as statistics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint

from libs.contracts.batches import AttributePairs, MetricBatchBuilder, SeriesCatalog
from libs.contracts.telemetry import MetricBatch
from services.intake.normalise.attributes import attributes_of, bounded
from services.intake.normalise.histograms import HistogramState, write_explicit, write_exponential, write_summary
from services.intake.normalise.points import (
    CUMULATIVE,
    DELTA,
    NO_TEMPORALITY,
    OUT_OF_ORDER,
    Target,
    number,
    statistic_of,
)
from services.intake.normalise.resources import resource_of
from services.intake.normalise.series_state import SERIES_MAX, SeriesStates
from services.intake.normalise.sums import SumState, cumulative_rate
from services.intake.signals import Tally


class MetricStates:
    """What the cumulative series of all senders last said.

    Args:
        capacity: Series kept per kind (sums, histograms).
    """

    def __init__(self, capacity: int = SERIES_MAX) -> None:
        self.catalog = SeriesCatalog()
        self.sums: SeriesStates[SumState] = SeriesStates(capacity)
        self.histograms: SeriesStates[HistogramState] = SeriesStates(capacity)

    def commit(self) -> None:
        """Make every change since the last commit final."""
        self.sums.commit()
        self.histograms.commit()

    def rollback(self) -> None:
        """Undo every change since the last commit."""
        self.sums.rollback()
        self.histograms.rollback()

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Undo what the block changed when it raises."""
        with self.sums.all_or_nothing(), self.histograms.all_or_nothing():
            yield


def metric_batches(
    request: ExportMetricsServiceRequest, observed_at: datetime, states: MetricStates, tally: Tally
) -> list[MetricBatch]:
    """Batches of every resource of a request, in order; `states` moves along."""
    batches: list[MetricBatch] = []
    for block in request.resource_metrics:
        resource = resource_of(block.resource)
        builder = MetricBatchBuilder(resource.service, resource.attributes, observed_at, catalog=states.catalog)
        for scope in block.scope_metrics:
            target = Target(resource, scope.scope.name, builder, tally)
            for metric in scope.metrics:
                _write_metric(metric, target, states)
        batches += builder.build()
    return batches


def _write_metric(metric: Metric, target: Target, states: MetricStates) -> None:
    kind = metric.WhichOneof("data")
    if kind is None:
        target.tally.reject("metric without points", metric.name)
    elif not metric.name:
        target.tally.reject("metric without a name", kind, len(getattr(metric, kind).data_points))
    elif kind == "gauge":
        _write_gauge(metric, target)
    elif kind == "sum":
        _write_sum(metric, target, states.sums)
    elif kind == "histogram":
        write_explicit(metric, target, states.histograms)
    elif kind == "exponential_histogram":
        write_exponential(metric, target, states.histograms)
    else:
        write_summary(metric, target, states.histograms)


def _write_gauge(metric: Metric, target: Target) -> None:
    name, unit, tally = metric.name, metric.unit, target.tally
    for point in metric.gauge.data_points:
        time_ns = point.time_unix_nano
        if not tally.earliest_ns <= time_ns <= tally.latest_ns:
            tally.reject_time(time_ns, name)
            continue
        value = number(point, name, tally)
        if value is None:
            continue
        attributes = attributes_of(point.attributes)
        statistic = statistic_of(attributes)
        target.write((name, statistic, unit, _pairs(attributes)), time_ns, value)


_SumWriter = Callable[[NumberDataPoint, float, AttributePairs, Metric, Target, SeriesStates[SumState]], None]


def _write_sum(metric: Metric, target: Target, states: SeriesStates[SumState]) -> None:
    name, tally, temporality = metric.name, target.tally, int(metric.sum.aggregation_temporality)
    level = not metric.sum.is_monotonic and temporality == CUMULATIVE
    write = _SUM_WRITERS.get((metric.sum.is_monotonic, temporality))
    if write is None and not level:
        tally.reject(NO_TEMPORALITY, name, len(metric.sum.data_points))
        return
    for point in metric.sum.data_points:
        time_ns = point.time_unix_nano
        if not tally.earliest_ns <= time_ns <= tally.latest_ns:
            tally.reject_time(time_ns, name)
            continue
        value = number(point, name, tally)
        if value is None:
            continue
        attributes = _pairs(attributes_of(point.attributes))
        if write is None:
            target.write((name, "value", metric.unit, attributes), time_ns, value)
        else:
            write(point, value, attributes, metric, target, states)


def _write_counter(
    point: NumberDataPoint,
    value: float,
    attributes: AttributePairs,
    metric: Metric,
    target: Target,
    states: SeriesStates[SumState],
) -> None:
    name, time_ns = metric.name, point.time_unix_nano
    key = (target.resource.identity, target.scope, name, attributes)
    last = states.get(key)
    if last is None:
        states.put(key, SumState(time_ns, value, point.start_time_unix_nano))
        target.tally.skipped += 1
        return
    if time_ns <= last.time_ns:
        _reject_late(time_ns == last.time_ns and value == last.value, name, target.tally)
        return
    now = SumState(time_ns, value, point.start_time_unix_nano)
    states.put(key, now)
    target.write((name, "rate", metric.unit + "/s", attributes), time_ns, cumulative_rate(last, now))


def _write_delta(
    point: NumberDataPoint,
    value: float,
    attributes: AttributePairs,
    metric: Metric,
    target: Target,
    states: SeriesStates[SumState],
) -> None:
    name, time_ns, start_ns = metric.name, point.time_unix_nano, point.start_time_unix_nano
    if value < 0:
        target.tally.reject("negative increase of a counter", name)
        return
    if not 0 < start_ns < time_ns:
        key = (target.resource.identity, target.scope, name, attributes)
        last = states.get(key)
        if last is not None and time_ns <= last.time_ns:
            _reject_late(time_ns == last.time_ns and value == last.value, name, target.tally)
            return
        states.put(key, SumState(time_ns, value, 0))
        if last is None:
            target.tally.skipped += 1
            return
        start_ns = last.time_ns
    target.write((name, "rate", metric.unit + "/s", attributes), time_ns, value * 1e9 / (time_ns - start_ns))


def _write_changes_of_level(
    point: NumberDataPoint,
    value: float,
    attributes: AttributePairs,
    metric: Metric,
    target: Target,
    states: SeriesStates[SumState],
) -> None:
    """Changes of a level add up from the first one seen: the level is right up to a constant."""
    name, time_ns = metric.name, point.time_unix_nano
    key = (target.resource.identity, target.scope, name, attributes)
    last = states.get(key)
    if last is not None and time_ns <= last.time_ns:
        _reject_late(time_ns == last.time_ns, name, target.tally)
        return
    level = value if last is None else last.value + value
    states.put(key, SumState(time_ns, level, 0))
    target.write((name, "value", metric.unit, attributes), time_ns, level)


_SUM_WRITERS: Final[dict[tuple[bool, int], _SumWriter]] = {
    (True, CUMULATIVE): _write_counter,
    (True, DELTA): _write_delta,
    (False, DELTA): _write_changes_of_level,
}


def _reject_late(duplicate: bool, name: str, tally: Tally) -> None:
    if duplicate:
        tally.skipped += 1
    else:
        tally.reject(OUT_OF_ORDER, name)


def _pairs(attributes: dict[str, str]) -> AttributePairs:
    if len(attributes) > 1:
        return tuple(sorted(bounded(attributes).items()))
    return tuple(attributes.items())
