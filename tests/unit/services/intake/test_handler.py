"""The Collector's topics: formats are told apart, and a batch that comes again gives the same batches again."""

import pytest
from prometheus_client import CollectorRegistry

from libs.errors import InvalidMessage
from libs.observability.log import Logger
from libs.streaming.handler import Event
from services.intake.counters import IntakeCounters
from services.intake.handler import CollectorHandler
from services.intake.normalise.normaliser import Normaliser
from services.intake.recording import to_line
from tests.unit.services.intake.requests import NOON, Request, counter, gauge, log, metrics, span


@pytest.fixture
def handler() -> CollectorHandler:
    counters = IntakeCounters(CollectorRegistry())
    return CollectorHandler(Normaliser(), lambda: NOON, counters, Logger("test", level="error"))


def event(request: Request | bytes, topic: str = "otlp_metrics", offset: int = 0, **headers: bytes) -> Event:
    payload = request if isinstance(request, bytes) else request.SerializeToString()
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Event(topic=topic, partition=0, offset=offset, key="", record=payload, headers=named)


def test_each_topic_carries_its_signal(handler: CollectorHandler) -> None:
    emits = handler.handle([event(metrics(gauge(1))), event(log(), "otlp_logs"), event(span(), "otlp_spans")])
    assert [emit.topic for emit in emits] == ["telemetry-metrics", "telemetry-logs", "telemetry-spans"]
    assert {emit.key for emit in emits} == {"cart"}


def test_json_is_told_by_its_first_byte_or_by_its_header(handler: CollectorHandler) -> None:
    (emit,) = handler.handle([event(metrics(gauge(1)))])
    as_json = to_line(emit.record).encode()  # type: ignore[arg-type]
    assert handler.handle([event(as_json, offset=1)]) == [emit]
    assert handler.handle([event(b"\n" + as_json, offset=2, content_type=b"application/json")]) == [emit]


@pytest.mark.parametrize("payload", [b"\xff\xff", b'{"resourceMetrics":5}'])
def test_a_payload_that_is_wrong_is_an_invalid_message(handler: CollectorHandler, payload: bytes) -> None:
    with pytest.raises(InvalidMessage):
        handler.handle([event(payload)])


def test_a_batch_that_comes_again_gives_the_same_rates(handler: CollectorHandler) -> None:
    handler.handle([event(metrics(counter(0, 0)), offset=0)])
    handler.tick(NOON)
    batch = [event(metrics(counter(10, 10)), offset=1), event(metrics(counter(30, 20)), offset=2)]
    first = handler.handle(batch)
    assert len(first) == 2
    assert handler.handle(batch) == first
    handler.tick(NOON)
    assert handler.handle([event(metrics(counter(30, 20)), offset=2)]) == []


def test_a_batch_with_a_bad_message_is_undone_and_then_handled_one_by_one(handler: CollectorHandler) -> None:
    handler.handle([event(metrics(counter(0, 0)), offset=0)])
    handler.tick(NOON)
    good, bad, next_one = (
        event(metrics(counter(10, 10)), offset=1),
        event(b"\xff", offset=2),
        event(metrics(counter(30, 20)), offset=3),
    )
    with pytest.raises(InvalidMessage):
        handler.handle([good, bad, next_one])
    assert len(handler.handle([good])) == 1
    with pytest.raises(InvalidMessage):
        handler.handle([bad])
    assert len(handler.handle([next_one])) == 1
