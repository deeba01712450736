"""The recommender as it runs: the embedded broker, SQLite stores, a git repository, the real loop and its thread."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.contracts.codec import Codec, from_json
from libs.contracts.command import Command, CommandKind
from libs.contracts.recommendation import CodeChangeRecommended
from libs.contracts.topics import COMMANDS, RECOMMENDATIONS
from libs.service.platform import Platform
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from services.recommender.service import build
from tests.integration.running_service import Told, platform_of, running
from tests.unit.services.recommender.checkouts import checkout
from tests.unit.services.recommender.test_handler import FILE, by_rule, weak
from tests.unit.services.recommender.traffic import BEGAN

ToldRecommendations = Told[CodeChangeRecommended]


@pytest.fixture
def platform(tmp_path: Path, embedded: EmbeddedBroker) -> Iterator[Platform]:
    checkout(tmp_path / "checkout")
    (tmp_path / "file.toml").write_text(FILE)
    with platform_of("recommender", tmp_path / "data", embedded, recommendations_file=tmp_path / "file.toml") as made:
        yield made


@pytest.fixture
def told(broker: KafkaBroker) -> Iterator[ToldRecommendations]:
    made = Told(broker, RECOMMENDATIONS, CodeChangeRecommended)
    yield made
    made.close()


def test_telemetry_becomes_an_event_and_a_command_decides_it(
    platform: Platform, broker: KafkaBroker, told: ToldRecommendations
) -> None:
    weak(platform)
    with running(platform, build):
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
