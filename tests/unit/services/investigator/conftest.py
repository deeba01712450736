"""Real stores in a temporary folder, and one investigation of a simulated shop."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from libs.contracts.codec import Codec, ns_from_utc
from libs.contracts.incident import IncidentChanged
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.runbooks import SHIPPED, load_runbooks
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.stores.sqlite_incidents import SqliteIncidentStore
from libs.stores.sqlite_telemetry import SqliteTelemetryStore
from services.investigator.protocol import Investigated, investigate
from services.investigator.scene import Scene, scene_of
from tests.unit.services.investigator.handled import Clock
from tests.unit.services.investigator.shop_telemetry import BEGAN, Fault, Shop

Ask = Callable[[Fault, IncidentChanged], Investigated]


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[SqliteTelemetryStore]:
    store = SqliteTelemetryStore(tmp_path / "telemetry.sqlite")
    yield store
    store.close()


@pytest.fixture
def incidents(tmp_path: Path) -> Iterator[SqliteIncidentStore]:
    store = SqliteIncidentStore(tmp_path / "incidents.sqlite")
    yield store
    store.close()


@pytest.fixture
def scene_for(
    telemetry: SqliteTelemetryStore, incidents: SqliteIncidentStore
) -> Callable[[Fault, IncidentChanged], Scene]:
    def build(fault: Fault, ticket: IncidentChanged) -> Scene:
        Shop(fault).write(telemetry)
        return scene_of(
            ticket,
            telemetry,
            incidents,
            as_of_ns=ns_from_utc(ticket.updated_at),
            window_s=5.0,
            runbooks=load_runbooks(SHIPPED),
        )

    return build


@pytest.fixture
def ask(scene_for: Callable[[Fault, IncidentChanged], Scene]) -> Ask:
    return lambda fault, ticket: investigate(scene_for(fault, ticket), revision=1, started_at=BEGAN)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def platform(tmp_path: Path, clock: Clock) -> Iterator[Platform]:
    settings = Settings(data_dir=tmp_path, model=None)
    made = Platform(
        service="investigator",
        settings=settings,
        log=Logger("test", level="error"),
        metrics=ServiceMetrics(),
        codec=Codec(),
        clock=clock,
    )
    yield made
    made.incidents.close()
    made.telemetry.close()
