"""The recommender as it runs: the embedded broker, SQLite stores, a git repository, the real loop and its thread."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

import pytest

from libs.contracts.codec import Codec, from_json
from libs.contracts.command import Command, CommandKind
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.topics import COMMANDS, RECOMMENDATIONS
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from services.recommender.service import build
from tests.unit.services.recommender.checkouts import checkout
from tests.unit.services.recommender.test_handler import FILE, by_rule, weak
from tests.unit.services.recommender.traffic import BEGAN

LIMIT_S = 60.0


@pytest.fixture
def platform(tmp_path: Path, embedded: EmbeddedBroker) -> Iterator[Platform]:
    checkout(tmp_path / "checkout")
    (tmp_path / "file.toml").write_text(FILE)
    settings = Settings(
        data_dir=tmp_path / "data",
        broker=embedded.bootstrap,
        kafka={"session.timeout.ms": 1000, "heartbeat.interval.ms": 200},
        recommendations_file=tmp_path / "file.toml",
        model=None,
    )
    made = Platform(
        service="recommender",
        settings=settings,
        log=Logger("test", level="error"),
        metrics=ServiceMetrics(),
        codec=Codec(),
    )
    yield made
    made.incidents.close()
    made.telemetry.close()


class Told:
    """Reads the topic `recommendations` from its beginning."""

    def __init__(self, broker: KafkaBroker) -> None:
        self._consumer = broker.consumer("test-told", [RECOMMENDATIONS])
        self._codec = Codec()
        self.found: list[CodeChangeRecommended] = []

    def wait_for(self, enough: Callable[[list[CodeChangeRecommended]], bool]) -> list[CodeChangeRecommended]:
        deadline_s = monotonic() + LIMIT_S
        while not enough(self.found):
            assert monotonic() < deadline_s, f"only {len(self.found)} recommendations in {LIMIT_S:.0f} s"
            for message in self._consumer.poll(100, 0.2):
                record = self._codec.decode(RECOMMENDATIONS, message.value)
                assert isinstance(record, CodeChangeRecommended)
                self.found.append(record)
        return self.found

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture
def told(broker: KafkaBroker) -> Iterator[Told]:
    made = Told(broker)
    yield made
    made.close()


@contextmanager
def running(platform: Platform) -> Iterator[None]:
    loop = build(platform.settings, platform)
    thread = threading.Thread(target=loop.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join(LIMIT_S)
        assert not thread.is_alive()


def test_telemetry_becomes_an_event_and_a_command_decides_it(
    platform: Platform, broker: KafkaBroker, told: Told
) -> None:
    weak(platform)
    with running(platform):
        found = by_rule(told.wait_for(lambda found: len(found) >= 2))
        loop = found["n_plus_one_calls"]
        assert "asyncio.gather" in loop.diff
        command = Command(
            id="c-1",
            kind=CommandKind.ACCEPT_RECOMMENDATION,
            target=loop.id,
            actor="ada",
            reason="agreed",
            issued_at=BEGAN,
        )
        producer = broker.producer()
        producer.send(COMMANDS, key=loop.id.encode(), value=Codec().encode(COMMANDS, command))
        producer.flush()
        producer.close()
        accepted = told.wait_for(lambda found: found[-1].state == "accepted")[-1]
    assert (accepted.id, accepted.decided_by) == (loop.id, "ada")
    stored = platform.incidents.state(f"recommendation/{loop.id}")
    assert stored is not None
    assert from_json(stored.value, CodeChangeRecommended).state == "accepted"
    assert len([one for one in told.found if one.id == loop.id]) == 2
