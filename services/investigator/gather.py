"""Ask the tools in the order of the protocol and put their typed answers together as evidence."""

from dataclasses import dataclass
from typing import TypeVar

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import InvestigationStep, StepStatus
from services.investigator.evidence import Evidence, Graph
from services.investigator.scene import Scene
from services.investigator.tools import changes, confirmed, logs, metrics, red, similar, topology, traces
from services.investigator.tools.tool import ToolResult
from services.investigator.trace_facts import TraceFacts

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What the protocol's questions brought.

    Attributes:
        evidence: For the ranking.
        steps: In the order asked.
        gaps: One sentence per thing that could not be known.
    """

    evidence: Evidence
    steps: tuple[InvestigationStep, ...]
    gaps: tuple[str, ...]


def gather(scene: Scene) -> Gathered:
    """Ask every question once; `Unavailable` passes through."""
    steps: list[InvestigationStep] = []
    gaps: list[str] = []

    def part(result: ToolResult[T], otherwise: T, missing: str) -> T:
        steps.append(result.step)
        if result.part is None:
            gaps.append(f"{result.step.tool} could not be asked: {result.step.finding}")
            return otherwise
        if result.step.status is StepStatus.NO_DATA and missing:
            gaps.append(missing)
        return result.part

    calls = part(red.TOOL.run(scene), (), "No rates of requests: neither spans nor request metrics of these services.")
    shifts = part(metrics.TOOL.run(scene), (), "No metric has points both before and during the incident.")
    facts = part(
        traces.TOOL.run(scene), TraceFacts(), "No traces of the incident: network and single calls cannot be judged."
    )
    patterns = part(logs.TOOL.run(scene), (), "No log records of these services.")
    changed = part(changes.TOOL.run(scene), (), "")
    graph = part(topology.TOOL.run(scene), Graph(), "No call graph is known: callers cannot be told from causes.")
    alike = part(similar.TOOL.run(scene), (), "")
    lessons = part(confirmed.TOOL.run(scene), (), "")
    evidence = Evidence(
        affected=scene.incident.services,
        symptoms=_symptoms(scene),
        started_ns=scene.started_ns,
        as_of_ns=scene.as_of_ns,
        window_s=scene.window_s,
        calls=calls,
        metrics=shifts,
        traces=facts,
        logs=patterns,
        changes=changed,
        graph=graph,
        similar=alike,
        fingerprint=scene.incident.fingerprint,
        lessons=lessons,
    )
    return Gathered(evidence=evidence, steps=tuple(steps), gaps=tuple(gaps))


def _symptoms(scene: Scene) -> dict[Signal, float]:
    greatest: dict[Signal, float] = {}
    for anomaly in scene.incident.anomalies:
        greatest[anomaly.signal] = max(anomaly.score, greatest.get(anomaly.signal, 0.0))
    return greatest
