"""An anomaly: an episode in which a signal of a service left its expected band."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class EpisodeState(StrEnum):
    """Where an anomaly episode is in its life."""

    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"


class Signal(StrEnum):
    """The golden signals, and what tells of a failure before they do."""

    LATENCY = "latency"
    ERRORS = "errors"
    TRAFFIC = "traffic"
    SATURATION = "saturation"
    LOGS = "logs"
    SILENCE = "silence"
    OTHER = "other"


class Severity(StrEnum):
    """How bad the deviation is; it feeds an incident's urgency."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """How much one feature drove the score.

    Attributes:
        feature: Name of the feature.
        value: The feature's value, in its own unit.
        share: Part of the score in [0, 1]; shares of one anomaly add up to at most 1.
    """

    feature: str
    value: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyDetected:
    """One change of state of an anomaly episode.

    Attributes:
        id: Episode id, derived from service, signal, metric, attributes, detector and `started_at`.
        state: opened, updated or closed.
        service: service.name that the signal belongs to.
        peer: Callee, when the signal is of a call edge from `service`.
        signal: Which golden signal deviates.
        metric: Metric name; span-derived ones are span.server.duration, span.client.errors and the like.
        statistic: value, rate, p95, ratio, ...
        unit: UCUM unit of `observed` and `expected`.
        attributes: Attributes of the series (instance, route, flag ...).
        detector: Name of the detector that fired.
        severity: critical, high, medium or low.
        score: In [0, 1], 1 is anomalous.
        observed: The value that deviates, at its worst so far.
        expected: What was expected in its place.
        expected_lower: Lower edge of the expected band.
        expected_upper: Upper edge of the expected band.
        deviation: Distance from `expected` in robust standard deviations, signed.
        started_at: Event time at which the deviation began.
        detected_at: Event time at which the episode opened (end of the window that crossed the threshold).
        updated_at: Event time of the newest data that this state rests on.
        closed_at: Event time at which the signal was back inside its band for long enough.
        window_s: Width of the evaluation window in seconds.
        contributions: Features that drove the score, greatest first.
        explanation: One sentence for people.
        trace_ids: Exemplar traces in hex, worst first.
        sequence: 0 at opening, then counting up.
    """

    id: str
    state: EpisodeState
    service: str
    peer: str | None = None
    signal: Signal
    metric: str
    statistic: str = "value"
    unit: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    detector: str
    severity: Severity
    score: float
    observed: float
    expected: float
    expected_lower: float
    expected_upper: float
    deviation: float
    started_at: datetime
    detected_at: datetime
    updated_at: datetime
    closed_at: datetime | None = None
    window_s: float
    contributions: tuple[Contribution, ...] = ()
    explanation: str = ""
    trace_ids: tuple[str, ...] = ()
    sequence: int = 0
