"""The same fault twice through recorder, ticketing and investigator: the second ticket shows what the first taught."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Signal
from libs.contracts.codec import Codec
from libs.contracts.columns import pack_int64, unpack_int64
from libs.contracts.command import Command, CommandKind
from libs.contracts.document import IncidentDocument
from libs.contracts.investigation import CauseKind, Hypothesis
from libs.contracts.records import Record
from libs.contracts.remediation import Mode, RemediationChanged, RunState
from libs.contracts.telemetry import ChangeKind, MetricBatch, SpanBatch
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.settings import Settings
from libs.streaming.handler import Emit, Handler
from paramedic.pipeline import Pipeline
from services.investigator.service import handler as investigator
from services.recorder.service import handler as recorder
from services.ticketing.service import handler as ticketing
from tests.unit.services.investigator.shop_telemetry import BEGAN, Fault, Shop, change, incident

HOUR: Final = timedelta(hours=1)
SLOW_CATALOG: Final = Fault(slow_ms={"catalog": 300}, changes=(change(ChangeKind.DEPLOY, "catalog", 8.0, actor="ann"),))


@dataclass(slots=True)
class World:
    """Three services on one pipeline, fed with runs of the simulated shop.

    Attributes:
        pipeline: The services.
        platform: Their stores.
        times: The current run's place in time, in hours after the first.
    """

    pipeline: Pipeline
    platform: Platform
    times: int = -1

    def fault(self, fault: Fault, *affected: str) -> IncidentDocument:
        """One run of the shop with a fault, an hour after the one before; the ticket as it stands after 30 s of it."""
        self.times += 1
        spans, metrics = Shop(fault, seed=self.times + 1)._batches()
        self.push("telemetry-spans", *(_later(batch, self.times) for batch in spans))
        self.push("telemetry-metrics", *(_later(batch, self.times) for batch in metrics))
        moved = [
            replace(one, id=f"{one.id}/{self.times}", timestamp=one.timestamp + self.times * HOUR)
            for one in fault.changes
        ]
        self.push("changes", *moved)
        self.push("anomalies", *self.anomalies(*affected))
        self.tick(30)
        return self.documents()[-1]

    def anomalies(self, *affected: str, closed: bool = False) -> list[AnomalyDetected]:
        shift = self.times * HOUR
        found = []
        for one in incident(*affected, signals=(Signal.LATENCY,)).anomalies:
            moved = replace(
                one,
                id=f"{one.id}/{self.times}",
                started_at=one.started_at + shift,
                detected_at=one.detected_at + shift,
                updated_at=one.updated_at + shift,
            )
            if closed:
                at = BEGAN + shift + timedelta(seconds=60)
                moved = replace(moved, state=EpisodeState.CLOSED, updated_at=at, closed_at=at)
            found.append(moved)
        return found

    def fixed(self, document: IncidentDocument, action: str, *affected: str) -> None:
        """A fix is verified: every signal is back, the run succeeds, the ticket is resolved."""
        at = BEGAN + self.times * HOUR + timedelta(seconds=70)
        self.push("anomalies", *self.anomalies(*affected, closed=True))
        assert document.investigation is not None
        run = RemediationChanged(
            id=f"run-{document.incident.id}",
            incident_id=document.incident.id,
            pattern="roll-back-deploy",
            mode=Mode.AUTO,
            action=action,
            target=document.investigation.hypotheses[0].service,
            state=RunState.SUCCEEDED,
            version=5,
            fix=f"{action} catalog to 1.0",
            requested_at=at,
            updated_at=at,
        )
        self.push("remediations", run)

    def confirmed(self, document: IncidentDocument, service: str, kind: CauseKind, text: str) -> None:
        """A person says what it was."""
        command = Command(
            id=f"confirm-{document.incident.id}",
            kind=CommandKind.CONFIRM_ROOT_CAUSE,
            target=document.incident.number,
            actor="ann",
            arguments={"service": service, "kind": kind.value, "text": text, "fixed_by": "an index"},
            issued_at=BEGAN + self.times * HOUR + timedelta(seconds=80),
        )
        self.push("commands", command)

    def push(self, topic: str, *records: Record) -> None:
        self.pipeline.push([Emit(topic=topic, key="key", record=record) for record in records])

    def tick(self, seconds: float) -> None:
        self.pipeline.tick(BEGAN + self.times * HOUR + timedelta(seconds=seconds))

    def documents(self) -> list[IncidentDocument]:
        found = [self.platform.incidents.get(f"INC-{number:06d}") for number in (1, 2, 3)]
        return [document for document in found if document is not None]


def _later(batch: SpanBatch | MetricBatch, hours: int) -> SpanBatch | MetricBatch:
    """The same batch some hours later."""
    batch = replace(batch, observed_at=batch.observed_at + hours * HOUR)
    shift = hours * int(HOUR.total_seconds()) * 1_000_000_000
    if isinstance(batch, SpanBatch):
        return replace(batch, starts=pack_int64(unpack_int64(batch.starts, "starts") + shift))
    return replace(batch, timestamps=pack_int64(unpack_int64(batch.timestamps, "timestamps") + shift))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    platform = Platform(
        service="test",
        settings=Settings(data_dir=tmp_path, model=None, telemetry_retention_s=7 * 86_400.0),
        log=Logger("test", level="error"),
        metrics=ServiceMetrics(),
        codec=Codec(),
        clock=lambda: BEGAN,
    )
    services: dict[str, Handler] = {
        "recorder": recorder(platform.settings, platform),
        "ticketing": ticketing(platform.settings, platform),
        "investigator": investigator(platform.settings, platform),
    }
    pipeline = Pipeline(services)
    yield World(pipeline=pipeline, platform=platform)
    pipeline.close()
    platform.incidents.close()
    platform.telemetry.close()


def leading(document: IncidentDocument) -> Hypothesis:
    assert document.investigation is not None
    return document.investigation.hypotheses[0]


def of(document: IncidentDocument, service: str) -> Hypothesis:
    assert document.investigation is not None
    return next(one for one in document.investigation.hypotheses if one.service == service)


def history_lines(hypothesis: Hypothesis) -> list[str]:
    return [line.text for line in hypothesis.evidence_for if line.source.startswith("incident ")]


def test_the_second_ticket_shows_cause_and_fix_of_the_first_and_counts_them(world: World) -> None:
    first = world.fault(SLOW_CATALOG, "gateway", "catalog")
    assert (leading(first).service, leading(first).kind) == ("catalog", CauseKind.DEPLOY)
    assert history_lines(leading(first)) == []
    world.fixed(first, "rollback_deploy", "gateway", "catalog")

    second = world.fault(SLOW_CATALOG, "gateway", "catalog")
    assert (first.incident.number, second.incident.number) == ("INC-000001", "INC-000002")
    assert second.investigation is not None
    for [past, *_] in (second.context.similar_incidents, second.investigation.similar_incidents):
        assert (past.number, past.similarity) == ("INC-000001", 1.0)
        assert (past.root_cause_service, past.root_cause_kind) == ("catalog", "deploy")
        assert (past.confirmed_by, past.fixed_by) == ("verified_fix", "rollback_deploy catalog to 1.0")
    [line] = history_lines(leading(second))
    assert line.startswith("INC-000001 looked 100% alike; its cause was in catalog: deploy of catalog")
    assert line.endswith("(confirmed by a verified fix, fixed by rollback_deploy catalog to 1.0)")
    assert leading(second).confidence >= leading(first).confidence


def test_the_first_ticket_does_not_learn_from_the_second_or_from_itself(world: World) -> None:
    first = world.fault(SLOW_CATALOG, "gateway", "catalog")
    world.fixed(first, "rollback_deploy", "gateway", "catalog")
    world.fault(SLOW_CATALOG, "gateway", "catalog")
    asked = Command(id="again", kind=CommandKind.INVESTIGATE, target="INC-000001", actor="ann", issued_at=BEGAN)
    world.push("commands", asked)
    again = world.documents()[0]
    assert again.investigation is not None
    assert again.investigation.revision > 1
    assert again.investigation.similar_incidents == ()
    assert history_lines(leading(again)) == []


def test_what_a_person_corrected_is_believed_less_the_next_time(world: World) -> None:
    plain = Fault(slow_ms={"catalog": 300})
    first = world.fault(plain, "gateway", "catalog")
    assert leading(first).service == "catalog"
    world.push("anomalies", *world.anomalies("gateway", "catalog", closed=True))
    world.confirmed(first, "inventory", CauseKind.SATURATION, "its pool is exhausted, catalog only waits")

    second = world.fault(plain, "gateway", "catalog")
    assert of(second, "catalog").confidence < leading(first).confidence
    assert any("ann corrected it to inventory" in line.text for line in of(second, "catalog").evidence_against)
    assert history_lines(of(second, "inventory")) == [
        "INC-000001 looked 100% alike; its cause was in inventory: its pool is exhausted, catalog only waits "
        "(confirmed by ann, fixed by an index)"
    ]


def test_a_deploy_that_was_to_blame_does_not_make_an_unrelated_one_guilty(world: World) -> None:
    first = world.fault(SLOW_CATALOG, "gateway", "catalog")
    world.fixed(first, "rollback_deploy", "gateway", "catalog")
    unrelated = Fault(slow_ms={"catalog": 300}, changes=(change(ChangeKind.DEPLOY, "payments", 8.0, actor="bob"),))
    second = world.fault(unrelated, "gateway", "catalog")
    assert leading(second).service == "catalog"
    assert leading(second).kind is not CauseKind.DEPLOY
    assert leading(second).change_id is None
    assert history_lines(leading(second)) != []
