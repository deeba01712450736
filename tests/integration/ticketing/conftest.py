"""Ticketing on an embedded broker of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from libs.streaming.kafka import KafkaBroker
from tests.integration.ticketing.running import Running


@pytest.fixture
def running(tmp_path: Path, broker: KafkaBroker) -> Iterator[Running]:
    """The service and a client of it."""
    with Running(tmp_path, broker) as started:
        yield started
