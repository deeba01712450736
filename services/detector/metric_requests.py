"""Requests as metrics tell of them: windows for services that send no spans.

Latency, failed share and number of requests of the same attributes at the same moment make one window, judged by the
detectors that judge spans. A share without a number of requests is taken as of 50 of them, so that one failed request
in a quiet minute, which reads as 100 %, needs company.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from libs.contracts.anomaly import Signal
from libs.observability.signals import words_of
from services.detector.gauges import Series
from services.detector.request_window import RequestWindow, SignalNames

ASSUMED_REQUESTS: Final = 50.0
_QUANTILES: Final = re.compile(r"[pP](50|75|90|95|99)(?!\d)")
_PREFERENCE: Final = {"p95": 0, "p99": 1, "p90": 2, "mean": 3, "value": 4, "p75": 5, "p50": 6}
_OF_CALLS: Final = 10  # added to the preference of a latency of calls that the service makes
_TIME_UNITS: Final = {"s": "s", "seconds": "s", "ms": "ms", "milliseconds": "ms", "us": "us", "microseconds": "us"}
_REQUEST_WORDS: Final = frozenset(["request", "requests", "workload", "calls", "invocations", "rps", "qps"])
_RATIO_WORDS: Final = frozenset(["ratio", "rate", "availability", "success", "percent", "percentage"])
_BEST_SHARES: Final = frozenset({"availability", "success", "5xx"})


class Role(StrEnum):
    """What a series says about requests."""

    NONE = ""
    LATENCY = "latency"
    FAILED_SHARE = "failed_share"
    SERVED_SHARE = "served_share"
    REQUESTS = "requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPlan:
    """Which series of a batch make one window together.

    Attributes:
        key: Subject key.
        service: service.name.
        requests: Position of the number of requests, -1 for none.
        share: Position of the failed or served share, -1 for none.
        latency: Position of the latency, -1 for none.
        per_second: Whether the number of requests is a rate.
        is_served: Whether the share is of successes.
        in_percent: Whether the share says so itself.
        names: What the signals are called.
        main: Position of the series whose timing the window takes.
    """

    key: str
    service: str
    requests: int = -1
    share: int = -1
    latency: int = -1
    per_second: bool = False
    is_served: bool = False
    in_percent: bool = False
    names: SignalNames
    main: int = field(init=False)

    def __post_init__(self) -> None:
        main = next(place for place in (self.share, self.requests, self.latency) if place >= 0)
        object.__setattr__(self, "main", main)


@dataclass(slots=True)
class _Group:
    requests: list[tuple[str, int]] = field(default_factory=list)
    shares: list[tuple[int, str, int]] = field(default_factory=list)
    latencies: dict[str, tuple[int, str, int]] = field(default_factory=dict)


def role_of(series: Series) -> Role:
    """What a series says about requests; shares only when name or unit say that it is one."""
    kind, words = series.kind, words_of(series.metric)
    if kind.signal is Signal.LATENCY:
        return Role.LATENCY
    if kind.signal is Signal.ERRORS and (words & _RATIO_WORDS or series.unit in ("1", "%")):
        if series.statistic == "rate" or series.unit.endswith("/s"):
            return Role.NONE
        return Role.SERVED_SHARE if kind.bad == "low" else Role.FAILED_SHARE
    if kind.signal is Signal.TRAFFIC and not kind.resource and words & _REQUEST_WORDS:
        return Role.REQUESTS if series.statistic in ("rate", "value") else Role.NONE
    return Role.NONE


def request_plans(groups: Sequence[str], series: Sequence[Series], keys: Sequence[str]) -> tuple[RequestPlan, ...]:
    """Plans for the series of a batch.

    Args:
        groups: Service, instance and attributes of each series: those of one group speak of the same requests.
        series: The series.
        keys: Their keys.
    Returns:
        One plan per group, and one for each further kind of latency in it (a database's beside the server's).
    """
    by_group: dict[str, _Group] = {}
    for position, (group, one) in enumerate(zip(groups, series, strict=True)):
        role = role_of(one)
        if role is not Role.NONE:
            _add(by_group.setdefault(group, _Group()), role, one, keys[position], position)
    return tuple(plan for group, found in sorted(by_group.items()) for plan in _plans(group, found, series, keys))


def _add(group: _Group, role: Role, one: Series, key: str, position: int) -> None:
    if role is Role.REQUESTS:
        group.requests.append((key, position))
    elif role is Role.LATENCY:
        family = _QUANTILES.sub("", one.metric)
        candidate = (_preference(one), key, position)
        group.latencies[family] = min(candidate, group.latencies.get(family, candidate))
    else:
        group.shares.append((0 if words_of(one.metric) & _BEST_SHARES else 1, key, position))


def _preference(one: Series) -> int:
    in_name = _QUANTILES.search(one.metric)
    statistic = f"p{in_name.group(1)}" if in_name and one.statistic == "value" else one.statistic
    is_client = "client" in words_of(one.metric)
    return _OF_CALLS * is_client + _PREFERENCE.get(statistic, 5)


def _plans(key: str, group: _Group, series: Sequence[Series], keys: Sequence[str]) -> Iterator[RequestPlan]:
    requests = min(group.requests)[1] if group.requests else -1
    share = min(group.shares)[2] if group.shares else -1
    ordered = sorted(group.latencies.values())
    own = [position for preference, _, position in ordered if preference < _OF_CALLS]
    first = own[0] if own else -1
    # A minute without requests has no latency of them: that of the calls must not take its place, nor its baseline.
    beside = [*own[1:], *(position for preference, _, position in ordered if preference >= _OF_CALLS)]
    served = series[share] if share >= 0 else None
    counted = series[requests] if requests >= 0 else None
    timed = series[first] if first >= 0 else None
    some = served or counted or timed
    if some is not None:
        yield RequestPlan(
            key=key,
            service=some.service,
            requests=requests,
            share=share,
            latency=first,
            per_second=counted is not None and (counted.statistic == "rate" or counted.unit.endswith("/s")),
            is_served=served is not None and role_of(served) is Role.SERVED_SHARE,
            in_percent=served is not None and (served.unit == "%" or "%" in served.metric),
            names=SignalNames(
                latency=timed.metric if timed else "",
                latency_statistic=timed.statistic if timed else "value",
                latency_unit=_unit(timed) if timed else "",
                errors=served.metric if served else "",
                errors_statistic="failed_ratio",
                traffic=counted.metric if counted else "",
            ),
        )
    for position in beside:
        other = series[position]
        names = SignalNames(
            latency=other.metric,
            latency_statistic=other.statistic,
            latency_unit=_unit(other),
            errors="",
            traffic="",
            beside_own=True,
        )
        yield RequestPlan(key=keys[position], service=other.service, latency=position, names=names)


def _unit(one: Series) -> str:
    if one.unit:
        return one.unit
    named = words_of(one.metric) & _TIME_UNITS.keys()
    return _TIME_UNITS[min(named)] if named else ""


def window_of(
    plan: RequestPlan, at_ns: int, values: Mapping[int, float], interval_s: float, *, after_gap: bool
) -> RequestWindow | None:
    """The window of one plan at one moment; None when none of its series has a value.

    Args:
        plan: Which series.
        at_ns: Event time.
        values: Value by position.
        interval_s: Time that the values stand for.
        after_gap: Whether a long gap lies before them.
    """
    requests = values.get(plan.requests, math.nan) * (interval_s if plan.per_second else 1.0)
    share = values.get(plan.share, math.nan)
    latency = values.get(plan.latency, math.nan)
    if not (math.isfinite(requests) or math.isfinite(share) or math.isfinite(latency)):
        return None
    errors = math.nan
    if math.isfinite(share):
        requests = requests if math.isfinite(requests) else ASSUMED_REQUESTS
        errors = failed_share(plan, share) * requests
    return RequestWindow(
        service=plan.service,
        start_ns=at_ns - int(interval_s * 1e9),
        end_ns=at_ns,
        requests=requests,
        errors=errors,
        latency=latency,
        mean=math.nan,
        names=plan.names,
        after_gap=after_gap,
    )


def failed_share(plan: RequestPlan, value: float) -> float:
    """The failed share in [0, 1], from per cent or a ratio, of failures or of successes."""
    share = value / 100.0 if plan.in_percent or value > 1.5 else value
    return min(1.0, max(0.0, 1.0 - share if plan.is_served else share))
