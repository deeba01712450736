"""Which fields Kibana's saved objects use, how, and whether the mapping of the index has them so."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from libs.stores.elastic_logs import LOGS
from libs.stores.elastic_span_write import SPANS
from libs.stores.elastic_templates import CHANGES, INCIDENTS, alias, index_body, patterns

Objects = Sequence[dict[str, Any]]

KINDS: Final = {
    alias("paramedic", INCIDENTS): INCIDENTS,
    alias("paramedic", CHANGES): CHANGES,
    patterns("paramedic", [SPANS]): SPANS,
    patterns("paramedic", [LOGS]): LOGS,
}
NUMBERS: Final = frozenset({"long", "double", "byte"})
FINDABLE: Final = frozenset({"keyword", "text", "boolean", "date", "date_nanos"}) | NUMBERS
SORTABLE: Final = frozenset({"keyword", "boolean", "date", "date_nanos"}) | NUMBERS
OPERATIONS: Final = {
    "terms": frozenset({"keyword"}),
    "date_histogram": frozenset({"date"}),
    "sum": NUMBERS,
    "median": NUMBERS,
    "percentile": NUMBERS,
    "count": frozenset[str](),
}
_TERM: Final = re.compile(r"([\w@.]+)\s*(:|[<>]=?)\s*(\([^)]*\)|\"[^\"]*\"|\*|[\w.]+)")
_WORDS: Final = frozenset({"and", "or", "not"})


@dataclass(frozen=True, kw_only=True)
class Use:
    """A field that an object uses.

    Attributes:
        by: Id of the object.
        view: Id of the data view.
        field: Path of the field.
        types: Types that it may have.
        values: Values that a query looks for.
    """

    by: str
    view: str
    field: str
    types: frozenset[str]
    values: tuple[str, ...] = ()


def unpacked(text: str) -> Any:
    """A part that is kept as JSON in a string."""
    return json.loads(text)


def of_type(objects: Objects, kind: str) -> list[dict[str, Any]]:
    """Objects of a type."""
    return [found for found in objects if found["type"] == kind]


def terms_of(kql: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Field, operator and values of each term; a query of another form than is written here is an error."""
    rest = _TERM.sub("", kql).replace("(", " ").replace(")", " ").split()
    assert set(rest) <= _WORDS, f"not understood: {kql}"
    for field, operator, value in _TERM.findall(kql):
        words = tuple(re.findall(r'"([^"]*)"', value)) or (value,)
        yield field, operator, () if words == ("*",) else words


def uses(objects: Objects) -> Iterator[Use]:
    """Every use of a field."""
    for found in objects:
        yield from _USES[found["type"]](found)


def misfits(objects: Objects) -> list[str]:
    """Uses of fields that the mapping does not have, or has of another type."""
    return [
        f"{use.by}: {use.field} is {mapped or 'not mapped'}"
        for use in uses(objects)
        if (mapped := type_of(objects, use.view, use.field)) not in use.types
    ]


def type_of(objects: Objects, view: str, field: str) -> str:
    """Type of a field in the indices of a data view, "" when it has none that can be searched."""
    [title] = [found["attributes"]["title"] for found in of_type(objects, "index-pattern") if found["id"] == view]
    mapped: Mapping[str, Any] = index_body(KINDS[title])["mappings"]
    for name in field.split("."):
        mapped = {**mapped.get("fields", {}), **mapped.get("properties", {})}.get(name, {})
    return "" if mapped.get("doc_values") is False else str(mapped.get("type", ""))


def unresolved(objects: Objects) -> list[str]:
    """References to objects that are not in the file."""
    known = {(found["type"], found["id"]) for found in objects}
    return [
        f"{found['id']}: {link['type']} {link['id']}"
        for found in objects
        for link in found["references"]
        if (link["type"], link["id"]) not in known
    ]


def reference(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The one reference of a name."""
    [link] = [link for link in found["references"] if link["name"] == name]
    return dict(link)


def _queried(by: str, view: str, kql: str) -> Iterator[Use]:
    for field, operator, values in terms_of(kql):
        yield Use(by=by, view=view, field=field, types=FINDABLE if operator == ":" else NUMBERS, values=values)


def _of_view(found: Mapping[str, Any]) -> Iterator[Use]:
    attributes, identity = found["attributes"], found["id"]
    yield Use(by=identity, view=identity, field=attributes["timeFieldName"], types=frozenset({"date"}))
    for field in unpacked(attributes["fieldFormatMap"]):
        yield Use(by=identity, view=identity, field=field, types=NUMBERS)


def _of_search(found: Mapping[str, Any]) -> Iterator[Use]:
    attributes = found["attributes"]
    source = unpacked(attributes["kibanaSavedObjectMeta"]["searchSourceJSON"])
    view = reference(found, source["indexRefName"])["id"]
    yield from _queried(found["id"], view, source["query"]["query"])
    for field in attributes["columns"]:
        yield Use(by=found["id"], view=view, field=field, types=FINDABLE)
    for field, _ in attributes["sort"]:
        yield Use(by=found["id"], view=view, field=field, types=SORTABLE)


def _of_chart(found: Mapping[str, Any]) -> Iterator[Use]:
    state = found["attributes"]["state"]
    for name, layer in state["datasourceStates"]["formBased"]["layers"].items():
        view = reference(found, f"indexpattern-datasource-layer-{name}")["id"]
        yield from _queried(found["id"], view, state["query"]["query"])
        for column in layer["columns"].values():
            if "filter" in column:
                yield from _queried(found["id"], view, column["filter"]["query"])
            if column["operationType"] in ("formula", "math", "count"):
                continue  # made of other columns, or of whole documents
            types = OPERATIONS[column["operationType"]]
            yield Use(by=found["id"], view=view, field=column["sourceField"], types=types)


def _of_dashboard(found: Mapping[str, Any]) -> Iterator[Use]:
    for name, control in unpacked(found["attributes"]["controlGroupInput"]["panelsJSON"]).items():
        view = reference(found, f"controlGroup_{name}:optionsListDataView")["id"]
        field = control["explicitInput"]["fieldName"]
        yield Use(by=found["id"], view=view, field=field, types=frozenset({"keyword"}))


_USES: Final = {
    "index-pattern": _of_view,
    "search": _of_search,
    "lens": _of_chart,
    "dashboard": _of_dashboard,
}
