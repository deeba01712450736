"""Laws that every registered detector keeps; a new file in services/detector/detectors/ meets them without a word."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from libs.contracts.anomaly import EpisodeState
from libs.observability.signals import classify
from services.detector import detectors as package
from services.detector.detector import DETECTORS, Detector, DetectorOptions, Feed, Sieving
from services.detector.detectors.silence import Presence
from services.detector.duration_buckets import BUCKETS, bucket_of
from services.detector.engine import Engine
from services.detector.finding import Level
from services.detector.gauges import GaugePoint, ScoredPoint, Series, VectorScore
from services.detector.log_windows import LogWindow, PatternCount
from services.detector.request_window import span_window
from services.detector.snapshot_codec import from_plain, pack, to_plain, unpack

DETECTORS.load(package)
NS = 1_000_000_000
BEGIN_NS = 1_700_000_000 * NS
NAMES = DETECTORS.names()
MEMORY = Series(service="cart", metric="process.memory.usage", unit="By", kind=classify("process.memory.usage"))


def requests(number: int, chance: np.random.Generator, *, bad: bool) -> Any:
    count = max(1, int(chance.poisson(180 if bad else 40)))
    durations = chance.lognormal(17.0 + (2.5 if bad else 0.0), 0.3, count).astype(np.int64)
    return span_window(
        "cart",
        "",
        BEGIN_NS + number * 5 * NS,
        BEGIN_NS + (number + 1) * 5 * NS,
        histogram=np.bincount(bucket_of(durations), minlength=BUCKETS).astype(float),
        errors=count // 2 if bad else 0,
        duration_sum_s=float(durations.sum()) / 1e9,
    )


def log_window(number: int, chance: np.random.Generator, *, bad: bool) -> Any:
    found = {"known": PatternCount(logger="l", template="slow answer", severity=13, count=int(chance.poisson(1)))}
    if bad:
        found["new"] = PatternCount(logger="l", template="KeyError", severity=17, count=20)
    return LogWindow(
        service="cart",
        start_ns=BEGIN_NS + number * 5 * NS,
        end_ns=BEGIN_NS + (number + 1) * 5 * NS,
        patterns=found,
        ordinary=40,
    )


class _Gauge:
    """Memory that keeps its level, and leaks while it is bad."""

    def __init__(self) -> None:
        self.leaked = 0.0

    def __call__(self, number: int, chance: np.random.Generator, *, bad: bool) -> Any:
        self.leaked = self.leaked + 12e6 if bad else 0.0
        value = 80e6 + float(chance.normal(0, 2e5)) + self.leaked
        return GaugePoint(series=MEMORY, at_ns=BEGIN_NS + number * 5 * NS, value=value, limit=256e6, interval_s=5.0)


def scored(number: int, chance: np.random.Generator, *, bad: bool) -> Any:
    return ScoredPoint(
        series=MEMORY,
        at_ns=BEGIN_NS + number * 5 * NS,
        value=9.0 if bad else float(chance.uniform(0.5, 1.5)),
        interval_s=5.0,
        score=0.9 if bad else 0.1,
        is_anomaly=bad,
        expected=1.0,
        lower=0.0,
        upper=2.0,
        contributions=(("novelty", 0.7), ("seasonal", 0.3)),
    )


def vector(number: int, chance: np.random.Generator, *, bad: bool) -> Any:
    return VectorScore(
        service="cart",
        instance="cart-1",
        at_ns=BEGIN_NS + number * 5 * NS,
        interval_s=5.0,
        score=0.9 if bad else float(chance.uniform(0.0, 0.4)),
        is_anomaly=bad,
        contributions=(("process.cpu.utilization", 0.9, 0.8),),
    )


def presence(number: int, chance: np.random.Generator, *, bad: bool) -> Any:
    last_ns = BEGIN_NS + number * 5 * NS
    return Presence(
        service="cart",
        topic="metrics",
        alive_since_ns=BEGIN_NS,
        last_ns=BEGIN_NS + 100 * NS if bad else last_ns,
        others_ns=BEGIN_NS + 500 * NS if bad else last_ns,
        others=3,
        interval_s=5.0,
        rate_per_s=0.0,
        messages=number,
    )


def feeds() -> dict[Feed, Callable[..., Any]]:
    return {
        Feed.REQUESTS: requests,
        Feed.LOGS: log_window,
        Feed.GAUGES: _Gauge(),
        Feed.SCORES: scored,
        Feed.VECTORS: vector,
        Feed.PRESENCE: presence,
    }


@pytest.fixture(params=NAMES)
def detector(request: pytest.FixtureRequest) -> Detector[Any, Any]:
    return DETECTORS.get(request.param)(DetectorOptions())


def observations(detector: Detector[Any, Any], normal: int, bad: int, seed: int = 1) -> Iterator[Any]:
    chance, make = np.random.default_rng(seed), feeds()[detector.feed]
    for number in range(normal + bad):
        yield make(number, chance, bad=number >= normal)


def taught(detector: Detector[Any, Any], windows: int = 40) -> Any:
    state = detector.new_state()
    for seen in observations(detector, windows, 0):
        detector.judge(state, seen)
        detector.learn(state, seen)
        detector.note(state, seen)
    return state


def test_every_detector_is_named_as_its_file(detector: Detector[Any, Any]) -> None:
    assert type(detector).__module__.rsplit(".", 1)[1] == detector.name
    assert detector.name in NAMES


def test_every_detector_is_documented(detector: Detector[Any, Any]) -> None:
    page = (Path(__file__).resolve().parents[4] / "docs" / "detectors.md").read_text()
    assert f"\n| `{detector.name}` |" in page
    assert detector.name in page.split("## The detectors")[1].split("### ", 1)[1]


def test_every_feed_has_a_detector() -> None:
    assert {DETECTORS.get(name)(DetectorOptions()).feed for name in NAMES} == set(Feed)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_normal_opens_nothing(detector: Detector[Any, Any], seed: int) -> None:
    engine = Engine([detector], DetectorOptions())
    emitted = [a for seen in observations(detector, 120, 0, seed) for a in engine.observe(detector, "k", seen)]
    assert emitted == []


def test_what_is_bad_opens_an_episode(detector: Detector[Any, Any]) -> None:
    engine = Engine([detector], DetectorOptions())
    emitted = [a for seen in observations(detector, 40, 16) for a in engine.observe(detector, "k", seen)]
    assert emitted
    for anomaly in emitted:
        assert anomaly.detector == detector.name
        assert 0.0 <= anomaly.score <= 1.0
        assert anomaly.explanation
        figures = (
            anomaly.observed,
            anomaly.expected,
            anomaly.expected_lower,
            anomaly.expected_upper,
            anomaly.deviation,
        )
        assert all(math.isfinite(figure) for figure in figures)
        assert anomaly.expected_lower <= anomaly.expected_upper
        assert sum(c.share for c in anomaly.contributions) <= 1.0 + 1e-9
        assert not detector.signals or anomaly.signal in detector.signals


def test_nothing_is_anomalous_before_the_warm_up(detector: Detector[Any, Any]) -> None:
    if detector.knows_warmup and detector.feed is not Feed.PRESENCE:
        pytest.skip("fed only with what a scorer with a warm-up of its own calls anomalous")
    options = DetectorOptions(warmup_s=1000.0)
    judge = DETECTORS.get(detector.name)(options)
    engine = Engine([judge], options)
    emitted = [a for seen in observations(judge, 20, 40) for a in engine.observe(judge, "k", seen)]
    assert emitted == []


def test_judging_changes_nothing(detector: Detector[Any, Any]) -> None:
    state = taught(detector)
    before = pack(to_plain(state))
    for seen in observations(detector, 40, 6):
        first, second = detector.judge(state, seen), detector.judge(state, seen)
        assert list(first) == list(second)
    assert pack(to_plain(state)) == before


def test_a_state_survives_a_snapshot(detector: Detector[Any, Any]) -> None:
    state = taught(detector)
    restored = from_plain(unpack(pack(to_plain(state)), dict), detector.state_type)
    for seen in observations(detector, 40, 6, seed=2):
        assert list(detector.judge(state, seen)) == list(detector.judge(restored, seen))
        detector.note(state, seen)
        detector.note(restored, seen)


def test_a_baseline_stands_still_while_an_episode_is_open_and_moves_on_after_an_hour() -> None:
    detector = DETECTORS.get("latency")(DetectorOptions())
    engine = Engine([detector], DetectorOptions())
    emitted = [a for seen in observations(detector, 40, 1500) for a in engine.observe(detector, "k", seen)]
    assert emitted[0].state is EpisodeState.OPENED
    assert emitted[-1].state is EpisodeState.CLOSED
    assert 3600 <= (emitted[-1].updated_at - emitted[0].started_at).total_seconds() <= 2 * 3600


def test_a_slow_drift_is_followed(detector: Detector[Any, Any]) -> None:
    if detector.feed is not Feed.REQUESTS:
        pytest.skip("levels are learned from requests")
    engine = Engine([detector], DetectorOptions())
    emitted = []
    for number, seen in enumerate(observations(detector, 600, 0)):
        slower = replace(seen, latency=seen.latency * (1 + number / 600), mean=seen.mean * (1 + number / 600))
        emitted += engine.observe(detector, "k", slower)
    assert emitted == []


def test_no_observation_gives_more_than_it_was_asked(detector: Detector[Any, Any]) -> None:
    state = taught(detector)
    for seen in observations(detector, 40, 10):
        for finding in detector.judge(state, seen):
            assert finding.level in Level
            assert finding.key


SIEVING = [name for name in NAMES if isinstance(DETECTORS.get(name)(DetectorOptions()), Sieving)]


@pytest.mark.parametrize("name", SIEVING)
@pytest.mark.parametrize("limit", [256e6, math.nan])
def test_what_begins_nothing_is_not_suspicious(name: str, limit: float) -> None:
    detector, chance = DETECTORS.get(name)(DetectorOptions()), np.random.default_rng(3)
    state, passed, found, value = detector.new_state(), 0, 0, 80e6
    for number in range(2_000):
        value += float(chance.choice([3e6, 3e6, 3e6, 3e6, 3e6, -2e6])) * (1.0 if number % 200 < 90 else -0.5)
        at_ns = BEGIN_NS + number * 5 * NS
        seen = GaugePoint(series=MEMORY, at_ns=at_ns, value=value, limit=limit, interval_s=5.0)
        suspicious = any(finding.level >= Level.SUSPICIOUS for finding in detector.judge(state, seen))
        begins_nothing = detector.begins_nothing(state, seen)  # type: ignore[attr-defined]  # of Sieving
        assert not (begins_nothing and suspicious)
        passed, found = passed + begins_nothing, found + suspicious
        detector.learn(state, seen)
        detector.note(state, seen)
    assert passed > 0
    assert found > 0 or math.isnan(limit)
