"""Asking the running investigator: through the API, until the command is carried out, with a word when it is not."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.document import Section
from libs.contracts.investigation import InvestigationCompleted
from libs.errors import NotFound, Unavailable
from libs.service.settings import Settings
from libs.stores.sqlite_incidents import SqliteIncidentStore
from paramedic.ask_investigator import AskInvestigator
from services.investigator.pending import asked_key
from tests.unit.services.investigator.shop_telemetry import BEGAN, incident

TICKET = incident("gateway")
FIRST = InvestigationCompleted(
    id="r1", incident_id=TICKET.id, revision=1, as_of=BEGAN, started_at=BEGAN, duration_s=0.1
)


class Service:
    """What the services do in the background, one step per look of the asker; time passes as it waits."""

    def __init__(self, store: SqliteIncidentStore, *steps: Callable[["Service"], None]) -> None:
        self.store = store
        self.steps = list(steps)
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.now_s = 0.0

    def send(self, _: Settings, path: str, body: dict[str, Any]) -> Any:
        self.sent.append((path, body))
        return {"command_id": "c1", "detail": "written"}

    def pause(self, seconds: float) -> None:
        self.now_s += seconds
        if self.steps:
            self.steps.pop(0)(self)

    def keep(self, result: InvestigationCompleted) -> None:
        self.store.put(TICKET.id, Section.INVESTIGATION, result)


def carried_out(service: Service) -> None:
    service.keep(replace(FIRST, id="r2", revision=2))
    service.store.put_state(asked_key("c1"), '"done"')


def nothing(_: Service) -> None:
    pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteIncidentStore]:
    made = SqliteIncidentStore(tmp_path / "incidents.sqlite")
    made.put(TICKET.id, Section.INCIDENT, TICKET)
    made.put(TICKET.id, Section.INVESTIGATION, FIRST)
    yield made
    made.close()


def asker(service: Service, model: str | None = None) -> AskInvestigator:
    return AskInvestigator(
        settings=Settings(model=model),
        incidents=service.store,
        send=service.send,
        timer=lambda: service.now_s,
        pause=service.pause,
    )


def test_the_result_of_the_service_is_waited_for(store: SqliteIncidentStore) -> None:
    service = Service(store, nothing, carried_out)
    assert asker(service).ask(TICKET.number, "ann").revision == 2
    assert service.sent == [(f"/api/v1/incidents/{TICKET.id}/investigate", {"actor": "ann"})]


def test_a_service_that_does_nothing_is_told_and_the_command_stays(store: SqliteIncidentStore) -> None:
    service = Service(store)
    with pytest.raises(Unavailable, match="the command is written"):
        asker(service).ask(TICKET.number, "ann")
    assert 60.0 <= service.now_s < 61.0


def test_a_model_that_goes_further_is_waited_for(store: SqliteIncidentStore) -> None:
    def models(service: Service) -> None:
        service.keep(replace(FIRST, id="r3", revision=3, author="scripted:one"))

    service = Service(store, carried_out, nothing, nothing, models)
    assert asker(service, model="scripted:one").ask(TICKET.number, "ann").author == "scripted:one"


def test_a_model_that_does_not_answer_leaves_the_statistical_result(store: SqliteIncidentStore) -> None:
    service = Service(store, carried_out)
    assert asker(service, model="scripted:one").ask(TICKET.number, "ann").revision == 2
    assert 110.0 <= service.now_s < 112.0


def test_an_unknown_incident_is_not_asked_about(store: SqliteIncidentStore) -> None:
    service = Service(store)
    with pytest.raises(NotFound, match="INC-404404"):
        asker(service).ask("INC-404404", "ann")
    assert service.sent == []
