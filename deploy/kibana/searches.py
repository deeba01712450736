"""Saved searches: the questions that people ask again and again."""

from dataclasses import dataclass
from typing import Final

from deploy.kibana.data_views import CHANGES_VIEW, INCIDENTS_VIEW, LOGS_VIEW, SPANS_VIEW
from deploy.kibana.saved_object import Reference, SavedObject, search_source

OPEN_SEARCH: Final = "paramedic-open-incidents"
_SOURCE: Final = "kibanaSavedObjectMeta.searchSourceJSON.index"


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One saved search.

    Attributes:
        id: Fixed id.
        title: What it finds.
        description: More about it.
        kql: The query.
        columns: Fields shown beside the time.
        since: How far back it looks when it is opened.
        order: Fields to sort by, "-" before those that fall.
        view: Id of the data view.
    """

    id: str
    title: str
    description: str
    kql: str
    columns: tuple[str, ...]
    since: str = "now-30d"
    order: tuple[str, ...] = ("-@timestamp",)
    view: str = INCIDENTS_VIEW

    def saved(self) -> SavedObject:
        """The search as a saved object."""
        return SavedObject(
            type="search",
            id=self.id,
            attributes={
                "title": self.title,
                "description": self.description,
                "columns": list(self.columns),
                "sort": [[field.removeprefix("-"), "desc" if field[0] == "-" else "asc"] for field in self.order],
                "grid": {},
                "hideChart": False,
                "isTextBasedQuery": False,
                "timeRestore": True,
                "timeRange": {"from": self.since, "to": "now"},
                "refreshInterval": {"pause": True, "value": 60000},
                "kibanaSavedObjectMeta": {"searchSourceJSON": search_source(self.kql, index_name=_SOURCE)},
            },
            references=[Reference(type="index-pattern", id=self.view, name=_SOURCE)],
        )


_WHO: Final = ("incident.number", "incident.priority", "incident.state", "service.name", "incident.title")
_FIX: Final = ("remediation.pattern", "remediation.outcome")

SEARCHES: Final = (
    Search(
        id=OPEN_SEARCH,
        title="Paramedic: open incidents by priority",
        description="New, in progress or on hold; P1 first, then the newest.",
        kql="incident.is_open: true",
        columns=(*_WHO, "incident.affected_users.count", "investigation.leading_cause", *_FIX),
        order=("incident.priority", "-@timestamp"),
    ),
    Search(
        id="paramedic-p1-p2-24h",
        title="Paramedic: P1 and P2 of the last 24 hours",
        description="Open or not.",
        kql='incident.priority: ("P1" or "P2")',
        columns=(*_WHO, "incident.affected_users.count", "incident.time_to_resolve_s", "incident.resolved_by"),
        since="now-24h",
        order=("incident.priority", "-@timestamp"),
    ),
    Search(
        id="paramedic-self-healed",
        title="Paramedic: resolved by self-healing",
        description="A known fix was applied, verified and held, and remediation closed the incident.",
        kql="incident.self_healed: true",
        columns=(
            *_WHO[:2],
            "service.name",
            "remediation.pattern",
            "remediation.human_involved",
            "incident.time_to_resolve_s",
            "incident.title",
        ),
    ),
    Search(
        id="paramedic-escalated",
        title="Paramedic: escalated, no known pattern",
        description="No runbook matched: left to a human. Candidates for a new runbook.",
        kql='remediation.outcome: "escalated" and not remediation.pattern: *',
        columns=(*_WHO, "investigation.leading_cause", "investigation.leading_confidence", "incident.is_open"),
    ),
    Search(
        id="paramedic-failed-fixes",
        title="Paramedic: failed or rolled-back fixes",
        description="At least one run failed or was rolled back, whatever came after it.",
        kql='remediation.runs.state: ("failed" or "rolled_back")',
        columns=(*_WHO, *_FIX, "remediation.runs.action", "remediation.runs.target", "remediation.runs.reason"),
    ),
    Search(
        id="paramedic-incidents-of-a-service",
        title="Paramedic: incidents of a service",
        description='All incidents; narrow them in the query bar, such as service.name: "checkout".',
        kql="service.name: *",
        columns=(
            "service.name",
            "incident.number",
            "incident.priority",
            "incident.state",
            "incident.title",
            "anomalies.signal",
            "investigation.leading_cause",
            "incident.time_to_resolve_s",
        ),
    ),
    Search(
        id="paramedic-confirmed-root-cause",
        title="Paramedic: confirmed root causes",
        description="A person or a verified fix confirmed the cause: what similar incidents are compared with.",
        kql="investigation.root_cause.confirmed_by: *",
        columns=(
            "incident.number",
            "investigation.root_cause.service",
            "investigation.root_cause.kind",
            "investigation.root_cause.text",
            "investigation.root_cause.confirmed_by",
            "investigation.root_cause.fixed_by",
            "incident.title",
        ),
    ),
    Search(
        id="paramedic-failed-spans",
        title="Paramedic: spans with errors",
        description="Spans whose status is error, in the window that telemetry is kept for.",
        kql='event.outcome: "failure"',
        columns=(
            "service.name",
            "span.name",
            "span.kind",
            "service.target.name",
            "event.duration",
            "error.type",
            "error.message",
            "trace.id",
        ),
        since="now-1h",
        view=SPANS_VIEW,
    ),
    Search(
        id="paramedic-log-warnings",
        title="Paramedic: logs, WARN and above",
        description="OpenTelemetry severity numbers from 13: warn, error, fatal.",
        kql="paramedic.severity >= 13",
        columns=("log.level", "service.name", "log.logger", "message", "trace.id"),
        since="now-1h",
        view=LOGS_VIEW,
    ),
    Search(
        id="paramedic-production-changes",
        title="Paramedic: changes to production",
        description="Deploys, flags, configuration: what was changed, by whom, shortly before something deviated.",
        kql="service.name: *",
        columns=("service.name", "event.action", "service.version", "message", "user.name"),
        since="now-24h",
        view=CHANGES_VIEW,
    ),
)
