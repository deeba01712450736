"""The records of a shop with a bad deploy of catalog: for the console's tests."""

from dataclasses import replace
from datetime import datetime, timedelta

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Severity, Signal
from libs.contracts.codec import utc_from_ns
from libs.contracts.document import (
    IncidentContext,
    IncidentDocument,
    LinkedTicket,
    LogSample,
    TimelineEntry,
    TopologyEdge,
    TraceSample,
)
from libs.contracts.incident import (
    AffectedUsers,
    IncidentChange,
    IncidentChanged,
    IncidentState,
    Level,
    Priority,
)
from libs.contracts.investigation import (
    CauseKind,
    Evidence,
    Hypothesis,
    InvestigationCompleted,
    InvestigationStep,
    RecommendedAction,
    SimilarIncident,
    StepStatus,
)
from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from libs.contracts.remediation import Mode, RemediationChanged, RunState, RunStep
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from tests.unit.libs.stores.telemetry_samples import at

START_S = 600.0  # the deviation begins ten minutes into the telemetry
TRACE = 0xABCDEF01


def moment(seconds: float) -> datetime:
    """Seconds after the deviation began."""
    return utc_from_ns(at(START_S + seconds))


NOW = moment(95)


def an_anomaly(**fields: object) -> AnomalyDetected:
    """p95 of catalog ten times its usual."""
    given: dict[str, object] = {
        "id": "a-catalog",
        "state": EpisodeState.UPDATED,
        "service": "catalog",
        "signal": Signal.LATENCY,
        "metric": "span.server.duration",
        "statistic": "p95",
        "unit": "s",
        "detector": "latency",
        "severity": Severity.HIGH,
        "score": 0.98,
        "observed": 0.412,
        "expected": 0.05,
        "expected_lower": 0.03,
        "expected_upper": 0.075,
        "deviation": 31.5,
        "started_at": moment(0),
        "detected_at": moment(10),
        "updated_at": moment(60),
        "window_s": 5.0,
        "explanation": "p95 of catalog 412 ms, expected 30 to 75 ms",
        "trace_ids": (f"{TRACE:032x}",),
    }
    return AnomalyDetected(**{**given, **fields})  # type: ignore[arg-type]


def a_core(number: int = 42, **fields: object) -> IncidentChanged:
    """An open incident of the catalog."""
    given: dict[str, object] = {
        "id": f"incident-{number}",
        "number": f"INC-{number:06d}",
        "version": 3,
        "change": IncidentChange.ANOMALY_ADDED,
        "title": "catalog: p95 latency 412 ms, expected 30 to 75 ms",
        "state": IncidentState.NEW,
        "priority": Priority.P1,
        "impact": Level.HIGH,
        "urgency": Level.HIGH,
        "services": ("catalog", "gateway"),
        "neighbours": ("cart", "checkout"),
        "fingerprint": ("catalog|latency|span.server.duration|high",),
        "anomalies": (
            an_anomaly(),
            an_anomaly(
                id="a-gateway",
                service="gateway",
                peer="catalog",
                metric="span.client.errors",
                statistic="ratio",
                unit="ratio",
                signal=Signal.ERRORS,
                severity=Severity.CRITICAL,
                observed=0.18,
                expected=0.001,
                expected_lower=0.0,
                expected_upper=0.01,
                started_at=moment(5),
                detected_at=moment(15),
                explanation="errors of gateway to catalog 18 %, expected up to 1 %",
            ),
        ),
        "affected_users": AffectedUsers(
            count=217, basis="distinct user.id of failed or slow server spans of gateway", sample=("u-0042", "u-0107")
        ),
        "started_at": moment(0),
        "opened_at": moment(10),
        "updated_at": moment(60),
        "observed_at": moment(61),
    }
    return IncidentChanged(**{**given, **fields})  # type: ignore[arg-type]


DEPLOY = ChangeEvent(
    id="change-1",
    kind=ChangeKind.DEPLOY,
    service="catalog",
    timestamp=moment(-20),
    version="2.4.0",
    previous_version="2.3.0",
    summary="catalog 2.4.0: new product search",
    actor="deploy-bot",
)
FLAG = ChangeEvent(
    id="change-2",
    kind=ChangeKind.FLAG,
    service="cart",
    timestamp=moment(-200),
    summary="flag gift-wrap on",
    actor="eva",
)


def an_investigation(incident_id: str = "incident-42", **fields: object) -> InvestigationCompleted:
    """The deploy is to blame."""
    roll_back = RecommendedAction(
        action="rollback_deploy",
        target="catalog",
        parameters={"to_version": "2.3.0"},
        rationale="the deviation began 20 s after 2.4.0 went live; 2.3.0 served the same load within its band",
        risk="medium",
    )
    leader = Hypothesis(
        rank=1,
        service="catalog",
        kind=CauseKind.DEPLOY,
        cause="deploy 2.4.0 of catalog slowed its product queries",
        confidence=0.86,
        change_id="change-1",
        evidence_for=(
            Evidence(text="catalog 2.4.0 went live 20 s before the deviation began", weight=0.9, source="changes"),
            Evidence(text="own excess of catalog 340 ms of the 352 ms that gateway lost", weight=0.8, source="red"),
            Evidence(text="SELECT products takes 310 ms on 2.4.0, 12 ms on 2.3.0", weight=0.7, source="traces"),
        ),
        evidence_against=(
            Evidence(text="one instance still ran 2.3.0 and was slow for 4 s", weight=0.2, source="red"),
        ),
        actions=(roll_back,),
    )
    other = Hypothesis(
        rank=2,
        service="cart",
        kind=CauseKind.FLAG,
        cause="flag gift-wrap of cart",
        confidence=0.07,
        evidence_for=(Evidence(text="switched 3 min before", weight=0.2, source="changes"),),
        evidence_against=(Evidence(text="cart itself stayed within its band", weight=0.8, source="red"),),
    )
    given: dict[str, object] = {
        "id": f"v-{incident_id}",
        "incident_id": incident_id,
        "revision": 1,
        "as_of": moment(20),
        "started_at": moment(21),
        "duration_s": 0.8,
        "hypotheses": (leader, other),
        "recommended_actions": (
            roll_back,
            RecommendedAction(action="", target="catalog", rationale="add the missing index before 2.4.1", risk="low"),
        ),
        "steps": (
            InvestigationStep(
                tool="changes",
                query="changes of catalog, last 30 min",
                status=StepStatus.SUCCESS,
                duration_s=0.01,
                finding="1 deploy",
            ),
            InvestigationStep(
                tool="series",
                query="cpu of catalog",
                status=StepStatus.NO_DATA,
                duration_s=0.02,
                finding="no such metric",
            ),
        ),
        "gaps": ("no CPU metrics of catalog: saturation cannot be ruled out",),
        "runbook": "roll-back-deploy",
    }
    return InvestigationCompleted(**{**given, **fields})  # type: ignore[arg-type]


def a_run(incident_id: str = "incident-42", **fields: object) -> RemediationChanged:
    """A rollback that waits for approval."""
    given: dict[str, object] = {
        "id": f"run-{incident_id}",
        "incident_id": incident_id,
        "pattern": "roll-back-deploy",
        "mode": Mode.APPROVE,
        "action": "rollback_deploy",
        "target": "catalog",
        "parameters": {"to_version": "2.3.0"},
        "state": RunState.AWAITING_APPROVAL,
        "version": 5,
        "anomaly_ids": ("a-catalog",),
        "detection": "p95 of catalog 412 ms, expected 30 to 75 ms [latency]",
        "steps": (
            RunStep(name="capture_evidence", status="success", at=moment(22), detail="2 anomalies, 1 change"),
            RunStep(name="policy", status="success", at=moment(22), detail="mode approve; confidence 0.86"),
            RunStep(
                name="dry_run",
                status="success",
                at=moment(23),
                detail="start 2 instances of catalog 2.3.0; end 2 of 2.4.0",
            ),
            RunStep(name="approval", status="waiting", at=moment(23), detail="waits for a human"),
        ),
        "requested_at": moment(21),
        "updated_at": moment(23),
        "reason": "waits for a human: start 2 instances of catalog 2.3.0; end 2 of 2.4.0",
    }
    return RemediationChanged(**{**given, **fields})  # type: ignore[arg-type]


def a_context() -> IncidentContext:
    """What ticketing gathered."""
    return IncidentContext(
        traces=(
            TraceSample(
                trace_id=f"{TRACE:032x}",
                root_service="gateway",
                root_name="GET /products",
                started_at=moment(30),
                duration_s=0.431,
                spans=6,
                errors=2,
                services=("gateway", "catalog"),
                reason="slow",
            ),
            TraceSample(
                trace_id=f"{TRACE + 1:032x}",
                root_service="gateway",
                root_name="GET /cart",
                started_at=moment(33),
                duration_s=0.4,
                spans=4,
                errors=1,
                services=("gateway", "cart"),
                reason="error",
            ),
        ),
        logs=(
            LogSample(
                timestamp=moment(31),
                service="catalog",
                severity=17,
                logger="catalog.db",
                body="query timed out after <n> ms: SELECT * FROM products WHERE name LIKE <*>",
                trace_id=f"{TRACE:032x}",
                count=1_284,
            ),
            LogSample(
                timestamp=moment(32),
                service="gateway",
                severity=13,
                logger="gateway.proxy",
                body="retrying GET /products (attempt <n>)",
                count=311,
            ),
        ),
        changes=(FLAG, DEPLOY),
        topology=(
            TopologyEdge(caller="gateway", callee="catalog", calls=820, errors=148),
            TopologyEdge(caller="gateway", callee="cart", calls=400),
            TopologyEdge(caller="gateway", callee="checkout", calls=120),
            TopologyEdge(caller="checkout", callee="cart", calls=118),
            TopologyEdge(caller="checkout", callee="payments", calls=110, errors=1),
            TopologyEdge(caller="checkout", callee="inventory", calls=115),
            TopologyEdge(caller="payments", callee="bank.example", calls=110),
        ),
        similar_incidents=(
            SimilarIncident(
                id="incident-7",
                number="INC-000007",
                title="catalog: p95 latency 388 ms",
                similarity=0.91,
                root_cause="deploy 2.1.0 queried without an index",
                root_cause_service="catalog",
                confirmed_by="verified_fix",
                fixed_by="rollback_deploy",
                opened_at=moment(-9 * 86_400),
            ),
        ),
    )


def a_document(**fields: object) -> IncidentDocument:
    """The whole ticket."""
    given: dict[str, object] = {
        "incident": a_core(),
        "context": a_context(),
        "timeline": (
            TimelineEntry(
                id="t1", at=moment(10), actor="ticketing", kind="anomaly", text="opened: p95 of catalog 412 ms"
            ),
            TimelineEntry(
                id="t2", at=moment(15), actor="ticketing", kind="anomaly", text="errors of gateway to catalog 18 %"
            ),
            TimelineEntry(
                id="t3", at=moment(22), actor="investigator", kind="investigation", text="deploy 2.4.0 of catalog, 86 %"
            ),
            TimelineEntry(
                id="t4",
                at=moment(23),
                actor="remediation",
                kind="remediation",
                text="rollback_deploy waits for approval",
            ),
        ),
        "tickets": (LinkedTicket(system="webhook", key="OPS-1", url="https://tickets.example/OPS-1"),),
        "investigation": an_investigation(),
        "remediation": (a_run(),),
    }
    return IncidentDocument(**{**given, **fields})  # type: ignore[arg-type]


def a_recommendation() -> CodeChangeRecommended:
    """An index that is missing."""
    return CodeChangeRecommended(
        id="rec-1",
        rule="missing_index",
        service="catalog",
        title="catalog searches products without an index",
        location=CodeLocation(
            repository="shop", path="catalog/products.py", line=88, function="search", version="2.4.0"
        ),
        evidence=(Evidence(text="SELECT products: 310 ms median over 1,284 calls", weight=0.9, source="traces"),),
        benefit="298 ms x 0.6 calls a request = 179 ms a request",
        benefit_value=179.0,
        benefit_unit="ms/request",
        confidence=0.82,
        diff="--- a/catalog/schema.sql\n+++ b/catalog/schema.sql\n@@ -4,3 +4,4 @@\n CREATE TABLE products (\n"
        "-  name TEXT\n"
        "+  name TEXT COLLATE NOCASE\n );\n+CREATE INDEX products_by_name ON products (name);\n",
        validation="applies cleanly; the query plan uses the index",
        incident_id="incident-42",
        recommended_at=moment(90),
    )


def at_rest(core: IncidentChanged, opened_at: datetime) -> IncidentChanged:
    """The incident as closed long ago."""
    return replace(
        core,
        state=IncidentState.CLOSED,
        opened_at=opened_at,
        started_at=opened_at - timedelta(seconds=10),
        updated_at=opened_at + timedelta(minutes=5),
        resolved_at=opened_at + timedelta(minutes=4),
    )
