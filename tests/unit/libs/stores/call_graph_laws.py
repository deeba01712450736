"""Laws of the service graph that every telemetry store learns from spans."""

from itertools import permutations

import pytest

from libs.contracts.telemetry import SpanBatch
from libs.stores.telemetry import TelemetryStore
from tests.unit.libs.stores.telemetry_samples import (
    CLIENT,
    CONSUMER,
    EVER,
    INTERNAL,
    PRODUCER,
    SERVER,
    Span,
    at,
    metric_batch,
    span_batch,
    window,
)

ADDRESS = "127.0.0.1:53211"


def graph(store: TelemetryStore) -> list[tuple[str, str, int, int]]:
    return [(edge.caller, edge.callee, edge.calls, edge.errors) for edge in store.edges()]


def windowed(store: TelemetryStore, start_s: float, end_s: float) -> list[tuple[str, str, int, int]]:
    edges = store.edges(window(start_s, end_s))
    return [(edge.caller, edge.callee, edge.calls, edge.errors) for edge in edges]


def red_edges(store: TelemetryStore) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    for red in store.red(EVER, 5.0):
        if red.peer:
            counts[red.service, red.peer] = counts.get((red.service, red.peer), 0) + red.requests
    return counts


def call(trace: int, *, start_s: float = 0.0, peer: str = ADDRESS, status: int = 0, name: str = "GET") -> Span:
    return Span(trace=trace, span=2, parent=1, kind=CLIENT, peer=peer, status=status, start_s=start_s, name=name)


def answer(trace: int, *, start_s: float = 0.0) -> Span:
    return Span(trace=trace, span=3, parent=2, kind=SERVER, start_s=start_s + 0.01, duration_s=0.05)


def pass_time(store: TelemetryStore, at_s: float) -> None:
    store.write(metrics=[metric_batch("clock", [("time", at_s, 0.0)])])


class CallGraphLaws:
    """A subclass gives the fixture `store` (fresh)."""

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    def test_an_edge_is_learned_in_every_order_of_arrival(self, store: TelemetryStore, order: tuple[int, ...]) -> None:
        batches = [
            span_batch("gateway", [Span(trace=1, span=1), call(1)]),
            span_batch("cart", [answer(1), Span(trace=1, span=4, parent=3, kind=CLIENT, peer="10.0.0.9:80")]),
            span_batch("stock", [Span(trace=1, span=5, parent=4)]),
        ]
        for place in order:
            store.write(spans=[batches[place]])
        assert graph(store) == windowed(store, -1, 1) == [("cart", "stock", 1, 0), ("gateway", "cart", 1, 0)]
        assert red_edges(store) == {("gateway", "cart"): 1, ("cart", "stock"): 1}

    def test_one_transaction_learns_as_many_do(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("cart", [answer(1)]), span_batch("gateway", [Span(trace=1, span=1), call(1)])])
        assert graph(store) == [("gateway", "cart", 1, 0)]

    def test_the_same_spans_twice_count_once(self, store: TelemetryStore) -> None:
        batches = [span_batch("gateway", [call(1), call(2)]), span_batch("cart", [answer(1)])]
        for batch in (*batches, *batches, span_batch("gateway", [call(2), call(3)])):
            store.write(spans=[batch])
        assert graph(store) == windowed(store, -1, 1) == [("gateway", "cart", 3, 0)]

    def test_a_call_that_timed_out_belongs_to_the_service_known_for_its_address(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("gateway", [call(1)]), span_batch("cart", [answer(1)])])
        store.write(
            spans=[span_batch("gateway", [call(2, start_s=30, status=2), call(3, start_s=31, status=2, name="PUT")])]
        )
        assert graph(store) == [("gateway", "cart", 3, 2)]
        assert windowed(store, 20, 40) == [("gateway", "cart", 2, 2)]
        assert red_edges(store) == {("gateway", "cart"): 3}

    def test_what_is_learned_later_renames_earlier_calls(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("gateway", [call(1, status=2)])])
        pass_time(store, 60)
        assert graph(store) == [("gateway", ADDRESS, 1, 1)]
        store.write(spans=[span_batch("gateway", [call(2, start_s=60)]), span_batch("cart", [answer(2, start_s=60)])])
        assert graph(store) == [("gateway", "cart", 2, 1)]
        assert red_edges(store) == {("gateway", "cart"): 2}

    def test_an_external_callee_appears_by_its_peer_name_after_ten_seconds(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("payments", [call(1, peer="bank")])])
        pass_time(store, 9)
        assert graph(store) == windowed(store, -1, 20) == []
        assert red_edges(store) == {("payments", "bank"): 1}
        pass_time(store, 11)
        assert graph(store) == windowed(store, -1, 20) == [("payments", "bank", 1, 0)]

    def test_a_peer_named_like_a_service_is_that_service_at_once(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("cart", [Span(trace=9, span=1)])])
        store.write(spans=[span_batch("gateway", [call(1, peer="cart", status=2)])])
        assert graph(store) == [("gateway", "cart", 1, 1)]

    def test_an_address_that_another_caller_got_an_answer_from_is_known(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("gateway", [call(1)]), span_batch("cart", [answer(1)])])
        store.write(spans=[span_batch("checkout", [call(2, status=2)])])
        assert graph(store) == [("checkout", "cart", 1, 1), ("gateway", "cart", 1, 0)]

    def test_one_address_in_front_of_several_services_is_told_apart_by_call(self, store: TelemetryStore) -> None:
        calls = [call(trace, start_s=trace) for trace in range(1, 7)]
        store.write(spans=[span_batch("gateway", [*calls, call(7, start_s=4.5, status=2)])])
        store.write(spans=[span_batch("cart", [answer(trace, start_s=trace) for trace in (1, 3, 5)])])
        store.write(spans=[span_batch("catalog", [answer(trace, start_s=trace) for trace in (2, 4, 6)])])
        assert graph(store) == windowed(store, 0, 60) == [("gateway", "cart", 3, 0), ("gateway", "catalog", 3, 0)]
        assert red_edges(store) == {("gateway", "cart"): 3, ("gateway", "catalog"): 3, ("gateway", ADDRESS): 1}

    def test_an_address_that_changed_hands_belongs_to_whom_answered_around_that_time(
        self, store: TelemetryStore
    ) -> None:
        early, late = [call(t, start_s=t) for t in (1, 2, 3)], [call(t, start_s=t) for t in (600, 601, 603)]
        store.write(spans=[span_batch("gateway", [*early, *late])])
        store.write(spans=[span_batch("cart", [answer(1, start_s=1), answer(3, start_s=3)])])
        store.write(spans=[span_batch("catalog", [answer(600, start_s=600), answer(603, start_s=603)])])
        assert red_edges(store) == {("gateway", "cart"): 3, ("gateway", "catalog"): 3}
        assert windowed(store, 500, 700) == [("gateway", "catalog", 3, 0)]

    def test_a_caller_without_client_spans_is_a_caller_all_the_same(self, store: TelemetryStore) -> None:
        parent = Span(trace=1, span=1, duration_s=1)
        children = [Span(trace=1, span=2, parent=1, status=2), Span(trace=1, span=3, parent=1, kind=CONSUMER)]
        store.write(spans=[span_batch("cart", children)])
        store.write(spans=[span_batch("gateway", [parent])])
        assert graph(store) == windowed(store, -1, 5) == [("gateway", "cart", 2, 1)]

    def test_a_queue_leads_to_its_consumer(self, store: TelemetryStore) -> None:
        store.write(
            spans=[span_batch("shop", [Span(trace=1, span=1, kind=PRODUCER, peer="orders", name="send orders")])]
        )
        store.write(spans=[span_batch("mailer", [Span(trace=1, span=2, parent=1, kind=CONSUMER, start_s=20)])])
        assert graph(store) == [("shop", "mailer", 1, 0)]

    def test_a_service_is_no_neighbour_of_itself(self, store: TelemetryStore) -> None:
        store.write(
            spans=[
                span_batch("cart", [Span(trace=1, span=1), call(1), answer(1)]),
                span_batch("cart", [Span(trace=1, span=9, parent=1, kind=INTERNAL), Span(trace=1, span=8, parent=9)]),
            ]
        )
        pass_time(store, 60)
        assert graph(store) == windowed(store, -1, 5) == []

    def test_a_parent_that_never_arrives_is_no_edge(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("gateway", [Span(trace=1, span=2, parent=77)])])
        pass_time(store, 60)
        assert graph(store) == []

    def test_equal_span_ids_of_other_traces_do_not_join(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("gateway", [call(1, peer="x")]), span_batch("cart", [answer(2)])])
        pass_time(store, 60)
        assert graph(store) == [("gateway", "x", 1, 0)]

    def test_a_call_without_a_name_is_known_by_its_answer(self, store: TelemetryStore) -> None:
        store.write(
            spans=[span_batch("gateway", [call(1, peer=""), call(2, peer="")]), span_batch("cart", [answer(1)])]
        )
        assert graph(store) == windowed(store, -1, 5) == [("gateway", "cart", 1, 0)]
        assert red_edges(store) == {("gateway", "cart"): 1}

    def test_edges_tell_when_they_were_first_and_last_used(self, store: TelemetryStore) -> None:
        batches: list[SpanBatch] = []
        for trace, start_s in ((1, 10.0), (2, 50.0), (3, 30.0)):
            batches += [
                span_batch("gateway", [call(trace, start_s=start_s)]),
                span_batch("cart", [answer(trace, start_s=start_s)]),
            ]
        store.write(spans=batches)
        (edge,) = store.edges()
        assert (edge.first_seen_ns, edge.last_seen_ns) == (at(10.1), at(50.1))
        (edge,) = store.edges(window(20, 40))
        assert (edge.calls, edge.first_seen_ns, edge.last_seen_ns) == (1, at(30.1), at(30.1))

    def test_names_without_end_do_not_grow_the_graph_without_end(self, store: TelemetryStore) -> None:
        spans = [Span(trace=1, span=n + 1, kind=CLIENT, peer="db", name=f"SELECT {n}", start_s=0) for n in range(300)]
        store.write(spans=[span_batch("cart", spans)])
        pass_time(store, 60)
        assert graph(store) == [("cart", "db", 300, 0)]
        assert red_edges(store) == {("cart", "db"): 300}
