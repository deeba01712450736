"""More requests of a slow kind are no slowness; a kind that has become slow is."""

import numpy as np
import pytest

from services.detector.detector import DetectorOptions
from services.detector.detectors.latency import Latency
from services.detector.duration_buckets import BUCKETS, bucket_of
from services.detector.engine import Engine
from services.detector.request_window import Kind, RequestWindow, span_window
from services.detector.usual_mix import UsualMix

NS = 1_000_000_000
QUICK_S, SLOW_S = 0.02, 0.45


def window(number: int, counts: dict[str, tuple[int, float]]) -> RequestWindow:
    """A window of 5 s with (requests, median seconds) of each kind."""
    chance = np.random.default_rng(number)
    kinds = {}
    for name, (count, median_s) in counts.items():
        durations = (median_s * NS * np.exp(chance.normal(0.0, 0.1, count))).astype(np.int64)
        histogram = np.bincount(bucket_of(durations), minlength=BUCKETS).astype(float)
        kinds[name] = Kind(requests=count, histogram=histogram, duration_sum_s=float(durations.sum()) / 1e9)
    return span_window(
        "gateway",
        "",
        number * 5 * NS,
        (number + 1) * 5 * NS,
        histogram=sum((kind.histogram for kind in kinds.values()), np.zeros(BUCKETS)),
        errors=0,
        duration_sum_s=sum(kind.duration_sum_s for kind in kinds.values()),
        kinds=kinds,
    )


def usual(number: int) -> RequestWindow:
    return window(number, {"GET /": (50, QUICK_S), "POST /checkout": (6, SLOW_S)})


@pytest.fixture
def mix() -> UsualMix:
    known = UsualMix()
    for number in range(30):
        known.learn(usual(number))
    return known


def test_a_sale_has_the_latency_of_the_usual_mix(mix: UsualMix) -> None:
    sale = window(99, {"GET /": (52, QUICK_S), "POST /checkout": (28, SLOW_S)})
    assert sale.mean > 2.0 * usual(99).mean
    seen = mix.of(sale)
    assert seen.mean == pytest.approx(usual(99).mean, rel=0.15)
    assert seen.requests == sale.requests
    assert seen.latency == pytest.approx(usual(99).latency, rel=0.15)


def test_a_kind_that_has_become_slow_is_slow_however_many_come(mix: UsualMix) -> None:
    for count in (6, 28):
        assert mix.of(window(99, {"GET /": (50, QUICK_S), "POST /checkout": (count, 4.0)})).latency > 3.0


def test_what_comes_by_chance_is_left_as_it_is(mix: UsualMix) -> None:
    seen = window(99, {"GET /": (60, QUICK_S), "POST /checkout": (12, SLOW_S)})
    assert mix.of(seen) is seen


def test_a_kind_that_never_came_counts_in_full(mix: UsualMix) -> None:
    seen = window(99, {"GET /": (50, QUICK_S), "POST /returns": (40, 4.0)})
    assert mix.of(seen) is seen


def test_kinds_that_are_gone_are_forgotten(mix: UsualMix) -> None:
    for number in range(700):
        mix.learn(window(number, {"GET /": (5, QUICK_S)}))
    assert set(mix.usual) == {"GET /"}


def test_latency_closes_when_the_slow_kind_is_as_fast_as_ever_though_the_sale_goes_on() -> None:
    detector = Latency(DetectorOptions())
    engine, states = Engine([detector], DetectorOptions()), []
    for number in range(60):
        if number < 30:
            counts = {"GET /": (50, QUICK_S), "POST /checkout": (6, SLOW_S)}
        elif number < 36:
            counts = {"GET /": (50, QUICK_S), "POST /checkout": (28, 3.0)}
        else:
            counts = {"GET /": (50, QUICK_S), "POST /checkout": (28, 1.1 * SLOW_S)}
        states += [(number, one.state.value) for one in engine.observe(detector, "gateway", window(number, counts))]
    assert [state for _, state in states if state != "updated"] == ["opened", "closed"]
    assert states[-1][0] <= 39


def test_a_sale_that_makes_its_kind_slow_is_noticed_where_slow_requests_come_together() -> None:
    """The share of slow requests was learned to vary ten times as much as by chance: one window proves little."""
    detector = Latency(DetectorOptions())
    engine, states = Engine([detector], DetectorOptions()), []
    for number in range(36):
        sale = (22, 3.0) if number >= 30 else (8, SLOW_S)
        seen = window(number, {"GET /orders": (4, 0.06), "POST /orders": sale})
        states += [(number, one.state.value) for one in engine.observe(detector, "checkout", seen)]
        if number == 29:
            engine._subjects["latency"]["checkout"].state.dispersion = 10.0
    assert [state for _, state in states if state != "updated"] == ["opened"]
    assert states[0][0] <= 33
