"""Every field that is written has an explicit mapping of a type that every distribution of Elasticsearch knows."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from libs.contracts.anomaly import Severity
from libs.contracts.document import IncidentDocument, Section
from libs.contracts.incident import IncidentState
from libs.contracts.remediation import Mode, RunState
from libs.stores.elastic_bulk import BulkItem
from libs.stores.elastic_changes import change_item
from libs.stores.elastic_incident_document import read_document, read_section, with_section
from libs.stores.elastic_incident_query import ALL, WEIGHTS
from libs.stores.elastic_logs import log_items
from libs.stores.elastic_metrics import MetricDocuments
from libs.stores.elastic_slices import Slicing
from libs.stores.elastic_span_write import column_items, span_items
from libs.stores.elastic_templates import CHANGES, GRAPH, INCIDENTS, SLICED, STATE, index_body
from libs.stores.telemetry_columns import log_columns, metric_columns, span_columns
from tests.unit.libs.stores.elastic_samples import NOON, every_section, example
from tests.unit.libs.stores.telemetry_samples import CLIENT, Log, Span, change, log_batch, metric_batch, span_batch

KINDS = (INCIDENTS, STATE, CHANGES, GRAPH, *SLICED)
# What the stripped test distribution knows; a full server knows all of them too.
KNOWN_TYPES = {
    "keyword", "text", "date", "date_nanos", "long", "double", "byte", "boolean", "flattened", "binary", "object",
    "dense_vector",
}  # fmt: skip
SLICING = Slicing(prefix="p", width_s=3600)


def properties(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = index_body(kind)["mappings"]["properties"]
    return found


def leaves(fields: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of each field; lists are looked into."""
    if isinstance(fields, Mapping):
        for name, value in fields.items():
            yield from leaves(value, f"{at}.{name}" if at else name)
    elif isinstance(fields, list | tuple) and any(isinstance(entry, Mapping) for entry in fields):
        for entry in fields:
            yield from leaves(entry, at)
    else:
        yield at, fields


def mapping_of(path: str, mapped: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Mapping of a field, or of the first object above it that takes anything."""
    found: Mapping[str, Any] = {"properties": mapped}
    for name in path.split("."):
        if found.get("type") in ("flattened", "object"):
            return found
        if name not in found.get("properties", {}):
            return None
        found = found["properties"][name]
    return found if "type" in found else None


def whole() -> dict[str, Any]:
    source: dict[str, Any] = {}
    for section, value in every_section().items():
        source = with_section(source, section, value, 1)
    return source


def documents() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield INCIDENTS, whole()
    thrown = ({"exception.type": "KeyError", "exception.message": "x"},)
    spans = span_columns(
        span_batch(
            "cart",
            [
                Span(
                    trace=1, span=2, parent=1, kind=CLIENT, peer="db", user="u", attributes={"a\0": "b"},
                    exceptions=thrown,
                )
            ],
            instance="i", version="1",
        )
    )  # fmt: skip
    logs = log_columns(log_batch("cart", [Log(logger="l", trace=1, user="u", attributes={"a": "b"}, body="x" * 9_000)]))
    items: list[tuple[str, BulkItem]] = [("spans", item) for item in span_items(spans, SLICING)]
    items += [("span-columns", item) for item in column_items(spans, SLICING)]
    items += [("logs", item) for item in log_items(logs, SLICING)]
    points = metric_columns(metric_batch("cart", [("cpu", 0, 1.0)], instance="i"))
    items += [("metrics", item) for item in MetricDocuments(SLICING).items([points])]
    items.append((CHANGES, change_item(replace(change("c", "cart", 0), attributes={"flag": "x"}), "p-changes")))
    for kind, item in items:
        yield kind, item.source


@pytest.mark.parametrize("kind", KINDS)
def test_no_sender_can_make_a_mapping_grow(kind: str) -> None:
    assert index_body(kind)["mappings"]["dynamic"] is False


@pytest.mark.parametrize("kind", KINDS)
def test_only_types_that_every_distribution_has_are_used(kind: str) -> None:
    def types(mapped: Mapping[str, Any]) -> Iterator[str]:
        for field in mapped.values():
            yield field.get("type", "object")
            yield from types(field.get("properties", {}))
            yield from types(field.get("fields", {}))

    assert set(types(properties(kind))) <= KNOWN_TYPES


@pytest.mark.parametrize(("kind", "source"), list(documents()))
def test_every_field_that_is_written_is_mapped(kind: str, source: Mapping[str, Any]) -> None:
    mapped = properties(kind)
    assert [path for path, _ in leaves(source) if mapping_of(path, mapped) is None] == []


def test_each_search_column_is_copied_as_often_as_it_weighs() -> None:
    columns = properties(INCIDENTS)["search"]["properties"]
    assert {name: columns[name]["copy_to"] for name in WEIGHTS} == {name: [ALL] * n for name, n in WEIGHTS.items()}
    assert "copy_to" not in columns["all"]


def test_a_missing_mapping_would_be_seen() -> None:
    mapped = {name: field for name, field in properties(INCIDENTS).items() if name != "timeline"}
    assert any(mapping_of(path, mapped) is None for path, _ in leaves(whole()))


def test_a_whole_document_comes_back_as_it_was() -> None:
    assert read_document(whole()) == IncidentDocument(
        **{section.value: value for section, value in every_section().items()}
    )


@pytest.mark.parametrize("order", [list(Section), list(reversed(Section))])
def test_sections_do_not_depend_on_the_order_in_which_they_are_written(order: list[Section]) -> None:
    source: dict[str, Any] = {}
    for section in order:
        source = with_section(source, section, every_section()[section], 1)
    again = whole()
    assert {**source, "sections": None} == {**again, "sections": None}
    assert all(read_section(source, section) == every_section()[section] for section in Section)


def test_the_document_is_an_alert_of_the_elastic_common_schema() -> None:
    source = whole()
    core = every_section()[Section.INCIDENT]
    assert source["@timestamp"] == "2026-01-01T12:00:00Z"
    assert (source["event"]["kind"], source["event"]["dataset"]) == ("alert", "paramedic.incidents")
    assert set(source["event"]["category"]) <= {"api", "host", "process"}
    assert source["service"]["name"] == list(core.services)
    assert source["trace"]["id"] == ["text"]
    assert source["message"] == core.title
    assert source["incident"]["severity"] == Severity.CRITICAL.value
    assert source["event"]["severity"] == 4


def test_times_are_seconds_that_can_be_averaged() -> None:
    core = replace(
        example(every_section()[Section.INCIDENT].__class__),
        started_at=NOON,
        opened_at=NOON + timedelta(seconds=20),
        acknowledged_at=NOON + timedelta(seconds=50),
        resolved_at=NOON + timedelta(seconds=80),
        resolved_by="remediation",
        state=IncidentState.RESOLVED,
    )
    investigation = replace(
        every_section()[Section.INVESTIGATION],
        as_of=NOON + timedelta(seconds=25),
        started_at=datetime(2030, 1, 1, tzinfo=UTC),
        duration_s=1.5,
    )
    source = with_section({}, Section.INCIDENT, core, 1)
    source = with_section(source, Section.INVESTIGATION, investigation, 1)
    incident = source["incident"]
    assert incident["time_to_detect_s"] == 20
    assert incident["time_to_acknowledge_s"] == 30
    assert incident["time_to_investigate_s"] == 6.5
    assert incident["time_to_resolve_s"] == 60
    assert (incident["is_open"], incident["self_healed"]) == (False, True)
    assert source["event"]["duration"] == 80 * 10**9


def test_the_success_rate_is_a_quotient_of_two_sums() -> None:
    run = replace(
        every_section()[Section.REMEDIATION][0], mode=Mode.AUTO, human_involved=False, recurred=False, applied_at=NOON
    )
    runs = (replace(run, state=RunState.ROLLED_BACK), replace(run, state=RunState.SUCCEEDED))
    source = with_section({}, Section.INCIDENT, every_section()[Section.INCIDENT], 1)
    source = with_section(source, Section.REMEDIATION, runs, 1)
    fields = source["remediation"]
    assert (fields["automatic_applied"], fields["successes"], fields["outcome"]) == (2, 1, "succeeded")
    source = with_section(source, Section.REMEDIATION, (replace(run, state=RunState.VERIFYING),), 2)
    assert (source["remediation"]["automatic_applied"], source["remediation"]["outcome"]) == (0, "in_progress")


@pytest.mark.parametrize(
    "path",
    [
        "@timestamp", "incident.state", "incident.priority", "incident.severity", "incident.time_to_investigate_s",
        "incident.time_to_resolve_s", "incident.is_open", "incident.self_healed", "service.name",
        "remediation.outcome", "remediation.pattern", "remediation.successes", "remediation.automatic_applied",
        "investigation.leading_cause", "anomalies.detector", "anomalies.metric",
    ],
)  # fmt: skip
def test_what_dashboards_count_can_be_aggregated(path: str) -> None:
    mapped = mapping_of(path, properties(INCIDENTS))
    assert mapped is not None
    assert mapped["type"] in ("keyword", "date", "double", "long", "boolean")
