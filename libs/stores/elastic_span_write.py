"""Spans on their way into Elasticsearch: one ECS document a span, and one document of columns a batch.

People and single-span questions read the former. Questions over all spans of a window (`red`, `edges`) read the latter:
120,000 spans are then 200 to 2,000 documents instead of 120,000.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from libs.stores.elastic_attributes import label_fields
from libs.stores.elastic_bulk import BulkItem
from libs.stores.elastic_slices import NS, Slicing
from libs.stores.telemetry_columns import CALLER_KINDS, SpanColumns

SPANS: Final = "spans"
COLUMNS: Final = "span-columns"
# Calls are learned in steps of five minutes: a step of 60,000 spans is summed up in about 100 ms.
GRAPH_STEP_NS: Final = 300 * NS
KIND_NAMES: Final = {0: "unspecified", 1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_OUTCOMES: Final = {0: "unknown", 1: "success", 2: "failure"}
_NO_ID: Final = bytes(8)


def span_items(columns: SpanColumns, slicing: Slicing) -> Iterator[BulkItem]:
    """One document a span; its id is trace and span id, so that it is stored once whoever brings it."""
    batch = columns.batch
    thrown: dict[int, list[Mapping[str, str]]] = {}
    for position, attributes in columns.exceptions:
        thrown.setdefault(position, []).append(attributes)
    service = {"name": batch.service, **_resource(batch.resource)}
    identifiers = columns.ids.tolist()
    ends = columns.ends.tolist()
    indices = {number: slicing.index(SPANS, number) for number in {slicing.number(end) for end in ends}}
    for position, row in enumerate(columns.rows.tolist()):
        start, duration, name, peer, user, attributes_at, _, kind, status = row
        trace, span, parent = identifiers[position]
        labels = label_fields(batch.attribute_sets[attributes_at]) if attributes_at >= 0 else {}
        own: dict[str, Any] = {"start_ns": start, "end_ns": start + duration, "kind": kind, "status": status}
        source: dict[str, Any] = {
            "@timestamp": start // 1_000_000,
            "trace": {"id": trace.hex()},
            "span": {"id": span.hex(), "name": batch.names[name], "kind": KIND_NAMES.get(kind, "unspecified")},
            "service": {**service, "target": {"name": batch.peers[peer]}} if peer >= 0 else service,
            "event": {"duration": duration, "outcome": _OUTCOMES.get(status, "unknown")},
            "paramedic": own,
        }
        if parent != _NO_ID:
            source["parent"] = {"id": parent.hex()}
        if user >= 0:
            source["user"] = {"id": batch.users[user]}
        if "labels" in labels:
            source["labels"] = labels["labels"]
        if "attributes" in labels:
            own["attributes"] = labels["attributes"]
        if position in thrown:
            own["exceptions"] = thrown[position]
            source["error"] = [_error(attributes) for attributes in thrown[position]]
        yield BulkItem(indices[slicing.number(start + duration)], trace.hex() + span.hex(), source, create=True)


def column_items(columns: SpanColumns, slicing: Slicing) -> Iterator[BulkItem]:
    """One document of columns for each step of the graph that the batch touches."""
    if not len(columns.rows):
        return
    calls = _assign_calls(columns)
    steps = columns.ends // GRAPH_STEP_NS
    for step in np.unique(steps).tolist():
        mine = steps == step
        ends = columns.ends[mine]
        source = {
            "@timestamp": int(ends.min()) // 1_000_000,
            "service": {"name": columns.batch.service},
            "paramedic": {
                "min_ns": int(ends.min()),
                "max_ns": int(ends.max()),
                "size": int(mine.sum()),
                "graph_slice": step,
                "calls": calls,
                "rows": _packed(columns.rows[mine]),
                "ids": _packed(columns.ids[mine]),
            },
        }
        yield BulkItem(slicing.of(COLUMNS, step * GRAPH_STEP_NS), f"{columns.digest.hex()}-{step}", source)


def _assign_calls(columns: SpanColumns) -> list[list[str]]:
    """Fill the `call` column of client and producer spans with positions from 1 in the list of (peer, name)."""
    rows, batch = columns.rows, columns.batch
    calling = np.flatnonzero(np.isin(rows["kind"], CALLER_KINDS))
    if not len(calling):
        return []
    pairs = rows["peer"][calling].astype(np.int64) * (len(batch.names) + 1) + rows["name"][calling]
    _, first, inverse = np.unique(pairs, return_index=True, return_inverse=True)
    rows["call"][calling] = inverse + 1
    return [
        [batch.peers[peer] if peer >= 0 else "", batch.names[name]]
        for peer, name in zip(rows["peer"][calling[first]].tolist(), rows["name"][calling[first]].tolist(), strict=True)
    ]


def _resource(resource: Mapping[str, str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if resource.get("service.version"):
        fields["version"] = resource["service.version"]
    if resource.get("service.instance.id"):
        fields["node"] = {"name": resource["service.instance.id"]}
    return fields


def _error(attributes: Mapping[str, str]) -> dict[str, str]:
    named = {"type": "exception.type", "message": "exception.message"}
    return {field: attributes[name] for field, name in named.items() if name in attributes}


def _packed(rows: npt.NDArray[Any]) -> str:
    return base64.b64encode(rows.tobytes()).decode()
