"""The service graph in Elasticsearch: learned in steps of five minutes of event time, remembered beyond the spans.

A step is computed from the columns of its spans whenever they have changed since the last time, which the number of
batches and spans around it tells. The recorder writes down the steps that are over before their spans are forgotten;
everybody else keeps them in memory. So nothing is counted twice, whoever writes, reads or dies when.
"""

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.stores.call_graph import Call, Callee, CallGraph
from libs.stores.elastic_bulk import BulkDeletion, BulkItem, write_bulk
from libs.stores.elastic_call_steps import CallTallies, Tally, count_calls
from libs.stores.elastic_connection import ElasticConnection
from libs.stores.elastic_pages import hits, refresh, search
from libs.stores.elastic_progress import Progress
from libs.stores.elastic_slices import NS
from libs.stores.elastic_span_columns import CallKey, SpanColumnReader
from libs.stores.elastic_span_write import GRAPH_STEP_NS
from libs.stores.telemetry import Window

# A call and its answer end together, or the caller gave up a while before: sought this far around a step.
_AROUND_NS: Final = 60 * NS
_SETTLED_NS: Final = 600 * NS  # after ten minutes hardly anything arrives late; if it does, the step is computed anew
_MOST_STEPS: Final = 10_000
# Span names with raw addresses in them, and peers with ephemeral ports, must not grow the graph without bound.
_MOST_NAMES: Final = 64
_MOST_CALLS: Final = 2_000
_OTHER_NAME: Final = "*"
_OTHER_PEER: Final = "(other)"

Count = tuple[int, int]  # batches, spans
_NOTHING: Final[Count] = (0, 0)


@dataclass(frozen=True, slots=True)
class _Step:
    """A step with the counts of the step before, itself and the one after when it was computed."""

    basis: tuple[Count, Count, Count]
    tallies: CallTallies

    def holds(self, before: Count, own: Count, after: Count) -> bool:
        """Whether it is still right; a neighbour whose spans are forgotten takes nothing away."""
        known = self.basis
        return own == known[1] and after == known[2] and before in (known[0], _NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedGraph:
    """The graph, and the number of each call in it."""

    graph: CallGraph
    numbers: Mapping[CallKey, int]


class GraphMemory:
    """Learns and remembers; safe for threads.

    Args:
        connection: The cluster.
        columns: Pattern of the indices with the columns of spans.
        alias: Where steps are written down.
    """

    def __init__(self, connection: ElasticConnection, columns: str, alias: str) -> None:
        self._connection = connection
        self._columns = columns
        self._alias = alias
        self._lock = threading.Lock()
        self._steps: dict[int, _Step] = {}
        self._stored: dict[int, tuple[Count, Count, Count]] = {}
        self._first_live: int | None = -1  # nothing was read yet

    def learned(self, progress: Progress) -> LearnedGraph:
        """Everything that was learned up to now."""
        with self._lock:
            self._bring_up_to_date(progress)
            tallies = CallTallies()
            for number, step in sorted(self._steps.items()):
                if (number + 1) * GRAPH_STEP_NS > progress.long_horizon_ns:
                    tallies.add(step.tallies)
        return _graph(tallies, progress)

    def write_down(self, progress: Progress, planned: Progress) -> None:
        """Store the steps that are over, and delete those that are forgotten.

        Args:
            progress: As it is: spans after its horizon are there.
            planned: As it will be once this is done.
        """
        with self._lock:
            self._bring_up_to_date(progress)
            over = [
                number
                for number, step in self._steps.items()
                if (number + 1) * GRAPH_STEP_NS + _SETTLED_NS <= progress.watermark_ns
                or (number + 1) * GRAPH_STEP_NS <= planned.horizon_ns
                if self._stored.get(number) != step.basis
            ]
            write_bulk(self._connection, (self._item(number) for number in over))
            self._stored.update((number, self._steps[number].basis) for number in over)
            gone = [n for n in self._steps if (n + 1) * GRAPH_STEP_NS <= planned.long_horizon_ns]
            for number in gone:
                del self._steps[number]
            self._delete_before(planned.long_horizon_ns)

    def _bring_up_to_date(self, progress: Progress) -> None:
        refresh(self._connection, self._columns)
        # A step before the horizon stays as it is: what still arrives for it would count for all of it.
        forgotten = progress.horizon_ns // GRAPH_STEP_NS
        live = {number: count for number, count in self._counts().items() if number >= forgotten}
        first = min(live, default=None)
        if first != self._first_live:  # at the start, and when spans were forgotten: others wrote their steps down
            self._read_stored(live)
            self._first_live = first
        for number in sorted(live):
            counts = tuple(live.get(number + offset, _NOTHING) for offset in (-1, 0, 1))
            basis = (counts[0], counts[1], counts[2])
            known = self._steps.get(number)
            if known is None or not known.holds(*basis):
                self._steps[number] = _Step(basis, self._compute(number))

    def _counts(self) -> dict[int, Count]:
        sized = {"spans": {"sum": {"field": "paramedic.size"}}}
        by_step = {"terms": {"field": "paramedic.graph_slice", "size": _MOST_STEPS}, "aggs": sized}
        body = {"size": 0, "track_total_hits": False, "aggs": {"steps": by_step}}
        found = search(self._connection, self._columns, body).get("aggregations")
        buckets = found["steps"]["buckets"] if found else ()
        return {bucket["key"]: (bucket["doc_count"], int(bucket["spans"]["value"])) for bucket in buckets}

    def _compute(self, number: int) -> CallTallies:
        window = Window(start_ns=number * GRAPH_STEP_NS, end_ns=(number + 1) * GRAPH_STEP_NS)
        around = Window(start_ns=max(0, window.start_ns - _AROUND_NS), end_ns=window.end_ns + _AROUND_NS)
        reader = SpanColumnReader(self._connection, self._columns)
        table = reader.load(around, None, with_ids=True)
        return count_calls(table, window, reader.names, reader.calls)

    def _read_stored(self, live: Mapping[int, Count]) -> None:
        refresh(self._connection, self._alias)
        asked: dict[str, Any] = {"query": {"match_all": {}}}
        for hit in hits(self._connection, self._alias, asked, sort=[{"paramedic.graph_slice": "asc"}], page=500):
            own = hit["_source"]["paramedic"]
            number = own["graph_slice"]
            basis = tuple((batches, spans) for batches, spans in own["basis"])
            step = _Step((basis[0], basis[1], basis[2]), _decoded(own["calls"]))
            self._stored[number] = step.basis
            if number not in live or number not in self._steps:
                self._steps[number] = step

    def _item(self, number: int) -> BulkItem:
        step = self._steps[number]
        fields = {
            "graph_slice": number,
            "end_ns": (number + 1) * GRAPH_STEP_NS,
            "basis": step.basis,
            "calls": _encoded(step.tallies),
        }
        return BulkItem(self._alias, f"step-{number}", {"paramedic": fields})

    def _delete_before(self, long_horizon_ns: int) -> None:
        gone = [number for number in self._stored if (number + 1) * GRAPH_STEP_NS <= long_horizon_ns]
        write_bulk(self._connection, (BulkDeletion(self._alias, f"step-{number}") for number in gone))
        for number in gone:
            del self._stored[number]


def _encoded(tallies: CallTallies) -> Any:
    return {
        "calls": [[*key, *tally] for key, tally in tallies.calls.items()],
        "callees": [[*key, callee, *tally] for (key, callee), tally in tallies.callees.items()],
    }


def _decoded(fields: Mapping[str, Any]) -> CallTallies:
    return CallTallies(
        calls={(row[0], row[1], row[2]): (row[3], row[4], row[5], row[6]) for row in fields["calls"]},
        callees={((row[0], row[1], row[2]), row[3]): (row[4], row[5], row[6], row[7]) for row in fields["callees"]},
    )


def _graph(tallies: CallTallies, progress: Progress) -> LearnedGraph:
    kept = {key: tally for key, tally in tallies.calls.items() if tally[3] >= progress.long_horizon_ns}
    shared = _shared_keys(kept)
    bounded = CallTallies()
    for key, tally in kept.items():
        bounded.add(CallTallies(calls={shared[key]: tally}))
    for (key, callee), tally in tallies.callees.items():
        if key in shared and tally[3] >= progress.long_horizon_ns:
            bounded.add(CallTallies(callees={(shared[key], callee): tally}))
    answered: dict[CallKey, list[Callee]] = defaultdict(list)
    for (key, callee), tally in sorted(bounded.callees.items()):
        answered[key].append(_callee(callee, tally))
    numbers = {key: number for number, key in enumerate(sorted(bounded.calls), start=1)}
    made = {numbers[key]: _call(key, tally, answered[key]) for key, tally in bounded.calls.items()}
    graph = CallGraph(made, frozenset(progress.services), progress.watermark_ns)
    return LearnedGraph(graph=graph, numbers={key: numbers[place] for key, place in shared.items()})


def _shared_keys(calls: Iterable[CallKey]) -> dict[CallKey, CallKey]:
    """Where each call is counted: by itself, or beyond the bounds together with the others."""
    names: dict[tuple[str, str], int] = defaultdict(int)
    per_caller: dict[str, int] = defaultdict(int)
    shared: dict[CallKey, CallKey] = {}
    for key in sorted(calls):
        caller, peer, _ = key
        names[caller, peer] += 1
        per_caller[caller] += 1
        if per_caller[caller] > _MOST_CALLS:
            shared[key] = (caller, _OTHER_PEER, _OTHER_NAME)
        elif names[caller, peer] > _MOST_NAMES:
            shared[key] = (caller, peer, _OTHER_NAME)
        else:
            shared[key] = key
    return shared


def _call(key: CallKey, tally: Tally, callees: Iterable[Callee]) -> Call:
    return Call(
        caller=key[0],
        peer=key[1],
        name=key[2],
        calls=tally[0],
        errors=tally[1],
        first_ns=tally[2],
        last_ns=tally[3],
        callees=tuple(callees),
    )


def _callee(service: str, tally: Tally) -> Callee:
    return Callee(service=service, calls=tally[0], errors=tally[1], first_ns=tally[2], last_ns=tally[3])
