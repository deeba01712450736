"""What Kibana would ask of a real Elasticsearch: its fields as Kibana learns them, its searches, its figures."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from libs.contracts.document import Section
from libs.contracts.incident import IncidentState, Priority
from libs.contracts.remediation import Mode, RunState
from paramedic.kibana import saved_objects
from tests.integration.elastic_servers import Space, empty_space, own_prefix
from tests.unit.deploy.kibana_fields import FINDABLE, OPERATIONS, of_type, terms_of, unpacked, uses
from tests.unit.libs.stores.elastic_samples import NOON, every_section
from tests.unit.libs.stores.telemetry_samples import Log, Span, change, log_batch, span_batch

pytestmark = pytest.mark.stack

OBJECTS: list[dict[str, Any]] = [json.loads(line) for line in saved_objects("paramedic").splitlines()]
SEARCHES = of_type(OBJECTS, "search")
EXAMPLE = every_section()
RUN = replace(EXAMPLE[Section.REMEDIATION][0], mode=Mode.AUTO, applied_at=NOON, human_involved=False, recurred=False)
ESCALATED = replace(RUN, pattern="", state=RunState.ESCALATED, applied_at=None)
# What each saved search finds of the incidents and the telemetry below.
FOUND = {
    "paramedic-open-incidents": {"open"},
    "paramedic-p1-p2-24h": {"open", "healed"},
    "paramedic-self-healed": {"healed"},
    "paramedic-escalated": {"open"},
    "paramedic-failed-fixes": {"rolled-back"},
    "paramedic-incidents-of-a-service": {"open", "healed", "rolled-back"},
    "paramedic-confirmed-root-cause": {"healed"},
    "paramedic-failed-spans": {"span that failed"},
    "paramedic-log-warnings": {"a warning", "an error"},
    "paramedic-production-changes": {"c"},
}


@pytest.fixture(scope="module")
def space() -> Iterator[Space]:
    with own_prefix() as prefix, empty_space(prefix) as space:
        _write_incidents(space)
        spans = [Span(trace=1, span=1, name="span that failed", status=2), Span(trace=1, span=2, name="fine")]
        records = [
            Log(body="an event", severity=9),
            Log(body="a warning", severity=13),
            Log(body="an error", severity=17),
        ]
        space.telemetry().write(
            spans=[span_batch("cart", spans)], logs=[log_batch("cart", records)], changes=[change("c", "cart", 0)]
        )
        yield space


def _write_incidents(space: Space) -> None:
    store, core = space.incidents(), replace(EXAMPLE[Section.INCIDENT], resolved_at=None, resolved_by=None)
    resolved = {"state": IncidentState.RESOLVED, "resolved_at": NOON + timedelta(seconds=90)}
    incidents: list[tuple[Any, Sequence[Any]]] = [
        (replace(core, id="open", priority=Priority.P1), [ESCALATED]),
        (
            replace(core, id="healed", priority=Priority.P2, resolved_by="remediation", **resolved),
            [replace(RUN, state=RunState.SUCCEEDED)],
        ),
        (
            replace(core, id="rolled-back", priority=Priority.P3, resolved_by="recovery", **resolved),
            [replace(RUN, state=RunState.ROLLED_BACK), replace(ESCALATED, id="second")],
        ),
    ]
    for incident, runs in incidents:
        store.put(incident.id, Section.INCIDENT, incident)
        store.put(incident.id, Section.REMEDIATION, tuple(runs))
        store.put(incident.id, Section.INVESTIGATION, EXAMPLE[Section.INVESTIGATION])
    store.put("healed", Section.ROOT_CAUSE, EXAMPLE[Section.ROOT_CAUSE])


@pytest.fixture
def http(space: Space) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=space.address, timeout=60.0) as client:
        client.post(f"/{space.prefix}-*/_refresh").raise_for_status()
        yield client


def title(space: Space, view: str) -> str:
    """Indices of a data view, under the prefix of the test."""
    own = [json.loads(line) for line in saved_objects(space.prefix).splitlines()]
    [found] = [found["attributes"]["title"] for found in of_type(own, "index-pattern") if found["id"] == view]
    return str(found)


def dsl(kql: str) -> dict[str, Any]:
    """The queries that are written here as Kibana's server understands them: terms joined by `and`, some with `not`."""
    asked: dict[str, list[Any]] = {"filter": [], "must_not": []}
    for clause in re.split(r" and (?=not |[\w.]+\s*[:<>])", kql):
        [(field, operator, values)] = terms_of(clause)
        if operator != ":":
            term: dict[str, Any] = {
                "range": {field: {{">=": "gte", ">": "gt", "<": "lt", "<=": "lte"}[operator]: values[0]}}
            }
        elif values:
            term = {"terms": {field: list(values)}}
        else:
            term = {"exists": {"field": field}}
        asked["must_not" if clause.startswith("not ") else "filter"].append(term)
    return {"bool": asked}


def test_kibana_learns_every_field_with_what_it_needs(space: Space, http: httpx.Client) -> None:
    """The field capabilities API is what a data view is made of."""
    for view in ("paramedic-incidents", "paramedic-spans", "paramedic-logs", "paramedic-changes"):
        answer = http.get(f"/{title(space, view)}/_field_caps", params={"fields": "*"}).raise_for_status().json()
        used = [use for use in uses(OBJECTS) if use.view == view]
        assert used
        for use in used:
            [(kind, capabilities)] = answer["fields"][use.field].items()
            assert kind in use.types
            assert capabilities["searchable"]
            assert capabilities["aggregatable"] or use.types == FINDABLE, f"{use.by}: {use.field}"


@pytest.mark.parametrize("found", SEARCHES, ids=lambda found: found["id"])
def test_a_saved_search_finds_what_its_title_says(space: Space, http: httpx.Client, found: dict[str, Any]) -> None:
    source = unpacked(found["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    [view] = [link["id"] for link in found["references"]]
    body = {
        "query": dsl(source["query"]["query"]),
        "sort": [{field: direction} for field, direction in found["attributes"]["sort"]],
    }
    answer = http.post(f"/{title(space, view)}/_search", json=body).raise_for_status().json()
    assert {_name(hit["_source"]) for hit in answer["hits"]["hits"]} == FOUND[found["id"]]


def _name(source: dict[str, Any]) -> str:
    for path in (("incident", "id"), ("span", "name"), ("event", "id"), ("message",)):
        value: Any = source
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return str(value)
    raise AssertionError(source)


def test_every_column_of_every_chart_is_computed(space: Space, http: httpx.Client) -> None:
    asked = {
        f"{chart['id']}/{name}": _aggregation(column)
        for chart in of_type(OBJECTS, "lens")
        for layer in chart["attributes"]["state"]["datasourceStates"]["formBased"]["layers"].values()
        for name, column in layer["columns"].items()
        if column["operationType"] in OPERATIONS
    }
    body = {"size": 0, "query": {"match_all": {}}, "aggs": {name: one for name, one in asked.items() if one}}
    incidents = title(space, "paramedic-incidents")
    found = http.post(f"/{incidents}/_search", json=body).raise_for_status().json()["aggregations"]
    applied = found["paramedic-self-healing-rate/rateX1"]["value"]
    assert found["paramedic-self-healing-rate/rateX0"]["value"] / applied == 0.5
    assert found["paramedic-median-time-to-resolve/figure"]["values"]["50.0"] == 90.0
    assert {bucket["key"] for bucket in found["paramedic-open-by-state/state"]["buckets"]} == {"new", "resolved"}
    assert found["paramedic-affected-users/figure"]["value"] == 21


def _aggregation(column: dict[str, Any]) -> dict[str, Any]:
    field = column.get("sourceField", "")
    match column["operationType"]:
        case "terms":
            return {"terms": {"field": field, "size": column["params"]["size"]}}
        case "date_histogram":
            return {"date_histogram": {"field": field, "calendar_interval": "day", "min_doc_count": 1}}
        case "sum":
            return {"sum": {"field": field}}
        case "median":
            return {"percentiles": {"field": field, "percents": [50]}}
        case "percentile":
            return {"percentiles": {"field": field, "percents": [column["params"]["percentile"]]}}
        case _:
            return {}
