"""An embedded broker for the tests that need a real Kafka protocol."""

from collections.abc import Iterator

import pytest

from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker


@pytest.fixture
def embedded() -> Iterator[EmbeddedBroker]:
    """A fresh in-memory cluster with every declared topic."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def broker(embedded: EmbeddedBroker) -> KafkaBroker:
    """A client of the fresh cluster."""
    # A rebalance of the in-memory cluster lasts the session timeout: 1 s keeps the suite fast.
    return KafkaBroker(embedded.bootstrap, extra={"session.timeout.ms": 1000, "heartbeat.interval.ms": 200})
