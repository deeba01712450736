"""What a detector says about one window: how far a signal is outside its band, in figures and in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from libs.contracts.anomaly import Contribution, Severity, Signal


class Level(IntEnum):
    """How strong the evidence of one window is.

    NO_DATA neither confirms nor clears; LINGERING is below the threshold of opening and above that of closing;
    SUSPICIOUS opens an episode when it repeats; STRONG opens one at once.
    """

    NO_DATA = -1
    NORMAL = 0
    LINGERING = 1
    SUSPICIOUS = 2
    STRONG = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A judgement of one signal in one window.

    Attributes:
        level: Strength of the evidence.
        signal: Which golden signal.
        metric: Metric name.
        statistic: value, rate, ratio, p95, ...
        unit: UCUM unit of the figures.
        attributes: Attributes that tell this signal from others of the service.
        severity: How bad it is while it lasts.
        score: In [0, 1].
        observed: Value of the window.
        expected: What was expected.
        lower: Lower edge of the expected band.
        upper: Upper edge of the expected band.
        deviation: Distance from `expected` in robust standard deviations, signed.
        explanation: One sentence for people.
        contributions: Features that drove the score, greatest first.
        trace_ids: Exemplar traces in hex, worst first.
        since_ns: When the deviation began, where the detector knows better than the window's start; 0 otherwise.
    """

    level: Level
    signal: Signal
    metric: str
    statistic: str = "value"
    unit: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    severity: Severity = Severity.LOW
    score: float = 0.0
    observed: float = 0.0
    expected: float = 0.0
    lower: float = 0.0
    upper: float = 0.0
    deviation: float = 0.0
    explanation: str = ""
    contributions: tuple[Contribution, ...] = ()
    trace_ids: tuple[str, ...] = ()
    since_ns: int = 0

    @property
    def key(self) -> str:
        """What tells this signal from others of the same service, peer and detector."""
        pairs = ",".join(f"{name}={value}" for name, value in sorted(self.attributes.items()))
        return f"{self.signal}|{self.metric}|{self.statistic}|{pairs}"


SEVERITY_RANK = {Severity.LOW: 0, Severity.MEDIUM: 1, Severity.HIGH: 2, Severity.CRITICAL: 3}


def at_most(severity: Severity, limit: Severity) -> Severity:
    """The lower of two severities."""
    return min(severity, limit, key=SEVERITY_RANK.__getitem__)
