"""An incident document as Elasticsearch holds it: ECS at the top, own fields below, one subtree a section.

`_source` is the document itself: a section is read back from the fields that people search, so the two cannot differ.
What is derived (times to detect, investigate and resolve, outcomes, search columns) is computed anew with every write.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from libs.contracts.anomaly import Severity, Signal
from libs.contracts.document import SECTION_TYPES, IncidentContext, IncidentDocument, Section
from libs.contracts.incident import OPEN_STATES, IncidentChanged
from libs.contracts.investigation import InvestigationCompleted
from libs.contracts.remediation import FINAL_STATES, Mode, RemediationChanged
from libs.errors import InvalidMessage
from libs.runbooks.scorecard import is_success
from libs.stores.elastic_vector import feature_vector
from libs.stores.folded_words import folded
from libs.stores.search_text import section_text
from libs.stores.section_rules import VERIFIED_FIX

ECS_VERSION: Final = "8.17.0"
# ECS has no category for performance: where a responder would look comes nearest.
_CATEGORIES: Final[Mapping[Signal, str]] = {
    Signal.LATENCY: "api",
    Signal.ERRORS: "api",
    Signal.TRAFFIC: "api",
    Signal.SATURATION: "host",
    Signal.LOGS: "process",
    Signal.SILENCE: "process",
    Signal.OTHER: "host",
}
_SEVERITIES: Final = (Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)
_MOST_TRACES: Final = 100

Source = dict[str, Any]


def versions_of(source: Mapping[str, Any]) -> dict[str, int]:
    """Version of each section that was written."""
    return dict(source.get("sections", {}))


def read_section(source: Mapping[str, Any], section: Section) -> Any:
    """A section that was written; `InvalidMessage` when its fields do not fit its type."""
    match section:
        case Section.INCIDENT:
            fields: Any = {**source["incident"], "anomalies": source.get("anomalies", [])}
        case Section.ROOT_CAUSE:
            fields = source["investigation"]["root_cause"]
        case Section.REMEDIATION:
            fields = source["remediation"]["runs"]
        case _:
            fields = source[section.value]
    try:
        return msgspec.convert(fields, SECTION_TYPES[section])
    except msgspec.ValidationError as error:
        raise InvalidMessage(f"section {section.value}: {error}") from error


def fields_of(section: Section) -> list[str]:
    """Fields of a document that `read_section` needs."""
    match section:
        case Section.INCIDENT:
            return ["incident", "anomalies"]
        case Section.ROOT_CAUSE:
            return ["investigation.root_cause"]
        case Section.REMEDIATION:
            return ["remediation.runs"]
        case _:
            return [section.value]


def read_document(source: Mapping[str, Any]) -> IncidentDocument | None:
    """The whole document; None without the core."""
    versions = versions_of(source)
    if Section.INCIDENT.value not in versions:
        return None
    return IncidentDocument(**{name: read_section(source, Section(name)) for name in versions})


def with_section(source: Mapping[str, Any], section: Section, value: Any, version: int) -> Source:
    """The document with a section replaced, its version, and everything that is derived brought up to date."""
    fields = msgspec.to_builtins(value)
    changed: Source = {**source}
    match section:
        case Section.INCIDENT:
            changed["anomalies"] = fields.pop("anomalies")
            changed["incident"] = fields
        case Section.ROOT_CAUSE:
            changed["investigation"] = {**changed.get("investigation", {}), "root_cause": fields}
        case Section.INVESTIGATION:
            confirmed = changed.get("investigation", {}).get("root_cause")
            changed["investigation"] = fields if confirmed is None else {**fields, "root_cause": confirmed}
        case Section.REMEDIATION:
            changed["remediation"] = {"runs": fields}
        case _:
            changed[section.value] = fields
    changed["sections"] = {**versions_of(source), section.value: version}
    _index_text(changed, section, value)
    _derive(changed)
    return changed


def _index_text(source: Source, section: Section, value: Any) -> None:
    search = {**source.get("search", {})}
    search.update({column: folded(text) for column, text in section_text(section, value).items()})
    if section is Section.ROOT_CAUSE:
        search["confirmed"] = 1 if value.confirmed_by == VERIFIED_FIX else 2 if value.confirmed_by else 0
    if section is Section.INCIDENT:
        search["number"] = value.number.upper()
        vector = feature_vector(value.fingerprint, value.title)
        search.pop("vector", None)
        if vector is not None:
            search["vector"] = vector
    source["search"] = search


def _derive(source: Source) -> None:
    """Fields that dashboards count and average; nothing before the core is there."""
    versions = versions_of(source)
    if Section.INCIDENT.value not in versions:
        return
    core: IncidentChanged = read_section(source, Section.INCIDENT)
    context = read_section(source, Section.CONTEXT) if Section.CONTEXT.value in versions else IncidentContext()
    traces = [trace for anomaly in core.anomalies for trace in anomaly.trace_ids]
    traces += [trace.trace_id for trace in context.traces]
    severity = _worst(core)
    source.update(
        {
            "@timestamp": source["incident"]["opened_at"],
            "message": core.title,
            "ecs": {"version": ECS_VERSION},
            "event": _event(core, severity),
            "service": {"name": list(core.services)},
            "trace": {"id": list(dict.fromkeys(traces))[:_MOST_TRACES]},
        }
    )
    incident = source["incident"]
    incident["severity"] = severity
    incident["is_open"] = core.state in OPEN_STATES
    incident["self_healed"] = core.resolved_by == "remediation"
    incident["time_to_detect_s"] = _seconds(core.started_at, core.opened_at)
    incident["time_to_acknowledge_s"] = _seconds(core.opened_at, core.acknowledged_at)
    incident["time_to_resolve_s"] = _seconds(core.opened_at, core.resolved_at)
    incident["time_to_investigate_s"] = None
    if Section.INVESTIGATION.value in versions:
        investigation: InvestigationCompleted = read_section(source, Section.INVESTIGATION)
        # Event time up to which was looked, and the wall-clock seconds that looking took: right in a replay too.
        waited_s = _seconds(core.opened_at, investigation.as_of) or 0.0
        incident["time_to_investigate_s"] = max(0.0, waited_s) + investigation.duration_s
        leading = min(investigation.hypotheses, key=lambda hypothesis: hypothesis.rank, default=None)
        source["investigation"]["leading_cause"] = leading.kind.value if leading else None
        source["investigation"]["leading_confidence"] = leading.confidence if leading else None
    if Section.REMEDIATION.value in versions:
        source["remediation"].update(_outcome(read_section(source, Section.REMEDIATION)))


def _event(core: IncidentChanged, severity: str | None) -> Source:
    event: Source = {
        "kind": "alert",
        "category": sorted({_CATEGORIES[anomaly.signal] for anomaly in core.anomalies}) or ["host"],
        "type": ["info"],
        "module": "paramedic",
        "dataset": "paramedic.incidents",
        "id": core.id,
        "severity": _SEVERITIES.index(Severity(severity)) + 1 if severity else 0,
        "start": core.started_at,
    }
    if core.resolved_at is not None:
        event["end"] = core.resolved_at
        event["duration"] = round((core.resolved_at - core.started_at).total_seconds() * 1e9)
    built: Source = msgspec.to_builtins(event)
    return built


def _worst(core: IncidentChanged) -> str | None:
    severities = [anomaly.severity for anomaly in core.anomalies]
    return max(severities, key=_SEVERITIES.index).value if severities else None


def _seconds(begin: datetime, end: datetime | None) -> float | None:
    return None if end is None else (end - begin).total_seconds()


def _outcome(runs: tuple[RemediationChanged, ...]) -> Source:
    """How the fixes of an incident went; `successes` over `automatic_applied` is the self-healing success rate."""
    ended = [run for run in runs if run.state in FINAL_STATES]
    automatic = [run for run in ended if run.applied_at is not None and run.mode is Mode.AUTO]
    newest = runs[-1] if runs else None
    outcome = None
    if newest is not None:
        outcome = newest.state.value if newest.state in FINAL_STATES else "in_progress"
    return {
        "outcome": outcome,
        "pattern": list(dict.fromkeys(run.pattern for run in runs if run.pattern)),
        "run_count": len(runs),
        "automatic_applied": len(automatic),
        "successes": sum(map(is_success, automatic)),
        "human_involved": any(run.human_involved for run in runs),
    }
