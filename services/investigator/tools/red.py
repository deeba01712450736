"""Rate, errors and duration of services and call edges, before and now: from spans, and from metrics where sent."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from libs.stores.telemetry import RedWindow
from services.investigator.evidence import CallShift, Source
from services.investigator.levels import Rates, total
from services.investigator.ordinary import level_of
from services.investigator.scene import Scene
from services.investigator.tools.red_metrics import read_metric_calls
from services.investigator.tools.tool import SERVICE, Answer, Tool, register, where

_NS: Final = 1e9
_OUTSIDE: Final = 4.0
# Below 5 ms a change of the mean is scheduling, not a symptom (scheduler slices are 1 to 4 ms).
_LEAST_CHANGE_S: Final = 0.005
_LEAST_ERROR_RATIO: Final = 0.02


def _ask(scene: Scene, _: Mapping[str, str]) -> Answer[tuple[CallShift, ...]]:
    calls = read_calls(scene)
    loud = sorted(calls, key=lambda c: -_loudness(c))[:5]
    told = "; ".join(describe(call) for call in loud if _loudness(call) > 1.0)
    return Answer(
        found=bool(calls),
        finding=(told + ".")
        if told
        else f"rates, errors and durations of {len(calls)} services and edges are ordinary.",
        query=f"rate, errors and duration of {where(scene)}",
        part=calls,
    )


def describe(call: CallShift) -> str:
    """One clause with the figures of a service or an edge."""
    name = f"{call.service} -> {call.peer}" if call.peer else call.service
    return (
        f"{name}: mean {call.now.mean_s * 1e3:.0f} ms (ordinary {call.before.mean_s * 1e3:.0f}), "
        f"{call.now.error_ratio:.1%} failed ({call.before.error_ratio:.1%}), "
        f"{call.now.requests_per_s:.3g}/s ({call.before.requests_per_s:.3g})"
    )


def read_calls(scene: Scene) -> tuple[CallShift, ...]:
    """Shifts of every service and edge in scope, spans first."""
    before = _by_entity(scene.telemetry.red(scene.before_spans, scene.window_s, services=scene.services))
    now = _by_entity(scene.telemetry.red(scene.now, scene.window_s, services=scene.services))
    now_s = max((scene.now.end_ns - scene.now.start_ns) / _NS, scene.window_s)
    spans = [
        _shift(entity, before.get(entity, ()), now.get(entity, ()), scene.window_s, now_s)
        for entity in sorted(before.keys() | now.keys())
    ]
    return (*spans, *read_metric_calls(scene))


def _by_entity(windows: Sequence[RedWindow]) -> dict[tuple[str, str], list[RedWindow]]:
    entities: dict[tuple[str, str], list[RedWindow]] = defaultdict(list)
    for window in windows:
        entities[window.service, window.peer].append(window)
    return entities


def _shift(
    entity: tuple[str, str], before: Sequence[RedWindow], now: Sequence[RedWindow], step_s: float, now_s: float
) -> CallShift:
    ordinary = np.array([window.duration_sum_s / window.requests for window in before])
    level = level_of(ordinary)
    noise_s = max(level.spread, _LEAST_CHANGE_S / _OUTSIDE)
    base = total([_rates(w) for w in before], _span_s(before, step_s))
    return CallShift(
        service=entity[0],
        peer=entity[1],
        source=Source.SPANS,
        before=base,
        now=total([_rates(w) for w in now], now_s),
        mean_noise_s=noise_s,
        sustained_s=float(np.median([w.duration_sum_s / w.requests for w in now])) if now else 0.0,
        growth=_per_step(now) / _per_step(before) if before and now else 1.0,
        first_ns=next((w.start_ns for w in now if _is_outside(w, base, noise_s)), 0),
        last_ns=now[-1].start_ns + int(step_s * _NS) if now else before[-1].start_ns + int(step_s * _NS),
    )


def _is_outside(window: RedWindow, base: Rates, noise_s: float) -> bool:
    slow = window.duration_sum_s / window.requests - base.mean_s > _OUTSIDE * noise_s
    failing = window.errors / window.requests - base.error_ratio > max(_LEAST_ERROR_RATIO, 2 / window.requests)
    return slow or failing


def _per_step(windows: Sequence[RedWindow]) -> float:
    return sum(window.requests for window in windows) / len(windows)


def _span_s(windows: Sequence[RedWindow], step_s: float) -> float:
    """From the first to the last step: a baseline that begins late is not a low rate."""
    return (windows[-1].start_ns - windows[0].start_ns) / _NS + step_s if windows else 0.0


def _rates(window: RedWindow) -> Rates:
    return Rates(
        requests=window.requests,
        error_ratio=window.errors / window.requests,
        mean_s=window.duration_sum_s / window.requests,
        p95_s=window.p95_s,
    )


def _loudness(call: CallShift) -> float:
    slower = (call.now.mean_s - call.before.mean_s) / max(_OUTSIDE * call.mean_noise_s, _LEAST_CHANGE_S)
    failing = (call.now.error_ratio - call.before.error_ratio) / _LEAST_ERROR_RATIO
    return max(slower, failing, 0.0) if call.now.requests else 0.0


TOOL: Final = register(
    Tool(name="red", title="Rate, errors and duration per service and per call edge", ask=_ask, arguments=SERVICE)
)
