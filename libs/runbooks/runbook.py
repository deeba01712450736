"""A runbook: one known pattern of failure, when it applies, what fixes it, and how far it may go alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import Mode


class ReadOnlyStep(NamedTuple):
    """A question that the runbook asks of the observability stack; it changes nothing.

    Attributes:
        tool: Name of an investigation tool.
        title: What it is to show, for people.
        arguments: Arguments of the tool as text; values may name fields of the hypothesis or incident in braces.
    """

    tool: str
    title: str
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrails:
    """What stops a run, however sure the investigation is.

    Attributes:
        max_runs_per_hour: Applied runs on one target within an hour of event time, over all patterns.
        cooldown_s: Seconds between two applied runs of this pattern on one target.
        max_concurrent: Runs that may be between apply and their end at the same time, over all targets.
        human_change_s: Seconds to stay away from a target after somebody else changed it; the blamed change itself
            does not count.
        max_replicas: Most replicas that a run may ask for; None where the action changes no replicas.
        max_instances: Most instances that a run may restart at once; None for no limit.
        healthy_callees: Whether nothing that the target calls may be failing or slow itself.
    """

    max_runs_per_hour: int = 3
    cooldown_s: float = 300.0
    max_concurrent: int = 1
    human_change_s: float = 60.0
    max_replicas: int | None = None
    max_instances: int | None = None
    healthy_callees: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What must be seen after the fix.

    Attributes:
        within_s: Longest wait for the anomalies to close; None takes the setting verify_s.
        neighbours: Whether a new anomaly of a neighbour fails the run.
    """

    within_s: float | None = None
    neighbours: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Runbook:
    """One known pattern.

    Attributes:
        name: Unique name; the pattern of remediation runs.
        title: One line for people.
        cause_kinds: Kinds of cause that it is for.
        signals: Signals of which at least one must deviate; empty for any.
        services: Glob over service.name.
        least_confidence: Confidence in [0, 1] that the hypothesis must reach before anything is applied.
        least_lead: How many times as confident as the next different explanation it must be.
        needs_change: Whether a change event must be blamed.
        action: Name of a declared action (libs/runbooks/actions.py).
        parameters: Parameters of the action; values may name fields in braces (libs/runbooks/parameters.py).
        mode: observe, approve or auto.
        guardrails: What stops a run.
        verification: What must be seen afterwards.
        inverse: Name of the action that undoes it; "" when nothing does or should.
        steps: Read-only steps for the investigator.
        text: The prose below the front matter, Markdown.
        source: File that it was read from.
    """

    name: str
    title: str
    cause_kinds: tuple[CauseKind, ...]
    signals: tuple[Signal, ...] = ()
    services: str = "*"
    least_confidence: float
    least_lead: float
    needs_change: bool = False
    action: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    mode: Mode
    guardrails: Guardrails = field(default_factory=Guardrails)
    verification: Verification = field(default_factory=Verification)
    inverse: str = ""
    steps: tuple[ReadOnlyStep, ...] = ()
    text: str = ""
    source: str = ""
