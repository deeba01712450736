"""Scoring a batch while the ones before are judged changes nothing but the time it takes."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import pytest

from libs.contracts.topics import TELEMETRY_METRICS, topics
from libs.observability.metrics import ServiceMetrics
from libs.streaming.handler import Emit, Event
from services.detector.counters import DetectorCounters
from services.detector.detector import Detector, DetectorOptions, Feed
from services.detector.detectors.trend import Trend, TrendState
from services.detector.finding import Finding
from services.detector.gauges import GaugePoint
from services.detector.handler import DetectorHandler
from services.detector.metric_partition import MetricPartition
from services.detector.scoring import ScoringConfig, SeriesBank
from services.detector.service import all_detectors
from tests.unit.services.detector.simulated_shop import Fault, Shop


@pytest.fixture(scope="module")
def events() -> list[Event]:
    """Four minutes of metrics with a leak, on one partition per service."""
    shop = Shop(seed=5, seconds=240, metric_series=15, faults=(Fault("leak", "cart", 120, 240, 3e6),))
    found: list[Event] = []
    for topic, record in shop.arrivals():
        if topic == TELEMETRY_METRICS:
            service = record.service  # type: ignore[union-attr]  # telemetry has one
            partition = zlib.crc32(service.encode()) % topics()[topic].partitions
            found.append(Event(topic=topic, partition=partition, offset=len(found), key=service, record=record))
    return found


def new_handler(*, ahead: bool, detectors: Sequence[Detector[Any, Any]] | None = None) -> DetectorHandler:
    options = DetectorOptions()
    counters = DetectorCounters(ServiceMetrics().registry)
    return DetectorHandler(
        detectors or all_detectors(options), options, lateness_s=2.0, counters=counters, scores_ahead=ahead
    )


@pytest.fixture
def ahead() -> Iterator[DetectorHandler]:
    handler = new_handler(ahead=True)
    yield handler
    handler.close()


def in_batches(handler: DetectorHandler, events: Sequence[Event], size: int) -> list[Emit]:
    return [e for start in range(0, len(events), size) for e in handler.handle(events[start : start + size])]


def states(handler: DetectorHandler) -> dict[tuple[str, int], tuple[int, bytes] | None]:
    return {place: handler.snapshot(place) for place in sorted(handler.places())}


@pytest.mark.parametrize("size", [2, 17, 1000])
def test_the_anomalies_and_the_state_are_the_same(events: list[Event], ahead: DetectorHandler, size: int) -> None:
    plain = new_handler(ahead=False)
    expected = in_batches(plain, events, 1)
    assert expected
    assert in_batches(ahead, events, size) == expected
    assert states(ahead) == states(plain)


def test_batches_that_come_again_change_nothing(events: list[Event], ahead: DetectorHandler) -> None:
    expected = in_batches(new_handler(ahead=False), events, 1)
    again = [one for start in range(0, len(events), 5) for one in (*events[start : start + 5], events[start])]
    emits = in_batches(ahead, again, 50)
    assert [emit for number, emit in enumerate(emits) if emit not in emits[:number]] == expected


class Stumbling(Trend):
    """Fails on what one service says at one moment, as a bug would."""

    name: ClassVar[str] = "trend"
    feed: ClassVar[Feed] = Feed.GAUGES
    falls_ns: ClassVar[int] = 0

    def learn(self, state: TrendState, seen: GaugePoint) -> None:
        if seen.at_ns == self.falls_ns and seen.service == "cart":
            raise ZeroDivisionError
        super().learn(state, seen)

    def judge(self, state: TrendState, seen: GaugePoint) -> Sequence[Finding]:
        return super().judge(state, seen)


def test_what_was_begun_before_a_bug_is_judged_after_it(events: list[Event]) -> None:
    carts = [event for event in events if event.key == "cart"]
    places = {event.partition for event in carts}
    mine = [event for event in events if event.partition in places]
    Stumbling.falls_ns = max(MetricPartition.parse(_partition(), carts[20].record).times.tolist())  # type: ignore[arg-type]
    results = []
    for is_ahead in (False, True):
        handler = new_handler(ahead=is_ahead, detectors=[Stumbling(DetectorOptions())])
        emits: list[Emit] = []
        for start in range(0, len(mine), 40):
            batch = mine[start : start + 40]
            try:
                emits += handler.handle(batch)
            except ZeroDivisionError:
                for event in batch:
                    try:
                        emits += handler.handle([event])
                    except ZeroDivisionError:
                        assert event is carts[20]
        handler.close()
        results.append((emits, states(handler)))
    assert results[0] == results[1]
    assert results[0][0]


def _partition() -> MetricPartition:
    return MetricPartition([], DetectorOptions(), lambda _: 0)


def test_series_that_take_each_others_place_are_scored_one_after_the_other(events: list[Event]) -> None:
    outcomes = []
    for is_ahead in (False, True):
        handler = new_handler(ahead=is_ahead)
        handler.handle(events[:1])
        place = (events[0].topic, events[0].partition)
        mine = [event for event in events[1:] if event.partition == place[1]]
        partition = handler._partitions[place]
        assert isinstance(partition, MetricPartition)
        partition._bank = SeriesBank(ScoringConfig(max_series=20))
        emits = in_batches(handler, mine, 30 if is_ahead else 1)
        handler.close()
        outcomes.append((emits, partition._bank.evicted_series, states(handler)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1] > 0


def test_what_fails_together_is_scored_alone(
    events: list[Event], ahead: DetectorHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = in_batches(new_handler(ahead=False), events, 1)
    score = MetricPartition._score

    def failing(partition: MetricPartition, batches: Sequence[Any]) -> list[Any]:
        if len(batches) > 1:
            raise ZeroDivisionError
        return score(partition, batches)

    monkeypatch.setattr(MetricPartition, "_score", failing)
    assert in_batches(ahead, events, 20) == expected
