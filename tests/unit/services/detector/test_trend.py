"""A leak is foreseen; growth that slows down, teeth of a collector, steps and noise are not leaks."""

from collections.abc import Callable

import numpy as np
import pytest

from libs.contracts.anomaly import AnomalyDetected
from libs.observability.signals import classify
from services.detector.detector import DetectorOptions
from services.detector.detectors.trend import Trend
from services.detector.engine import Engine
from services.detector.gauges import GaugePoint, Limit, Series, limit_of

NS = 1_000_000_000
BEGIN_NS = 1_700_000_000 * NS
MB = 1e6
Curve = Callable[[float, np.random.Generator], float]


def judge(
    curve: Curve, *, points: int, seed: int = 1, interval_s: float = 5.0, limit: float = 256 * MB, metric: str = ""
) -> list[tuple[float, AnomalyDetected]]:
    """(seconds since the begin, anomaly) of one series."""
    name = metric or "process.memory.usage"
    series = Series(service="cart", metric=name, unit="By", kind=classify(name, "By"))
    detector, chance = Trend(DetectorOptions()), np.random.default_rng(seed)
    engine, found = Engine([detector], DetectorOptions()), []
    for number in range(points):
        second = number * interval_s
        point = GaugePoint(
            series=series,
            at_ns=BEGIN_NS + int(second * NS),
            value=curve(second, chance),
            limit=limit,
            interval_s=interval_s,
        )
        found += [(second, anomaly) for anomaly in engine.observe(detector, "k", point)]
    return found


def noisy(level: float, chance: np.random.Generator, spread: float = 0.3 * MB) -> float:
    return level + float(chance.normal(0, spread))


def leak(rate: float, since_s: float) -> Curve:
    return lambda second, chance: noisy(80 * MB + max(0.0, second - since_s) * rate, chance)


def start_up(second: float, chance: np.random.Generator) -> float:
    return noisy(60 * MB + 90 * MB * (1 - np.exp(-second / 25.0)), chance, 0.1 * MB)


def teeth(second: float, chance: np.random.Generator) -> float:
    return noisy(60 * MB + 120 * MB * (second % 60.0) / 60.0, chance)


def step_up(second: float, chance: np.random.Generator) -> float:
    return noisy(80 * MB if second < 150 else 180 * MB, chance)


def ramp_then_flat(second: float, chance: np.random.Generator) -> float:
    return noisy(80 * MB + 40 * MB * min(1.0, max(0.0, (second - 150) / 15.0)), chance)


def creeping(second: float, chance: np.random.Generator) -> float:
    return noisy(80 * MB + 0.01 * MB * second, chance)


def flat(second: float, chance: np.random.Generator) -> float:
    return noisy(80 * MB, chance)


@pytest.mark.parametrize(("rate_mb", "within_s"), [(2.0, 45), (3.0, 35), (6.0, 35)])
@pytest.mark.parametrize("seed", range(5))
def test_a_leak_of_megabytes_a_second_is_foreseen(rate_mb: float, within_s: float, seed: int) -> None:
    found = judge(leak(rate_mb * MB, 100.0), points=60, seed=seed, limit=512 * MB)
    assert found
    second, anomaly = found[0]
    assert second <= 100 + within_s
    assert anomaly.severity in ("medium", "high")
    assert (anomaly.started_at.timestamp() - BEGIN_NS / NS) == pytest.approx(100.0, abs=10.0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("curve", [start_up, teeth, step_up, ramp_then_flat, creeping, flat])
def test_what_is_no_leak_is_none(curve: Curve, seed: int) -> None:
    assert judge(curve, points=240, seed=seed) == []


@pytest.mark.parametrize("seed", range(5))
def test_the_first_tooth_of_a_heap_is_no_leak(seed: int) -> None:
    def heap(second: float, chance: np.random.Generator) -> float:
        return noisy(30 * MB + 150 * MB * (second % 100.0) / 100.0, chance)

    assert judge(heap, points=120, seed=seed, metric="jvm.memory.used") == []


def test_a_slow_leak_is_found_at_a_slow_interval() -> None:
    found = judge(leak(0.01 * MB, 3600.0), points=240, interval_s=300.0)
    assert found
    assert found[0][1].observed < 256 * MB


def test_free_space_runs_out_downwards() -> None:
    def free(second: float, chance: np.random.Generator) -> float:
        return noisy(200 * MB - max(0.0, second - 100.0) * 2 * MB, chance, 0.1 * MB)

    found = judge(free, points=30, metric="node_memory_MemAvailable_bytes", limit=float("nan"))
    assert found
    assert "reaches the limit of 0 B" in found[0][1].explanation


def test_a_series_is_bounded_by_the_limit_that_is_named_alike() -> None:
    def limit(metric: str, value: float, **attributes: str) -> Limit:
        kind = classify(metric)
        return Limit(metric=metric, unit="", resource=kind.resource, attributes=attributes, value=value)

    limits = {
        "a": limit("worker_pool.size", 8.0),
        "b": limit("db.client.connection.max", 10.0, pool="stock"),
        "c": limit("container.memory.limit", 256e6),
    }

    def of(metric: str, unit: str = "", **attributes: str) -> float:
        series = Series(service="s", metric=metric, unit=unit, attributes=attributes, kind=classify(metric, unit))
        return limit_of(series, limits)

    assert of("worker_pool.in_use") == 8.0
    assert of("db.client.connection.count", pool="stock", state="used") == 10.0
    assert np.isnan(of("db.client.connection.count", pool="stock", state="idle"))
    assert np.isnan(of("db.client.connection.count", pool="other"))
    assert of("process.memory.usage") == 256e6
    assert np.isnan(of("process.memory.virtual"))
    assert of("worker_pool.utilization", "1") == 1.0
    assert of("CpuUsageRate(%)") == 100.0
    assert np.isnan(of("worker_pool.queue_depth"))


@pytest.mark.parametrize("seed", range(5))
def test_a_queue_that_only_grows_is_a_pattern_that_precedes_failure(seed: int) -> None:
    def queue(second: float, chance: np.random.Generator) -> float:
        return 3.0 + float(chance.uniform(0.0, 1.0)) + max(0.0, second - 100.0) * 0.8

    found = judge(queue, points=60, seed=seed, metric="worker_pool.queue_depth", limit=200.0)
    assert found
    assert found[0][0] <= 100 + 45
    assert found[0][1].observed < 200.0


@pytest.mark.parametrize("seed", range(5))
def test_a_queue_that_fills_and_drains_is_none(seed: int) -> None:
    def queue(second: float, chance: np.random.Generator) -> float:
        return float(chance.poisson(20.0 + 15.0 * np.sin(second / 40.0)))

    assert judge(queue, points=240, seed=seed, metric="worker_pool.queue_depth", limit=200.0) == []
