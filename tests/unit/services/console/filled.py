"""The shop's incident written into real stores through their ports, with a history and telemetry."""

import random
from dataclasses import replace

from libs.contracts.codec import to_json
from libs.contracts.document import (
    IncidentDocument,
    RootCause,
    Section,
)
from libs.contracts.incident import (
    AffectedUsers,
    IncidentState,
    Priority,
)
from libs.contracts.investigation import (
    CauseKind,
    Hypothesis,
)
from libs.contracts.remediation import Mode, RunState, RunStep
from libs.stores.incidents import IncidentStore
from libs.stores.telemetry import TelemetryWriter
from tests.unit.libs.stores.telemetry_samples import CLIENT, SERVER, Span, span_batch
from tests.unit.services.console.shop_incident import (
    DEPLOY,
    NOW,
    START_S,
    TRACE,
    a_context,
    a_core,
    a_document,
    a_recommendation,
    a_run,
    an_anomaly,
    an_investigation,
    at_rest,
    moment,
)

__all__ = [
    "DEPLOY",
    "NOW",
    "TRACE",
    "a_context",
    "a_core",
    "a_document",
    "a_recommendation",
    "a_run",
    "an_anomaly",
    "an_investigation",
    "at_rest",
    "moment",
    "put",
    "put_history",
    "put_recommendation",
    "put_telemetry",
]


def put(store: IncidentStore, document: IncidentDocument) -> None:
    """Write every section that the document has."""
    identity = document.incident.id
    store.put(identity, Section.INCIDENT, document.incident)
    store.put(identity, Section.CONTEXT, document.context)
    store.put(identity, Section.TIMELINE, document.timeline)
    store.put(identity, Section.TICKETS, document.tickets)
    if document.root_cause is not None:
        store.put(identity, Section.ROOT_CAUSE, document.root_cause)
    if document.investigation is not None:
        store.put(identity, Section.INVESTIGATION, document.investigation)
    if document.remediation:
        store.put(identity, Section.REMEDIATION, document.remediation)


def put_history(store: IncidentStore) -> None:
    """Three ended incidents with automatic runs: two successes and a rollback; and one open without a pattern."""
    for number, state, run in (
        (7, IncidentState.CLOSED, RunState.SUCCEEDED),
        (19, IncidentState.CLOSED, RunState.SUCCEEDED),
        (31, IncidentState.RESOLVED, RunState.ROLLED_BACK),
    ):
        identity = f"incident-{number}"
        ago = -86_400 * (42 - number)
        core = a_core(
            number,
            state=state,
            priority=Priority.P3,
            title=f"catalog: p95 latency {300 + number} ms",
            opened_at=moment(ago),
            started_at=moment(ago - 10),
            updated_at=moment(ago + 300),
            resolved_at=moment(ago + 280),
            resolved_by="remediation" if run is RunState.SUCCEEDED else "ada",
        )
        fixed = a_run(
            identity,
            state=run,
            mode=Mode.AUTO,
            applied_at=moment(ago + 30),
            requested_at=moment(ago + 20),
            updated_at=moment(ago + 280),
            fix="rolled catalog back to 2.3.0",
            deploy="2 of 2 instances live",
            verification="both anomalies closed after 25 s",
            reason="verified and held",
        )
        cause = RootCause(
            service="catalog",
            kind="deploy",
            text="bad deploy of catalog",
            confirmed_by="verified_fix",
            confirmed_at=moment(ago + 280),
            fixed_by="rollback_deploy",
        )
        put(
            store,
            replace(
                a_document(),
                incident=core,
                remediation=(fixed,),
                root_cause=cause,
                investigation=an_investigation(identity),
            ),
        )
    leak = a_core(
        43,
        title="payments: calls to bank.example hang",
        priority=Priority.P2,
        state=IncidentState.IN_PROGRESS,
        services=("payments", "checkout"),
        acknowledged_at=moment(40),
        started_at=moment(-400),
        opened_at=moment(-390),
        affected_users=AffectedUsers(count=9, basis="lower bound: distinct user.id of failed server spans"),
    )
    human = a_run(
        "incident-43",
        pattern="",
        action="",
        target="payments",
        parameters={},
        state=RunState.ESCALATED,
        mode=Mode.OBSERVE,
        reason="needs a human: no known pattern for calls to bank.example hang (dependency, confidence 0.74)",
        steps=(RunStep(name="escalate", status="success", at=moment(-360), detail="left to a human"),),
        requested_at=moment(-360),
    )
    waits = Hypothesis(
        rank=1, service="bank.example", kind=CauseKind.DEPENDENCY, cause="bank.example does not answer", confidence=0.74
    )
    put(
        store,
        IncidentDocument(
            incident=leak, remediation=(human,), investigation=an_investigation("incident-43", hypotheses=(waits,))
        ),
    )
    fresh = a_core(
        44,
        title="cart: memory grows 3 MiB a minute",
        priority=Priority.P3,
        services=("cart",),
        affected_users=None,
        started_at=moment(60),
        opened_at=moment(88),
    )
    put(store, IncidentDocument(incident=fresh))


def put_recommendation(store: IncidentStore) -> None:
    """As the recommender will."""
    store.put_state("recommendation/rec-1", to_json(a_recommendation()).decode())


def put_telemetry(store: TelemetryWriter, *, until_s: float = START_S + 90.0) -> None:
    """Ten minutes of a shop, six requests a second; catalog slows down at START_S; and one trace in full."""
    chance = random.Random(7)
    number = 0
    for begin in range(0, int(until_s), 5):
        spans = []
        for _ in range(30):
            number += 1
            slow = begin >= START_S
            duration = chance.uniform(0.2, 0.43) if slow else chance.uniform(0.03, 0.07)
            spans.append(
                Span(
                    trace=number,
                    span=number,
                    name="GET /products",
                    kind=SERVER,
                    start_s=begin + chance.random() * 4,
                    duration_s=duration,
                    status=2 if slow and chance.random() < 0.18 else 0,
                    user=f"u-{number % 300:04d}",
                )
            )
        store.write(spans=[span_batch("catalog", spans, instance="catalog-1", version="2.4.0")])
    base = START_S + 30
    store.write(
        spans=[
            span_batch(
                "gateway",
                [
                    Span(
                        trace=TRACE, span=1, name="GET /products", kind=SERVER, start_s=base, duration_s=0.431, status=2
                    ),
                    Span(
                        trace=TRACE,
                        span=2,
                        parent=1,
                        name="GET catalog",
                        kind=CLIENT,
                        start_s=base + 0.004,
                        duration_s=0.42,
                        peer="catalog",
                        status=2,
                    ),
                    Span(
                        trace=TRACE,
                        span=5,
                        parent=1,
                        name="GET cart",
                        kind=CLIENT,
                        start_s=base + 0.003,
                        duration_s=0.011,
                        peer="cart",
                    ),
                ],
            ),
            span_batch(
                "catalog",
                [
                    Span(
                        trace=TRACE,
                        span=3,
                        parent=2,
                        name="GET /products",
                        kind=SERVER,
                        start_s=base + 0.006,
                        duration_s=0.412,
                        exceptions=({"exception.type": "TimeoutError", "exception.message": "query timed out"},),
                    ),
                    Span(
                        trace=TRACE,
                        span=4,
                        parent=3,
                        name="SELECT products",
                        kind=CLIENT,
                        start_s=base + 0.02,
                        duration_s=0.385,
                        peer="products.db",
                    ),
                ],
            ),
            span_batch(
                "cart",
                [
                    Span(
                        trace=TRACE,
                        span=6,
                        parent=5,
                        name="GET /cart",
                        kind=SERVER,
                        start_s=base + 0.005,
                        duration_s=0.007,
                    )
                ],
            ),
        ],
        changes=[DEPLOY],
    )
