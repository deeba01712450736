"""A telemetry store, traffic to fill it, and what rules see of it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from libs.stores.open import open_telemetry_store
from libs.stores.telemetry import TelemetryStore
from services.recommender.observe import SETTLE_S
from services.recommender.rule import Finding, load_rules
from tests.unit.services.recommender.traffic import Traffic, scene

Find = Callable[..., Sequence[Finding]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TelemetryStore]:
    made = open_telemetry_store("sqlite", tmp_path / "stores")
    yield made
    made.close()


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
def find(store: TelemetryStore, traffic: Traffic) -> Find:
    """Write the traffic and let a rule look at it."""

    def look(rule: str, **thresholds: Any) -> Sequence[Finding]:
        traffic.write(store)
        kind = load_rules().get(rule)
        return kind().find(scene(store, end_s=traffic.ends_s + SETTLE_S), kind.thresholds(**thresholds))

    return look
