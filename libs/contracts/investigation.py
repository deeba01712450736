"""What an investigation found: steps, ranked hypotheses, recommended actions and gaps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class StepStatus(StrEnum):
    """`no_data` is evidence too; `error` is a gap."""

    SUCCESS = "success"
    NO_DATA = "no_data"
    ERROR = "error"


class CauseKind(StrEnum):
    """What kind of thing went wrong; remediation patterns match on it."""

    DEPLOY = "deploy"
    FLAG = "flag"
    CONFIG = "config"
    MEMORY_LEAK = "memory_leak"
    SATURATION = "saturation"
    TRAFFIC_SURGE = "traffic_surge"
    HUNG_INSTANCE = "hung_instance"
    DEPENDENCY = "dependency"
    RESOURCE = "resource"
    NETWORK = "network"
    CODE_ERROR = "code_error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvestigationStep:
    """One question asked of the observability stack.

    Attributes:
        tool: Name of the tool.
        query: What was asked, readable and repeatable.
        status: success, no_data or error.
        duration_s: Seconds it took.
        finding: What it showed, one or two sentences.
        link: Where to look oneself, "" when there is no place.
    """

    tool: str
    query: str
    status: StepStatus
    duration_s: float
    finding: str
    link: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One observation for or against a hypothesis.

    Attributes:
        text: The observation with its figures.
        weight: Strength in [0, 1].
        source: The tool, metric, trace or change that shows it.
    """

    text: str
    weight: float = 0.0
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendedAction:
    """An action of the registry that would address a hypothesis; never free text for a machine.

    Attributes:
        action: Name in the registry of actions (rollback_deploy, restart_instance, disable_flag, scale_out) or
            "" for advice to a human.
        target: service.name it acts on.
        parameters: Typed parameters as text.
        rationale: Why, for people.
        risk: low, medium or high.
    """

    action: str
    target: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    rationale: str = ""
    risk: str = "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """A possible root cause.

    Attributes:
        rank: 1 is the most likely.
        service: service.name (or external dependency) in which the cause sits.
        kind: What kind of cause.
        cause: One line for people.
        confidence: Probability in [0, 1] that this is the root cause.
        instance: service.instance.id when one instance is to blame.
        change_id: Change event that is blamed, if any.
        evidence_for: What speaks for it.
        evidence_against: What speaks against it.
        actions: What would address it.
    """

    rank: int
    service: str
    kind: CauseKind
    cause: str
    confidence: float
    instance: str | None = None
    change_id: str | None = None
    evidence_for: tuple[Evidence, ...] = ()
    evidence_against: tuple[Evidence, ...] = ()
    actions: tuple[RecommendedAction, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarIncident:
    """A past incident that looks like this one.

    Attributes:
        id: Incident id.
        number: Incident number.
        title: Its title.
        similarity: In [0, 1], 1 is the same.
        root_cause: Its root cause, "" when nobody confirmed one.
        root_cause_service: Service of that root cause.
        confirmed_by: Who confirmed it: a person, "verified_fix", or "" for an unconfirmed hypothesis.
        fixed_by: What fixed it, "" when unknown.
        opened_at: When it was opened.
        root_cause_kind: Kind of that root cause (see CauseKind), "" when there is none.
        refuted_service: Service of the leading hypothesis that a person corrected, "" when nobody did.
        refuted_kind: Kind of that hypothesis.
    """

    id: str
    number: str
    title: str
    similarity: float
    root_cause: str = ""
    root_cause_service: str = ""
    confirmed_by: str = ""
    fixed_by: str = ""
    opened_at: datetime | None = None
    root_cause_kind: str = ""
    refuted_service: str = ""
    refuted_kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvestigationCompleted:
    """The result of one investigation of one incident.

    Attributes:
        id: Derived from incident id and revision.
        incident_id: The incident.
        revision: Counts up when the incident grew and was investigated again; 1 is the first.
        status: completed, or partial when the time budget ran out.
        author: "statistics", or the model's provider:name when a model went further.
        as_of: Event time up to which telemetry was considered.
        started_at: Wall clock.
        duration_s: Seconds from start to result.
        hypotheses: Ranked, most likely first; empty when nothing deviates.
        recommended_actions: Of the leading hypotheses, in order.
        steps: What was asked, in order.
        gaps: What could not be known, in words.
        similar_incidents: Past incidents that look alike.
        runbook: Name of the matching runbook, "" for none.
    """

    id: str
    incident_id: str
    revision: int
    status: str = "completed"
    author: str = "statistics"
    as_of: datetime
    started_at: datetime
    duration_s: float
    hypotheses: tuple[Hypothesis, ...] = ()
    recommended_actions: tuple[RecommendedAction, ...] = ()
    steps: tuple[InvestigationStep, ...] = ()
    gaps: tuple[str, ...] = ()
    similar_incidents: tuple[SimilarIncident, ...] = ()
    runbook: str = ""
