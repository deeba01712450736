"""What only single traces show, before the incident and in it, as the ranking sees it."""

import math
from dataclasses import dataclass

from services.investigator.levels import Level, Rates


@dataclass(frozen=True, slots=True, kw_only=True)
class CallGap:
    """What a call costs beyond the callee's own time: client span minus server span, paired call by call.

    Attributes:
        caller: service.name.
        callee: service.name.
        before: Before the incident, seconds.
        low_before: The same by its lower quartile, which stays right when much of the baseline was disturbed already.
        now_s: Median in the incident, seconds.
        now_low_s: Lower quartile in the incident, seconds.
        now_mean_s: Mean in the incident, seconds.
        calls: Paired calls in the incident.
    """

    caller: str
    callee: str
    before: Level
    low_before: Level
    now_s: float
    now_low_s: float
    now_mean_s: float
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationShift:
    """How often a service does something per request it serves, whatever the mix of requests.

    Attributes:
        service: service.name.
        operation: Span name.
        before: Requests that did it before.
        now: Requests that do it now.
        expected: Requests that would do it now at the shares before.
        distance: How far the share of requests that do it moved, in standard deviations, signed.
    """

    service: str
    operation: str
    before: int
    now: int
    expected: float
    distance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionShift:
    """An exception recorded on spans of a service.

    Attributes:
        service: service.name.
        type: exception.type.
        message: exception.message of one of them, cut.
        place: The frame that raised it, "" without a stack trace.
        before: How many before the incident.
        now: How many in it.
        trace_id: One trace that shows it.
    """

    service: str
    type: str
    message: str = ""
    place: str = ""
    before: int = 0
    now: int = 0
    trace_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceShift:
    """Requests served by one instance, before and now.

    Attributes:
        service: service.name.
        instance: service.instance.id.
        version: service.version, "" when unknown.
        before: Before the incident.
        now: In it.
        last_ns: End of its newest served request.
    """

    service: str
    instance: str
    version: str
    before: Rates
    now: Rates
    last_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """Calls that have no server span on the other side.

    Attributes:
        caller: service.name.
        callee: Callee as resolved, or as the caller names it.
        instance: The instance that used to answer at that address, "" when unknown.
        before: Calls before the incident.
        before_answered: Of these, with a server span.
        now: Calls in the incident.
        now_answered: Of these, with a server span.
        now_failed: Failed ones in the incident.
        failed_mean_s: Mean duration of the failed ones in seconds.
        kept_up: Requests that the instance (all, where it is unknown) finished since the first of these calls began,
            over what it finishes in that time ordinarily.
    """

    caller: str
    callee: str
    instance: str = ""
    before: int = 0
    before_answered: int = 0
    now: int = 0
    now_answered: int = 0
    now_failed: int = 0
    failed_mean_s: float = 0.0
    kept_up: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """How often a service is needed.

    Attributes:
        service: service.name.
        before_per_s: Traces that needed it before the incident, per second.
        now_per_s: In it.
        before: How many before.
        now: How many in it.
    """

    service: str
    before_per_s: float
    now_per_s: float
    before: int
    now: int

    @property
    def growth(self) -> float:
        """How many times as often as usual, at least: the lower end of the 95 % interval; 1 when that is unknown.

        Traces that are asked for independently are Poisson counts: the logarithm of the ratio of two of them has the
        variance 1 / before + 1 / now.
        """
        if self.before_per_s <= 0 or not self.now or not self.before:
            return 1.0
        return self.now_per_s / self.before_per_s * math.exp(-2.0 * math.sqrt(1.0 / self.before + 1.0 / self.now))


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFacts:
    """What the traces of both windows show."""

    gaps: tuple[CallGap, ...] = ()
    operations: tuple[OperationShift, ...] = ()
    exceptions: tuple[ExceptionShift, ...] = ()
    instances: tuple[InstanceShift, ...] = ()
    unanswered: tuple[Unanswered, ...] = ()
    demand: tuple[Demand, ...] = ()
