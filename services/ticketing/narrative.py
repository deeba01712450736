"""The sentences of a ticket: title, timeline lines and reasons, with the figures that people look for."""

from collections.abc import Sequence
from typing import Final

from libs.contracts.anomaly import AnomalyDetected, EpisodeState, Signal
from libs.contracts.document import TimelineEntry
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.remediation import RemediationChanged
from libs.contracts.telemetry import ChangeEvent
from services.ticketing.episodes import affected_services, counting, worst
from services.ticketing.ticket import entry_id

TITLE_CHARACTERS: Final = 160
TEXT_CHARACTERS: Final = 1_000
_SYMPTOM: Final = {
    Signal.LATENCY: "slow responses",
    Signal.ERRORS: "failing requests",
    Signal.TRAFFIC: "unusual traffic",
    Signal.SATURATION: "a resource runs out",
    Signal.LOGS: "unusual logs",
    Signal.SILENCE: "no more telemetry",
    Signal.OTHER: "unusual metrics",
}
_EPISODE: Final = {
    EpisodeState.OPENED: "deviates",
    EpisodeState.UPDATED: "deviates further",
    EpisodeState.CLOSED: "is back in its band",
}


def shorten(text: str, characters: int) -> str:
    """The text in one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1] + "…"


def title(anomalies: Sequence[AnomalyDetected]) -> str:
    """One line for people: where it started, what hurts most, how many services."""
    counted = counting(anomalies)
    first, hurts = affected_services(counted)[0], worst(counted)
    others = len(affected_services(counted)) - 1
    where = first if hurts.service == first else f"{first}, worst at {hurts.service}"
    tail = f" (and {others} more service{'s' if others > 1 else ''})" if others else ""
    return shorten(f"{where}: {_SYMPTOM[hurts.signal]}, {hurts.metric}{tail}", TITLE_CHARACTERS)


def describe(anomaly: AnomalyDetected) -> str:
    """What an anomaly says, with its figures."""
    if anomaly.explanation:
        return shorten(anomaly.explanation, TEXT_CHARACTERS)
    where = f"{anomaly.service} -> {anomaly.peer}" if anomaly.peer else anomaly.service
    unit = f" {anomaly.unit}" if anomaly.unit else ""
    return shorten(
        f"{where}: {anomaly.metric} {anomaly.statistic} {anomaly.observed:.4g}{unit},"
        f" expected {anomaly.expected_lower:.4g}..{anomaly.expected_upper:.4g}{unit}",
        TEXT_CHARACTERS,
    )


def anomaly_entry(incident: str, anomaly: AnomalyDetected) -> TimelineEntry:
    """The timeline line of an episode that opened, got worse or closed."""
    closed = anomaly.state is EpisodeState.CLOSED
    at = anomaly.closed_at or anomaly.updated_at if closed else anomaly.updated_at
    if anomaly.state is EpisodeState.OPENED:
        at = anomaly.detected_at
    text = f"{anomaly.severity.value} {anomaly.signal.value} of {anomaly.service} {_EPISODE[anomaly.state]}"
    return TimelineEntry(
        id=entry_id(incident, "anomaly", anomaly.id, anomaly.state.value, anomaly.severity.value),
        at=at,
        actor="detector",
        kind="anomaly",
        text=f"{text}: {describe(anomaly)}",
    )


def opening_reason(anomaly: AnomalyDetected) -> str:
    """Why a ticket was opened."""
    return f"{anomaly.severity.value} anomaly by {anomaly.detector} with no related incident: {describe(anomaly)}"


def investigation_text(found: InvestigationCompleted) -> str:
    """What an investigation says first."""
    who = f"Investigation {found.revision} ({found.author}, {found.duration_s:.1f} s)"
    if not found.hypotheses:
        return f"{who}: no cause found"
    first = min(found.hypotheses, key=lambda hypothesis: hypothesis.rank)
    return shorten(
        f"{who}: most likely {first.kind.value} in {first.service} ({first.confidence:.0%}): {first.cause}",
        TEXT_CHARACTERS,
    )


def run_text(run: RemediationChanged) -> str:
    """Where a remediation run is."""
    what = f"{run.pattern}: {run.action} on {run.target}" if run.pattern else "No known pattern"
    detail = run.reason or next((step.detail for step in reversed(run.steps) if step.detail), "")
    return shorten(f"{what} is {run.state.value}" + (f": {detail}" if detail else ""), TEXT_CHARACTERS)


def change_entry(incident: IncidentChanged, change: ChangeEvent) -> TimelineEntry:
    """The timeline line of a deploy, flag, configuration or scale change."""
    version = f" {change.previous_version or '?'} -> {change.version}" if change.version else ""
    by = f" by {change.actor}" if change.actor else ""
    summary = f": {change.summary}" if change.summary else ""
    return TimelineEntry(
        id=entry_id(incident.id, "change", change.id),
        at=change.timestamp,
        actor=change.actor or "unknown",
        kind="change",
        text=shorten(f"{change.kind.value} of {change.service}{version}{by}{summary}", TEXT_CHARACTERS),
    )
