"""Columns of spans survive the way through documents, each span once, and tell of the same calls in any cut."""

from collections.abc import Sequence
from typing import Any

from libs.contracts.telemetry import SpanBatch
from libs.stores.elastic_call_steps import CallTallies, count_calls
from libs.stores.elastic_connection import ElasticConnection
from libs.stores.elastic_slices import Slicing
from libs.stores.elastic_span_columns import SpanColumnReader
from libs.stores.elastic_span_write import GRAPH_STEP_NS, column_items
from libs.stores.telemetry import Window
from libs.stores.telemetry_columns import span_columns
from tests.unit.libs.stores.elastic_fake import FakeCluster
from tests.unit.libs.stores.telemetry_samples import CLIENT, CONSUMER, EVER, SERVER, Span, at, span_batch

SLICING = Slicing(prefix="p", width_s=3_600)
CALL = Span(trace=1, span=2, parent=1, kind=CLIENT, peer="10.0.0.1:80", status=2)
ANSWER = Span(trace=1, span=3, parent=2, kind=SERVER, start_s=0.01, duration_s=0.05)


def reader(*batches: SpanBatch) -> SpanColumnReader:
    """A reader of a cluster that holds what the batches become."""
    sources = [item.source for batch in batches for item in column_items(span_columns(batch), SLICING)]
    cluster = FakeCluster()

    def answer(method: str, path: str, body: Any) -> Any:
        if path.endswith("/_pit") and method == "POST":
            return 200, {"id": "pit"}
        if path == "/_search":
            return 200, {"hits": {"hits": [{"_source": source, "sort": [0]} for source in sources]}}
        return None

    cluster.answer = answer
    return SpanColumnReader(ElasticConnection(cluster.options(), lambda *_: None), "p-span-columns-*")


def tallies(batches: Sequence[SpanBatch], window: Window = EVER) -> CallTallies:
    columns = reader(*batches)
    table = columns.load(EVER, None, with_ids=True)
    return count_calls(table, window, columns.names, columns.calls)


def test_a_span_that_two_batches_carry_is_read_once() -> None:
    batches = [span_batch("cart", [CALL, ANSWER]), span_batch("cart", [CALL])]
    table = reader(*batches).load(EVER, None, with_ids=True)
    assert len(table.rows) == len(table.ends) == len(table.ids) == len(table.services) == 2


def test_only_spans_that_ended_in_the_window_are_read() -> None:
    spans = [Span(trace=1, span=n + 1, start_s=n, duration_s=0) for n in range(5)]
    table = reader(span_batch("cart", spans)).load(Window(start_ns=at(1), end_ns=at(3)), None, with_ids=True)
    assert table.ends.tolist() == [at(1), at(2)]


def test_nothing_stored_is_nothing_read() -> None:
    columns = reader()
    table = columns.load(EVER, None, with_ids=True)
    assert len(table.rows) == 0
    assert count_calls(table, EVER, columns.names, columns.calls) == CallTallies()


def test_a_batch_is_cut_where_steps_of_the_graph_meet() -> None:
    spans = [Span(trace=1, span=n + 1, start_s=n * 200) for n in range(4)]
    items = list(column_items(span_columns(span_batch("cart", spans)), SLICING))
    assert [item.source["paramedic"]["size"] for item in items] == [2, 1, 1]
    assert len({item.id for item in items}) == 3
    assert {item.source["paramedic"]["graph_slice"] * GRAPH_STEP_NS % GRAPH_STEP_NS for item in items} == {0}


def test_a_call_and_its_answer_are_joined_across_batches() -> None:
    told = tallies([span_batch("gateway", [CALL]), span_batch("cart", [ANSWER])])
    call = ("gateway", "10.0.0.1:80", "GET")
    assert told.calls == {call: (1, 1, CALL.end_ns, CALL.end_ns)}
    assert told.callees == {(call, "cart"): (1, 1, ANSWER.end_ns, ANSWER.end_ns)}


def test_a_parent_that_is_no_call_counts_when_it_is_another_services() -> None:
    parent = Span(trace=1, span=1, duration_s=1)
    children = [Span(trace=1, span=2, parent=1, status=2), Span(trace=1, span=3, parent=1, kind=CONSUMER)]
    told = tallies([span_batch("gateway", [parent]), span_batch("cart", children)])
    assert told.callees == {(("gateway", "", ""), "cart"): (2, 1, at(0.1), at(0.1))}
    own = tallies([span_batch("cart", [parent]), span_batch("cart", children)])
    assert own == CallTallies()


def test_steps_add_up_to_the_whole() -> None:
    calls = [Span(trace=n, span=2, kind=CLIENT, peer="p", start_s=n, status=2 * (n % 2)) for n in range(1, 9)]
    answers = [Span(trace=n, span=3, parent=2, start_s=n) for n in range(1, 9)]
    batches = [span_batch("a", calls), span_batch("b", answers)]
    added = CallTallies()
    for begin in (0, 3, 6):
        added.add(tallies(batches, Window(start_ns=at(begin), end_ns=at(begin + 3))))
    added.add(tallies(batches, Window(start_ns=at(9), end_ns=at(12))))
    assert added == tallies(batches)
