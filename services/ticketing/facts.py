"""What ticketing decides on: the records of its topics, made fit for every store and put in a fixed order."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from libs.contracts.anomaly import AnomalyDetected
from libs.contracts.command import Command
from libs.contracts.document import IncidentContext
from libs.contracts.investigation import Hypothesis, InvestigationCompleted
from libs.contracts.remediation import RemediationChanged
from libs.contracts.telemetry import ChangeEvent
from libs.errors import InvalidMessage
from services.ticketing.episodes import order

_LARGEST: Final = 1e300  # JSON and the stores know no infinity


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """Event time has passed a moment.

    Attributes:
        watermark: Event time up to which telemetry was recorded.
    """

    watermark: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The surroundings of an incident were gathered and differ from what was stored.

    Attributes:
        incident_id: The incident.
        context: What was gathered.
        active_users: Distinct users in the same window, whether they felt it or not.
        until: Event time up to which was gathered.
    """

    incident_id: str
    context: IncidentContext
    active_users: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Remediated:
    """A remediation run with the hypothesis that it acted on.

    Attributes:
        run: The newest state of the run.
        hypothesis: What it acted on; None when no investigation names it.
    """

    run: RemediationChanged
    hypothesis: Hypothesis | None = None


Told = AnomalyDetected | InvestigationCompleted | RemediationChanged | ChangeEvent | Command
Fact = AnomalyDetected | InvestigationCompleted | Remediated | ChangeEvent | Command | Passed | Gathered


def in_order(records: Sequence[object]) -> list[Told]:
    """Anomalies in an order that does not depend on their arrival, then everything else as it came.

    Raises:
        InvalidMessage: a record that ticketing does not read.
    """
    anomalies: list[AnomalyDetected] = []
    others: list[Told] = []
    for record in records:
        match record:
            case AnomalyDetected():
                anomalies.append(finite(record))
            case InvestigationCompleted() | RemediationChanged() | ChangeEvent() | Command():
                others.append(record)
            case _:
                raise InvalidMessage(f"ticketing does not read {type(record).__name__}")
    return [*sorted(anomalies, key=order), *others]


def acted_on(run: RemediationChanged, hypotheses: Sequence[Hypothesis]) -> Hypothesis | None:
    """The hypothesis that a run acted on: the most likely one whose action it took, else one of the same service."""
    ranked = sorted(hypotheses, key=lambda hypothesis: hypothesis.rank)
    wanted = (run.action, run.target)
    same_action = [h for h in ranked if wanted in [(action.action, action.target) for action in h.actions]]
    same_service = [h for h in ranked if h.service == run.target]
    return next(iter(same_action or same_service), None)


def finite(anomaly: AnomalyDetected) -> AnomalyDetected:
    """The anomaly with numbers that every store can hold: no value becomes 0, infinity becomes 1e300."""
    parts = tuple(replace(p, value=_finite(p.value), share=_finite(p.share)) for p in anomaly.contributions)
    return replace(
        anomaly,
        score=_finite(anomaly.score),
        observed=_finite(anomaly.observed),
        expected=_finite(anomaly.expected),
        expected_lower=_finite(anomaly.expected_lower),
        expected_upper=_finite(anomaly.expected_upper),
        deviation=_finite(anomaly.deviation),
        window_s=_finite(anomaly.window_s),
        contributions=parts,
    )


def _finite(value: float) -> float:
    return 0.0 if math.isnan(value) else max(-_LARGEST, min(_LARGEST, value))
