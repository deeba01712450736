"""How every metric of the services in scope left its ordinary level: cpu, memory, pools, queues, and the rest."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from libs.observability.signals import classify
from libs.stores.telemetry import SeriesWindow
from services.investigator.evidence import MetricShift
from services.investigator.ordinary import deviation, onset_ns, ordinary_of, rarity, slope
from services.investigator.scene import Scene
from services.investigator.tools.tool import SERVICE, Answer, Tool, register, where

_MOST_SERIES: Final = 5000
_LEAST_POINTS: Final = 3  # a median and a spread need three
_STRONG: Final = 8.0  # spreads; what is to date a change must be beyond doubt
# Workers, connections, requests in a queue: one more or less is chance, and a queue of 0.08 on average is none.
_COUNTED: Final = frozenset({"pool", "queue", "threads"})
_RATIOS: Final = frozenset({"", "1", "%"})
_OUTSIDE: Final = 4.0  # spreads; the first point beyond it dates the deviation


def _ask(scene: Scene, _: Mapping[str, str]) -> Answer[tuple[MetricShift, ...]]:
    shifts = read_metrics(scene)
    loud = sorted((s for s in shifts if s.deviation >= _OUTSIDE and not s.is_limit), key=lambda s: -s.deviation)
    told = "; ".join(
        f"{s.service} {s.name} {s.worst:.4g}{s.unit and ' ' + s.unit} (ordinary {s.level.median:.4g} +- "
        f"{s.level.spread:.2g})"
        for s in loud[:5]
    )
    text = f"{len(loud)} of {len(shifts)} series left their band" + (f": {told}." if told else ".")
    return Answer(found=bool(shifts), finding=text, query=f"metrics of {where(scene)}", part=shifts)


def read_metrics(scene: Scene) -> tuple[MetricShift, ...]:
    """Every series with points in both windows."""
    before = {
        _key(entry): entry
        for entry in scene.telemetry.series(scene.before_metrics, services=scene.services, limit=_MOST_SERIES)
    }
    now = scene.telemetry.series(scene.now, services=scene.services, limit=_MOST_SERIES)
    shifts = (_shift(before[_key(entry)], entry) for entry in now if _key(entry) in before)
    return tuple(shift for shift in shifts if shift is not None)


def _shift(before: SeriesWindow, now: SeriesWindow) -> MetricShift | None:
    earlier, current = before.values[np.isfinite(before.values)], now.values[np.isfinite(now.values)]
    if len(earlier) < _LEAST_POINTS or not len(current):
        return None
    kind = classify(now.name, now.unit, now.statistic)
    counts = kind.resource in _COUNTED and now.unit not in _RATIOS
    ordinary = ordinary_of(earlier, resolution=1.0 if counts else 0.0)
    worst, distance = deviation(ordinary, current, kind.bad)
    level = ordinary.level
    outside = np.flatnonzero(np.abs(now.values - level.median) >= _OUTSIDE * level.spread)
    times = np.concatenate((before.timestamps_ns, now.timestamps_ns))
    return MetricShift(
        service=now.service,
        instance=now.instance,
        name=now.name,
        statistic=now.statistic,
        unit=now.unit,
        attributes=now.attributes,
        signal=kind.signal,
        resource=kind.resource,
        bad=kind.bad,
        level=level,
        worst=worst,
        last=float(current[-1]),
        deviation=distance,
        rarity=rarity(ordinary, current, kind.bad, steady=kind.resource == "memory"),
        slope_per_s=slope(times, np.concatenate((before.values, now.values))) if kind.resource == "memory" else 0.0,
        first_ns=int(now.timestamps_ns[outside[0]]) if len(outside) else 0,
        onset_ns=onset_ns(times, np.concatenate((before.values, now.values))) if distance >= _STRONG else 0,
        is_limit=kind.is_limit,
    )


def _key(entry: SeriesWindow) -> tuple[str, str, str, str, tuple[tuple[str, str], ...]]:
    return entry.service, entry.instance, entry.name, entry.statistic, tuple(sorted(entry.attributes.items()))


TOOL: Final = register(
    Tool(name="metrics", title="Which metrics of which service left their ordinary level", ask=_ask, arguments=SERVICE)
)
