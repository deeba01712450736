"""The dashboard: its charts, where they are, and the controls above them."""

from typing import Any, Final

from deploy.kibana.data_views import INCIDENTS_VIEW
from deploy.kibana.lens import (
    Chart,
    Column,
    by_name,
    count,
    donut,
    largest,
    median,
    metric,
    over_time,
    percentile,
    quotient,
    table,
    total,
    xy,
)
from deploy.kibana.saved_object import Reference, SavedObject, packed, search_source
from deploy.kibana.searches import OPEN_SEARCH

DASHBOARD: Final = "paramedic-overview"
CONTROLS: Final = (
    ("service", "service.name", "Service"),
    ("priority", "incident.priority", "Priority"),
    ("state", "incident.state", "State"),
)
_AUTOMATIC: Final = "Successes over runs that changed production without asking anybody, as in `paramedic scorecard`."


def _chart(name: str, title: str, kind: str, columns: dict[str, Column], picture: dict[str, Any], **more: str) -> Chart:
    description = more.pop("description", "")
    return Chart(
        id=f"paramedic-{name}", title=title, description=description, kind=kind, columns=columns, picture=picture,
        view=INCIDENTS_VIEW, **more,
    )  # fmt: skip


def _figure(name: str, title: str, column: Column, **more: str) -> Chart:
    return _chart(name, title, "lnsMetric", {"figure": column}, metric("figure"), **more)


def _stacked(name: str, title: str, split: Column, **more: str) -> Chart:
    columns = {"time": over_time(), "split": split, "count": count()}
    return _chart(name, title, "lnsXY", columns, xy("bar_stacked", "time", ["count"], "split"), **more)


def _ranked(name: str, title: str, field: str, label: str, **more: str) -> Chart:
    columns = {"value": largest(field, label, "count", 10), "count": count()}
    return _chart(name, title, "lnsXY", columns, xy("bar_horizontal", "value", ["count"]), **more)


def _duration(name: str, title: str, field: str, **more: str) -> Chart:
    columns = {"time": over_time(), "median": median(field, "Median"), "p95": percentile(field, 95, "95th percentile")}
    return _chart(name, title, "lnsXY", columns, xy("line", "time", ["median", "p95"]), **more)


def _by_runbook() -> Chart:
    applied, successes = "remediation.automatic_applied", "remediation.successes"
    columns = {
        "pattern": largest("remediation.pattern", "Runbook", "applied", 20),
        "applied": total(applied, "Applied alone"),
        "successes": total(successes, "Succeeded"),
        **quotient("rate", successes, applied, "Success rate"),
    }
    return _chart(
        "self-healing-by-runbook", "Self-healing by runbook", "lnsDatatable", columns,
        table("pattern", "applied", "successes", "rate"),
        description="An incident in which several runbooks ran counts for each; `paramedic scorecard` counts runs.",
    )  # fmt: skip


# Title, column, row, width and height; the grid of a dashboard has 48 columns.
_LAYOUT: Final[tuple[tuple[Chart, tuple[int, int, int, int]], ...]] = (
    (_figure("open-count", "Open incidents", count(kql="incident.is_open: true")), (0, 0, 8, 7)),
    (
        _figure(
            "open-urgent-count", "Open P1 and P2",
            count(kql='incident.is_open: true and incident.priority: ("P1" or "P2")'),
        ),
        (8, 0, 8, 7),
    ),
    (
        _figure(
            "median-time-to-investigate", "Time to investigate", median("incident.time_to_investigate_s", "Median"),
        ),
        (16, 0, 8, 7),
    ),
    (
        _figure("median-time-to-resolve", "Time to resolve", median("incident.time_to_resolve_s", "Median")),
        (24, 0, 8, 7),
    ),
    (
        _chart(
            "self-healing-rate", "Self-healing success rate", "lnsMetric",
            quotient("rate", "remediation.successes", "remediation.automatic_applied", "Of automatic fixes"),
            metric("rate"), description=_AUTOMATIC,
        ),
        (32, 0, 8, 7),
    ),
    (
        _figure(
            "affected-users", "Affected users", total("incident.affected_users.count", "Sum over incidents"),
            description="Distinct users of each incident, summed up: who felt two incidents counts twice.",
        ),
        (40, 0, 8, 7),
    ),
    (
        _stacked("incidents-by-priority", "Incidents over time by priority",
                 by_name("incident.priority", "Priority", 5)),
        (0, 7, 24, 13),
    ),
    (
        _stacked(
            "incidents-by-severity", "Incidents over time by severity",
            largest("incident.severity", "Severity", "count", 4), description="Severity of the worst anomaly.",
        ),
        (24, 7, 24, 13),
    ),
    (
        _stacked(
            "incidents-by-service", "Incidents over time by service", largest("service.name", "Service", "count", 8),
            description="An incident that reaches several services counts for each.",
        ),
        (0, 20, 24, 13),
    ),
    (
        _chart(
            "open-by-state", "Open by state", "lnsPie",
            {"state": largest("incident.state", "State", "count", 3), "count": count()},
            donut("state", "count"), kql="incident.is_open: true",
        ),
        (24, 20, 12, 13),
    ),
    (_ranked("top-services", "Services with most incidents", "service.name", "Service"), (36, 20, 12, 13)),
    (
        _duration(
            "time-to-investigate", "Time to investigate", "incident.time_to_investigate_s",
            description="From the ticket to the end of the newest investigation.",
        ),
        (0, 33, 24, 12),
    ),
    (
        _duration(
            "time-to-resolve", "Time to resolve", "incident.time_to_resolve_s",
            description="From the ticket to its resolution.",
        ),
        (24, 33, 24, 12),
    ),
    (_by_runbook(), (0, 45, 24, 12)),
    (
        _ranked(
            "leading-causes", "What was wrong", "investigation.leading_cause", "Kind of cause",
            description="Kind of the first hypothesis of each investigated incident.",
        ),
        (24, 45, 24, 12),
    ),
)  # fmt: skip
_SEARCH_PLACE: Final = (0, 57, 48, 16)


def charts() -> list[SavedObject]:
    """Every chart of the dashboard."""
    return [chart.saved() for chart, _ in _LAYOUT]


def dashboard() -> SavedObject:
    """The dashboard, which refers to its charts and to the search for open incidents."""
    placed = [("lens", chart.id, place) for chart, place in _LAYOUT]
    placed.append(("search", OPEN_SEARCH, _SEARCH_PLACE))
    panels = [_panel(kind, identity, place) for kind, identity, place in placed]
    links = [Reference(type=kind, id=identity, name=f"{identity}:panel_{identity}") for kind, identity, _ in placed]
    links += [
        Reference(type="index-pattern", id=INCIDENTS_VIEW, name=f"controlGroup_{name}:optionsListDataView")
        for name, _, _ in CONTROLS
    ]
    return SavedObject(
        type="dashboard",
        id=DASHBOARD,
        attributes={
            "title": "Paramedic: incidents",
            "description": "Incidents by when they were opened; the time range above decides which ones.",
            "panelsJSON": packed(panels),
            "optionsJSON": packed(
                {
                    "useMargins": True,
                    "syncColors": False,
                    "syncCursor": True,
                    "syncTooltips": False,
                    "hidePanelTitles": False,
                }
            ),
            "controlGroupInput": _controls(),
            "timeRestore": True,
            "timeFrom": "now-7d",
            "timeTo": "now",
            "refreshInterval": {"pause": False, "value": 60000},
            "kibanaSavedObjectMeta": {"searchSourceJSON": search_source("")},
            "version": 1,
        },
        references=links,
    )


def _panel(kind: str, identity: str, place: tuple[int, int, int, int]) -> dict[str, Any]:
    column, row, width, height = place
    return {
        "type": kind,
        "panelIndex": identity,
        "panelRefName": f"panel_{identity}",
        "gridData": {"x": column, "y": row, "w": width, "h": height, "i": identity},
        "embeddableConfig": {"enhancements": {}},
    }


def _controls() -> dict[str, Any]:
    panels = {
        name: {
            "type": "optionsListControl",
            "order": order,
            "grow": True,
            "width": "medium",
            "explicitInput": {"id": name, "fieldName": field, "title": title, "enhancements": {}},
        }
        for order, (name, field, title) in enumerate(CONTROLS)
    }
    ignoring = ("ignoreFilters", "ignoreQuery", "ignoreTimerange", "ignoreValidations")
    return {
        "controlStyle": "oneLine",
        "chainingSystem": "HIERARCHICAL",
        "showApplySelections": False,
        "ignoreParentSettingsJSON": packed(dict.fromkeys(ignoring, False)),
        "panelsJSON": packed(panels),
    }
