"""What the tests of the handler share: a ticket, messages about it, a clock that is set, and what came out."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from libs.contracts.command import Command
from libs.contracts.document import Section
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.telemetry import ChangeEvent
from libs.contracts.topics import CHANGES, COMMANDS, INCIDENTS, INVESTIGATIONS
from libs.service.platform import Platform
from libs.streaming.handler import Emit, Event
from services.investigator.handler import InvestigatorHandler
from services.investigator.service import handler as build_handler
from tests.unit.services.investigator.shop_telemetry import BEGAN, Fault, Shop, incident

TICKET = incident("gateway", "catalog")


class Clock:
    def __init__(self) -> None:
        self.now = BEGAN + timedelta(seconds=30)

    def __call__(self) -> datetime:
        return self.now


def core(platform: Platform) -> InvestigatorHandler:
    return build_handler(platform.settings, platform)


def event(record: IncidentChanged | Command | ChangeEvent, offset: int = 0) -> Event:
    topic = {Command: COMMANDS, ChangeEvent: CHANGES}.get(type(record), INCIDENTS)
    return Event(topic=topic, partition=0, offset=offset, key="", record=record)


def results(emits: Sequence[Emit]) -> list[InvestigationCompleted]:
    assert all(emit.topic == INVESTIGATIONS for emit in emits)
    return [emit.record for emit in emits if isinstance(emit.record, InvestigationCompleted)]


def opened(platform: Platform, ticket: IncidentChanged = TICKET) -> None:
    platform.incidents.put(ticket.id, Section.INCIDENT, ticket)


def record_shop(platform: Platform, now_s: float = 30.0) -> None:
    Shop(Fault(slow_ms={"catalog": 300}), now_s=now_s).write(platform.telemetry)
