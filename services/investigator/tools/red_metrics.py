"""Rates, errors and durations from metric series, for components that send no spans."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from libs.contracts.anomaly import Signal
from libs.contracts.columns import FloatArray, Int64Array
from libs.observability.signals import classify, words_of
from libs.stores.telemetry import SeriesWindow
from services.investigator.evidence import CallShift, Source
from services.investigator.levels import Rates
from services.investigator.ordinary import level_of, nearest_level
from services.investigator.scene import Scene

# Of several statistics of one latency the mean adds up over callees; a percentile does not.
_ORDER: Final = ("mean", "average", "avg", "value", "p50", "median", "p90", "p95", "p99")
_MOST_SERIES: Final = 5000
_PEER: Final = ("peer.service", "peer", "callee", "destination", "destination_service", "destination_workload")
_OUTSIDE: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Track:
    """One signal of one component over both windows.

    Attributes:
        before: Ordinary values.
        times_ns: Times of `now`.
        now: Values in the incident.
    """

    before: FloatArray
    times_ns: Int64Array
    now: FloatArray

    def at(self, moment_ns: int) -> float:
        """Value at the point nearest to a moment; NaN when there is none within 1.5 intervals."""
        if not len(self.now):
            return float("nan")
        nearest = int(np.abs(self.times_ns - moment_ns).argmin())
        interval = int(np.median(np.diff(self.times_ns))) if len(self.times_ns) > 1 else 0
        return float(self.now[nearest]) if abs(self.times_ns[nearest] - moment_ns) <= 1.5 * interval else float("nan")


Entity = tuple[str, str]
_SIGNALS: Final = (Signal.LATENCY, Signal.ERRORS, Signal.TRAFFIC)


def read_metric_calls(scene: Scene) -> tuple[CallShift, ...]:
    """Shifts of components that report latency, requests or failures as metrics.

    All are read at one moment, the worst of the affected component that deviates most: callees are subtracted from
    their callers, which is only right for the same moment.
    """
    tracks = _tracks(scene)
    worst_ns = _worst_moment(tracks, scene.incident.services)
    found = (_shift(entity, signals, worst_ns) for entity, signals in sorted(tracks.items()))
    return tuple(shift for shift in found if shift is not None)


def _tracks(scene: Scene) -> dict[Entity, dict[Signal, _Track]]:
    before: dict[tuple[Entity, Signal], list[SeriesWindow]] = defaultdict(list)
    now: dict[tuple[Entity, Signal], list[SeriesWindow]] = defaultdict(list)
    for window, side in ((scene.before_metrics, before), (scene.now, now)):
        for entry in scene.telemetry.series(window, services=scene.services, limit=_MOST_SERIES):
            kind = classify(entry.name, entry.unit, entry.statistic)
            if kind.signal in _SIGNALS and not kind.resource and _is_of_requests(entry, kind.signal):
                peer = next((entry.attributes[name] for name in _PEER if entry.attributes.get(name)), "")
                side[(entry.service, peer if peer != entry.service else ""), kind.signal].append(entry)
    tracks: dict[Entity, dict[Signal, _Track]] = defaultdict(dict)
    for (entity, signal), entries in now.items():
        made = _track(before.get((entity, signal), []), entries, signal)
        if made is not None:
            tracks[entity][signal] = made
    return tracks


def _is_of_requests(entry: SeriesWindow, signal: Signal) -> bool:
    """Whether it is about requests that the component serves, failures as a ratio of them."""
    if "client" in words_of(entry.name) and not any(entry.attributes.get(name) for name in _PEER):
        return False
    if signal is not Signal.ERRORS:
        return True
    return (
        "%" in entry.name + entry.unit
        or not _exceeds_one(entry.values)
        or (entry.values.max() <= 100.0 and _is_share(entry))
    )


def _is_share(entry: SeriesWindow) -> bool:
    return bool(words_of(entry.name) & {"ratio", "percent", "availability", "success", "rate"}) and not entry.unit


def _track(before: Sequence[SeriesWindow], now: Sequence[SeriesWindow], signal: Signal) -> _Track | None:
    """The best statistic of a signal, routes and instances put together."""
    best = min((_preference(entry) for entry in now), default=None)
    if best is None:
        return None
    chosen_now = [entry for entry in now if _preference(entry) == best]
    chosen_before = [entry for entry in before if _preference(entry) == best]
    times, values = _together(chosen_now, signal)
    _, ordinary = _together(chosen_before, signal)
    return _Track(before=ordinary, times_ns=times, now=values)


def _together(entries: Sequence[SeriesWindow], signal: Signal) -> tuple[Int64Array, FloatArray]:
    """Mean over series (sum for traffic) at each time; durations in seconds, failures as a ratio."""
    if not entries:
        return np.zeros(0, np.int64), np.zeros(0)
    times = np.concatenate([entry.timestamps_ns for entry in entries])
    values = np.concatenate([_scaled(entry, signal) for entry in entries])
    finite = np.isfinite(values)
    times, values = times[finite], values[finite]
    moments, place = np.unique(times, return_inverse=True)
    sums: FloatArray = np.bincount(place, values, len(moments)).astype(np.float64)
    if signal is Signal.TRAFFIC:
        return moments, sums
    counts = np.bincount(place, minlength=len(moments)).astype(np.float64)
    return moments, sums / counts


def _scaled(entry: SeriesWindow, signal: Signal) -> FloatArray:
    if signal is Signal.LATENCY:
        unit, name = entry.unit.casefold(), entry.name.casefold()
        if unit == "ms" or (not unit and name.endswith(("_ms", ".ms", "(ms)"))):
            return entry.values / 1e3
        return entry.values / 1e6 if unit == "us" else entry.values
    if signal is Signal.ERRORS:
        percent = entry.unit == "%" or "%" in entry.name or _exceeds_one(entry.values)
        ratio = entry.values / 100.0 if percent else entry.values
        return 1.0 - ratio if classify(entry.name, entry.unit, entry.statistic).bad == "low" else ratio
    return entry.values


def _exceeds_one(values: FloatArray) -> bool:
    finite = values[np.isfinite(values)]
    return bool(len(finite)) and float(finite.max()) > 1.5


def _preference(entry: SeriesWindow) -> tuple[int, str]:
    """Position of the statistic in the order of choice; the name settles ties."""
    words = [entry.statistic.casefold(), *(value.casefold() for value in entry.attributes.values())]
    words += [word for word in _ORDER if entry.name.casefold().endswith(word)]
    places = [_ORDER.index(word) for word in words if word in _ORDER and word != "value"]
    return (min(places) if places else _ORDER.index("value"), entry.name)


def _worst_moment(tracks: dict[Entity, dict[Signal, _Track]], affected: Sequence[str]) -> int:
    candidates = list(_deviations(tracks, affected)) or list(_deviations(tracks, [entity[0] for entity in tracks]))
    return max(candidates, default=(0.0, 0))[1]


def _deviations(tracks: dict[Entity, dict[Signal, _Track]], services: Sequence[str]) -> Iterator[tuple[float, int]]:
    for service in services:
        for signal, track in tracks.get((service, ""), {}).items():
            if signal is not Signal.TRAFFIC and len(track.before) and len(track.now):
                distances = (track.now - nearest_level(track.before, upward=True)) / level_of(track.before).spread
                worst = int(distances.argmax())
                yield float(distances[worst]), int(track.times_ns[worst])


def _shift(entity: Entity, signals: dict[Signal, _Track], worst_ns: int) -> CallShift | None:
    latency, errors, traffic = (signals.get(s) for s in (Signal.LATENCY, Signal.ERRORS, Signal.TRAFFIC))
    times = [track.times_ns for track in signals.values() if len(track.now)]
    if not times:
        return None
    return CallShift(
        service=entity[0],
        peer=entity[1],
        source=Source.METRICS,
        before=Rates(
            requests=float(len(traffic.before)) if traffic else 0.0,
            requests_per_s=level_of(traffic.before).median if traffic else 0.0,
            error_ratio=nearest_level(errors.before, upward=True) if errors and len(errors.before) else 0.0,
            mean_s=nearest_level(latency.before, upward=True) if latency and len(latency.before) else 0.0,
        ),
        now=Rates(
            requests=1.0,
            requests_per_s=_value(traffic, worst_ns, 1.0),
            error_ratio=_value(errors, worst_ns, 0.0),
            mean_s=_value(latency, worst_ns, 0.0),
        ),
        mean_noise_s=level_of(latency.before).spread if latency and len(latency.before) else 1.0,
        sustained_s=_value(latency, worst_ns, 0.0),
        growth=_growth(traffic),
        first_ns=min((_first(track) for track in (latency, errors) if track and _first(track)), default=0),
        last_ns=int(max(column[-1] for column in times)),
    )


def _value(track: _Track | None, moment_ns: int, otherwise: float) -> float:
    value = track.at(moment_ns) if track is not None else float("nan")
    return value if np.isfinite(value) else otherwise


def _growth(traffic: _Track | None) -> float:
    if traffic is None or not len(traffic.before) or not len(traffic.now):
        return 1.0
    usual = float(np.median(traffic.before))
    return float(np.median(traffic.now)) / usual if usual > 0 else 1.0


def _first(track: _Track) -> int:
    if not len(track.before):
        return int(track.times_ns[0]) if len(track.now) else 0
    limit = nearest_level(track.before, upward=True) + _OUTSIDE * level_of(track.before).spread
    outside = np.flatnonzero(track.now > limit)
    return int(track.times_ns[outside[0]]) if len(outside) else 0
