"""The spans of a window as columns with their callees resolved: what RED windows and windowed edges are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from libs.contracts.columns import Int64Array
from libs.stores.call_graph import Callee, CallGraph, Resolution, merged_edges
from libs.stores.red_columns import red_columns
from libs.stores.telemetry import Edge, RedWindow, Window
from libs.stores.telemetry_columns import CALLER_KINDS, SERVER_KINDS, RecordArray

# An answer ends before its call does, or when the caller gave up a while after: sought this far around the window.
_JOIN_SLACK_NS: Final = 30 * 1_000_000_000
_OWN: Final = ""
_NOBODY: Final = -1
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanTable:
    """Columns of the spans that ended in a window.

    Attributes:
        rows: SPAN_ROW.
        services: Service id per span.
        ends: Unix nanoseconds.
        ids: SPAN_IDS, empty unless they were asked for.
    """

    rows: RecordArray
    services: Int64Array
    ends: Int64Array
    ids: RecordArray


class SpanLoader(Protocol):
    """Reads the columns of the spans that ended in a window, in a fixed order; `services` None means all."""

    def __call__(self, window: Window, services: Sequence[int] | None, *, with_ids: bool) -> SpanTable:
        """The spans; `ids` is empty unless `with_ids`."""
        ...


class SpanIndex:
    """Spans by trace id and span id (or parent id), to find the service on the other side of a call.

    Args:
        table: Spans with ids.
        chosen: Which of them are found.
        by: "span" or "parent".
    """

    def __init__(self, table: SpanTable, chosen: BoolArray, by: str) -> None:
        keys = join_keys(table.ids[chosen], by)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._services = table.services[chosen][order]

    def services(self, keys: npt.NDArray[np.uint64]) -> Int64Array:
        """Service id per key, -1 where there is none."""
        if not len(self._keys):
            return np.full(len(keys), _NOBODY, np.int64)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[places] == keys, self._services[places], _NOBODY)


def join_keys(ids: RecordArray, by: str) -> npt.NDArray[np.uint64]:
    """64 bits of trace id and span id (or parent id): among a million spans a false match has odds of 1 in 3e7."""
    words = np.frombuffer(ids.tobytes(), "<u8").reshape(-1, 4)
    low = words[:, 2 if by == "span" else 3]
    # Odd multipliers keep ids of few set bits, as tests and some generators make them, apart.
    mixed: npt.NDArray[np.uint64] = (
        words[:, 0] * np.uint64(0x9E3779B97F4A7C15)
        ^ words[:, 1] * np.uint64(0xC2B2AE3D27D4EB4F)
        ^ low * np.uint64(0xD6E8FEB86659FD93)
    )
    return mixed ^ (mixed >> np.uint64(32))


class CallTable:
    """Spans of a window told apart by service and, for calls, by callee.

    Args:
        load: Reads the columns of spans.
        graph: The learned calls.
        names: Service names by id.
        window: Spans that ended in it.
    """

    def __init__(self, load: SpanLoader, graph: CallGraph, names: Mapping[int, str], window: Window) -> None:
        self._load = load
        self._graph = graph
        self._names = names
        self._window = window
        self._entities: dict[tuple[str, str], int] = {}

    def red(self, step_ns: int, services: Sequence[int] | None) -> list[RedWindow]:
        """Rate, errors, duration per service, callee and step, in that order; steps without a span are left out."""
        table = self._load(self._window, services, with_ids=self._graph.is_ambiguous)
        entity = self._entity_of(table, graph_only=False)
        kept = entity != _NOBODY
        columns = red_columns(
            entity[kept], table.ends[kept], table.rows["duration"][kept], table.rows["status"][kept] == 2, step_ns
        )
        labels = list(self._entities)
        made = [
            RedWindow(
                service=labels[number][0],
                peer=labels[number][1],
                start_ns=start_ns,
                requests=requests,
                errors=errors,
                duration_sum_s=duration_sum_s,
                p50_s=p50_s,
                p95_s=p95_s,
                p99_s=p99_s,
            )
            for number, start_ns, requests, errors, duration_sum_s, p50_s, p95_s, p99_s in columns
        ]
        made.sort(key=lambda entry: (entry.service, entry.peer, entry.start_ns))
        return made

    def edges(self) -> list[Edge]:
        """Edges with the calls that ended in the window."""
        table = self._load(self._window, None, with_ids=self._graph.is_ambiguous)
        entity = self._entity_of(table, graph_only=True)
        failed = table.rows["status"] == 2
        found = [
            _edge(label, table.ends[mine], failed[mine])
            for label, number in self._entities.items()
            if label[1] != _OWN
            for mine in [entity == number]
            if mine.any()
        ]
        if self._graph.has_parents_that_are_no_calls:
            found.extend(self._edges_without_calls())
        return merged_edges(found)

    def _entity(self, service: str, callee: str) -> int:
        return self._entities.setdefault((service, callee), len(self._entities))

    def _entity_of(self, table: SpanTable, *, graph_only: bool) -> Int64Array:
        """Number of (service, callee) per span; -1 for spans that neither serve nor call.

        Args:
            graph_only: Leave out what the graph does not show: callees that may yet turn out to be a service.
        """
        kinds, calls = table.rows["kind"], table.rows["call"]
        entity = np.full(len(kinds), _NOBODY, np.int64)
        serving = np.isin(kinds, SERVER_KINDS)
        for service in np.unique(table.services[serving]).tolist():
            entity[serving & (table.services == service)] = self._entity(self._names.get(service, ""), _OWN)
        for call_id in np.unique(calls[calls > 0]).tolist():
            if call_id not in self._graph.calls:
                continue
            mine = calls == call_id
            resolution = self._graph.resolve(call_id)
            if resolution.candidates:
                entity[mine] = self._tell_apart(table, mine, call_id, resolution, graph_only=graph_only)
            elif resolution.callee and not (graph_only and resolution.external and not self._graph.is_evident(call_id)):
                entity[mine] = self._entity(self._graph.calls[call_id].caller, resolution.callee)
        return entity

    def _tell_apart(
        self, table: SpanTable, mine: BoolArray, call_id: int, resolution: Resolution, *, graph_only: bool
    ) -> Int64Array:
        """Where one name stands for several services: by the call's answer, else by time, else the name itself."""
        caller = self._graph.calls[call_id].caller
        answered_by = self._answers.services(join_keys(table.ids[mine], "span"))
        entity = np.full(int(mine.sum()), _NOBODY, np.int64)
        for service in np.unique(answered_by[answered_by != _NOBODY]).tolist():
            entity[answered_by == service] = self._entity(caller, self._names.get(service, ""))
        if not resolution.callee:
            return entity
        unanswered = np.flatnonzero(entity == _NOBODY)
        nearest = _nearest(table.ends[mine][unanswered], resolution.candidates)
        for place, candidate in enumerate(resolution.candidates):
            entity[unanswered[nearest == place]] = self._entity(caller, candidate.service)
        if not graph_only:
            entity[unanswered[nearest == _NOBODY]] = self._entity(caller, resolution.callee)
        return entity

    @cached_property
    def _around(self) -> SpanTable:
        return self._load(_widened(self._window), None, with_ids=True)

    @cached_property
    def _answers(self) -> SpanIndex:
        return SpanIndex(self._around, np.isin(self._around.rows["kind"], SERVER_KINDS), "parent")

    def _edges_without_calls(self) -> list[Edge]:
        """Edges of answers whose parent is another service's span, but no call."""
        table = self._around
        kinds = table.rows["kind"]
        inside = (table.ends >= self._window.start_ns) & (table.ends < self._window.end_ns)
        answers = np.flatnonzero(inside & np.isin(kinds, SERVER_KINDS))
        parents = SpanIndex(table, ~np.isin(kinds, CALLER_KINDS), "span")
        callers = parents.services(join_keys(table.ids[answers], "parent"))
        callees, ends = table.services[answers], table.ends[answers]
        failed = table.rows["status"][answers] == 2
        edges = []
        for caller, callee in sorted(set(zip(callers.tolist(), callees.tolist(), strict=True))):
            if caller != _NOBODY:
                mine = (callers == caller) & (callees == callee)
                label = (self._names.get(caller, ""), self._names.get(callee, ""))
                edges.append(_edge(label, ends[mine], failed[mine]))
        return edges


def _widened(window: Window) -> Window:
    return Window(start_ns=max(0, window.start_ns - _JOIN_SLACK_NS), end_ns=window.end_ns + _JOIN_SLACK_NS)


def _nearest(ends: Int64Array, candidates: Sequence[Callee]) -> Int64Array:
    """Position of the one candidate whose time of answering is nearest to each end; -1 when several are."""
    distances = np.stack(
        [np.maximum(np.maximum(candidate.first_ns - ends, ends - candidate.last_ns), 0) for candidate in candidates]
    )
    best = distances.min(axis=0)
    return np.where((distances == best).sum(axis=0) == 1, distances.argmin(axis=0), _NOBODY)


def _edge(label: tuple[str, str], ends: Int64Array, failed: BoolArray) -> Edge:
    return Edge(
        caller=label[0],
        callee=label[1],
        calls=len(ends),
        errors=int(failed.sum()),
        first_seen_ns=int(ends.min()),
        last_seen_ns=int(ends.max()),
    )
