"""Requests of one service, or of one call edge, in one window of event time."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from libs.contracts.anomaly import Signal
from libs.contracts.columns import FloatArray
from services.detector.duration_buckets import BUCKETS, quantile_s


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalNames:
    """How a window's signals are called in anomalies.

    Attributes:
        latency: Metric name of durations.
        latency_statistic: Which statistic of them is judged.
        latency_unit: Unit of `RequestWindow.latency`.
        errors: Metric name of failures.
        errors_statistic: ratio of failed requests, or value of a gauge.
        traffic: Metric name of the number of requests.
        beside_own: Whether the durations are of something beside the requests that the service serves and that are
            judged by themselves: of the calls it makes, of its database.
        signals: What the source tells of: the signals that have a name.
    """

    latency: str
    latency_statistic: str = "p95"
    latency_unit: str = "s"
    errors: str
    errors_statistic: str = "ratio"
    traffic: str
    beside_own: bool = False
    signals: frozenset[Signal] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        known = ((Signal.LATENCY, self.latency), (Signal.ERRORS, self.errors), (Signal.TRAFFIC, self.traffic))
        object.__setattr__(self, "signals", frozenset(signal for signal, name in known if name))


SERVER_SPANS: Final = SignalNames(
    latency="span.server.duration", errors="span.server.errors", traffic="span.server.requests"
)
CLIENT_SPANS: Final = SignalNames(
    latency="span.client.duration", errors="span.client.errors", traffic="span.client.requests"
)


@dataclass(slots=True)
class Kind:
    """Requests of one kind (one operation, by its span name) in one window.

    Attributes:
        requests: How many.
        histogram: Requests per duration bucket.
        duration_sum_s: Sum of their durations.
    """

    requests: int = 0
    histogram: FloatArray = field(default_factory=lambda: np.zeros(BUCKETS))
    duration_sum_s: float = 0.0


@dataclass(
    slots=True, kw_only=True
)  # not frozen: one is made per moment and plan, and frozen ones take 3 times as long
class RequestWindow:
    """What happened in one window; counts are floats because metrics report rates. Nobody changes one.

    Attributes:
        service: service.name.
        peer: Callee of a call edge, "" for the service's own (server and consumer) requests.
        start_ns: Beginning, inclusive.
        end_ns: End, exclusive.
        requests: Finished requests; NaN when the source does not count them.
        errors: Failed requests among them; NaN when unknown.
        latency: The judged latency statistic in its unit; NaN without requests.
        mean: Mean latency in the same unit; NaN when unknown.
        histogram: Requests per duration bucket; None when the source is a metric.
        kinds: The same by kind of request; empty when the source does not tell them apart.
        failed_traces: Failed traces in hex, newest requests of the window first.
        slow_traces: Slowest traces in hex, slowest first.
        names: What the signals are called.
        after_gap: Whether much time passed since the window before: the level may have drifted meanwhile.
    """

    service: str
    peer: str = ""
    start_ns: int
    end_ns: int
    requests: float
    errors: float
    latency: float
    mean: float
    histogram: FloatArray | None = None
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    failed_traces: tuple[str, ...] = ()
    slow_traces: tuple[str, ...] = ()
    names: SignalNames
    after_gap: bool = False

    @property
    def seconds(self) -> float:
        """Width of the window."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def where(self) -> str:
        """The service or call edge, for sentences."""
        return f"{self.service} -> {self.peer}" if self.peer else self.service


def span_window(
    service: str,
    peer: str,
    start_ns: int,
    end_ns: int,
    *,
    histogram: FloatArray,
    errors: int,
    duration_sum_s: float,
    kinds: Mapping[str, Kind] | None = None,
    failed_traces: tuple[str, ...] = (),
    slow_traces: tuple[str, ...] = (),
) -> RequestWindow:
    """A window of spans; latency is the p95 in seconds."""
    requests = float(histogram.sum())
    return RequestWindow(
        service=service,
        peer=peer,
        start_ns=start_ns,
        end_ns=end_ns,
        requests=requests,
        errors=float(errors),
        latency=quantile_s(histogram, 0.95),
        mean=duration_sum_s / requests if requests else math.nan,
        histogram=histogram,
        kinds=kinds or {},
        failed_traces=failed_traces,
        slow_traces=slow_traces,
        names=CLIENT_SPANS if peer else SERVER_SPANS,
    )
