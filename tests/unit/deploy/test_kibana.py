"""What Kibana is given: fixed ids, references that lead somewhere, fields that are mapped and fit their use."""

import copy
import fnmatch
import json
import re
from typing import Any

import pytest

from deploy.kibana.export import EXPORT, ndjson
from deploy.kibana.saved_object import CORE_VERSION, TYPE_VERSIONS
from libs.contracts.incident import IncidentState, Priority
from libs.contracts.remediation import RunState
from libs.stores.elastic_slices import Slicing
from libs.stores.elastic_span_write import COLUMNS, SPANS
from tests.unit.deploy.kibana_fields import (
    FINDABLE,
    KINDS,
    NUMBERS,
    Objects,
    misfits,
    of_type,
    reference,
    terms_of,
    type_of,
    unpacked,
    unresolved,
    uses,
)

OBJECTS: Objects = [json.loads(line) for line in EXPORT.read_text().splitlines()]
PAGE = EXPORT.parents[2] / "docs" / "kibana.md"
CHARTS = of_type(OBJECTS, "lens")
[DASHBOARD] = of_type(OBJECTS, "dashboard")
PANELS = unpacked(DASHBOARD["attributes"]["panelsJSON"])
NAMES = {
    "paramedic-incidents", "paramedic-spans", "paramedic-logs", "paramedic-changes",
    "paramedic-open-incidents", "paramedic-p1-p2-24h", "paramedic-self-healed", "paramedic-escalated",
    "paramedic-failed-fixes", "paramedic-incidents-of-a-service", "paramedic-confirmed-root-cause",
    "paramedic-failed-spans", "paramedic-log-warnings", "paramedic-production-changes",
    "paramedic-open-count", "paramedic-open-urgent-count", "paramedic-median-time-to-investigate",
    "paramedic-median-time-to-resolve", "paramedic-self-healing-rate", "paramedic-affected-users",
    "paramedic-incidents-by-priority", "paramedic-incidents-by-severity", "paramedic-incidents-by-service",
    "paramedic-open-by-state", "paramedic-top-services", "paramedic-time-to-investigate",
    "paramedic-time-to-resolve", "paramedic-self-healing-by-runbook", "paramedic-leading-causes", "paramedic-overview",
}  # fmt: skip
VALUES: dict[str, set[str]] = {
    "incident.priority": set(Priority),
    "incident.state": set(IncidentState),
    "remediation.outcome": {*RunState, "in_progress"},
    "remediation.runs.state": set(RunState),
    "event.outcome": {"success", "failure", "unknown"},
    "incident.is_open": {"true", "false"},
    "incident.self_healed": {"true", "false"},
}


def layers_of(chart: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = chart["attributes"]["state"]["datasourceStates"]["formBased"]["layers"]
    return found


def columns_of(chart: dict[str, Any]) -> dict[str, Any]:
    return {name: column for layer in layers_of(chart).values() for name, column in layer["columns"].items()}


def test_the_file_is_what_is_described_beside_it() -> None:
    assert EXPORT.read_text() == ndjson(), "write it anew: python -m deploy.kibana"


def test_ids_are_fixed_because_an_import_replaces_by_id() -> None:
    assert sorted(found["id"] for found in OBJECTS) == sorted(NAMES)


@pytest.mark.parametrize("found", OBJECTS, ids=lambda found: found["id"])
def test_every_object_has_the_versions_of_its_type(found: dict[str, Any]) -> None:
    assert found["coreMigrationVersion"] == CORE_VERSION
    assert found["typeMigrationVersion"] == TYPE_VERSIONS[found["type"]]
    assert found["attributes"]["title"]


def test_every_reference_leads_to_an_object_of_the_file() -> None:
    assert unresolved(OBJECTS) == []


def test_a_reference_that_leads_nowhere_is_noticed() -> None:
    broken = copy.deepcopy(list(OBJECTS))
    broken[-1]["references"][0]["id"] = "paramedic-gone"
    assert unresolved(broken) == ["paramedic-overview: lens paramedic-gone"]


def test_every_field_is_mapped_with_a_type_that_fits_its_use() -> None:
    assert misfits(OBJECTS) == []


@pytest.mark.parametrize(
    ("where", "planted"),
    [
        ('"sourceField": "incident.severity"', '"sourceField": "incident.severitty"'),
        ('"sourceField": "incident.severity"', '"sourceField": "incident.title"'),
        ('"sourceField": "remediation.successes"', '"sourceField": "remediation.outcome"'),
        ('"timeFieldName": "@timestamp"', '"timeFieldName": "incident.opened_at"'),
        (r"incident.is_open: true", r"incident.open: true"),
        ('["log.level"', '["log.levels"'),
        (r"paramedic.severity >= 13", r"log.level >= 13"),
        (r"\"fieldName\":\"incident.priority\"", r"\"fieldName\":\"message\""),
    ],
)
def test_a_field_that_does_not_fit_is_noticed(where: str, planted: str) -> None:
    broken = ndjson().replace(where, planted)
    assert broken != ndjson()
    assert misfits([json.loads(line) for line in broken.splitlines()])


def test_queries_look_for_values_that_exist() -> None:
    looked_for = [(use.field, value) for use in uses(OBJECTS) for value in use.values if use.field in VALUES]
    assert len(looked_for) > 5
    assert [(field, value) for field, value in looked_for if value not in VALUES[field]] == []


def test_data_views_name_the_indices_that_the_stores_write() -> None:
    assert {found["attributes"]["title"] for found in of_type(OBJECTS, "index-pattern")} == set(KINDS)
    slices, noon = Slicing(prefix="paramedic", width_s=3600), 1_767_268_800_000_000_000
    assert fnmatch.fnmatch(slices.of(SPANS, noon), "paramedic-spans-*")
    assert not fnmatch.fnmatch(slices.of(COLUMNS, noon), "paramedic-spans-*")


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart["id"])
def test_a_picture_shows_columns_that_are_computed(chart: dict[str, Any]) -> None:
    columns = set(columns_of(chart))
    for layer in layers_of(chart).values():
        assert layer["columnOrder"] == list(layer["columns"])
    shown = chart["attributes"]["state"]["visualization"]
    told = [shown, *shown.get("layers", [])]
    named = [value for part in told for key, value in part.items() if key in _ACCESSORS]
    named += [column["columnId"] for column in shown.get("columns", [])]
    flat = [name for value in named for name in (value if isinstance(value, list) else [value])]
    assert flat
    assert set(flat) <= columns
    for column in columns_of(chart).values():
        order = column.get("params", {}).get("orderBy", {})
        assert order.get("type") != "column" or order["columnId"] in columns


_ACCESSORS = ("metricAccessor", "xAccessor", "accessors", "splitAccessor", "primaryGroups", "metrics")


@pytest.mark.parametrize("name", ["paramedic-self-healing-rate", "paramedic-self-healing-by-runbook"])
def test_the_success_rate_is_that_of_the_scorecard(name: str) -> None:
    [chart] = [found for found in CHARTS if found["id"] == name]
    columns = columns_of(chart)
    rate = columns["rate"]
    fields = re.fullmatch(r"sum\(([\w.]+)\) / sum\(([\w.]+)\)", rate["params"]["formula"])
    assert fields is not None
    assert fields.groups() == ("remediation.successes", "remediation.automatic_applied")
    division = columns[rate["references"][0]]
    assert division["params"]["tinymathAst"]["name"] == "divide"
    assert division["params"]["tinymathAst"]["args"] == division["references"]
    computed = [(columns[part]["operationType"], columns[part]["sourceField"]) for part in division["references"]]
    assert computed == [("sum", field) for field in fields.groups()]


def test_every_panel_shows_an_object_and_every_chart_is_on_the_dashboard() -> None:
    shown = {
        reference(DASHBOARD, f"{panel['panelIndex']}:{panel['panelRefName']}")["id"]: panel["type"] for panel in PANELS
    }
    assert shown == {**{chart["id"]: "lens" for chart in CHARTS}, "paramedic-open-incidents": "search"}


def test_panels_lie_side_by_side_within_48_columns() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridData"]
        assert place["i"] == panel["panelIndex"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in cells) < 48
        assert not cells & taken
        taken |= cells


def test_every_search_and_the_dashboard_are_in_the_documentation() -> None:
    page = PAGE.read_text()
    for found in [*of_type(OBJECTS, "search"), DASHBOARD, *of_type(OBJECTS, "index-pattern")]:
        assert f"`{found['id']}`" in page
    for found in of_type(OBJECTS, "search"):
        source = unpacked(found["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
        assert source["query"]["query"] in page


def searches_of_the_page() -> list[tuple[str, str]]:
    """Data view and query of each row under "More searches"."""
    found, view = [], ""
    for line in PAGE.read_text().partition("## More searches")[2].partition("## Changing")[0].splitlines():
        named = re.search(r"[Oo]n `(paramedic-\w+)`[:,]", line)
        view = named[1] if named else view
        row = re.fullmatch(r"\| .* \| `(.*)` \|", line)
        if row:
            found.append((view, row[1]))
    return found


@pytest.mark.parametrize(("view", "kql"), searches_of_the_page())
def test_searches_of_the_documentation_ask_for_fields_that_can_be_searched(view: str, kql: str) -> None:
    asked = [(field, operator) for field, operator, _ in terms_of(kql)]
    assert asked
    for field, operator in asked:
        assert type_of(OBJECTS, view, field) in (FINDABLE if operator == ":" else NUMBERS), field
