"""Laws of every telemetry store: what goes in comes out once, in order, inside its window, and is forgotten in time."""

import random
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from libs.contracts.columns import pack_int32, pack_int64
from libs.contracts.telemetry import MetricSeries
from libs.errors import InvalidMessage, Unavailable
from libs.stores.telemetry import LogQuery, SpanQuery, TelemetryStore
from tests.unit.libs.stores.telemetry_samples import (
    CLIENT,
    CONSUMER,
    EVER,
    INTERNAL,
    SERVER,
    Log,
    Span,
    at,
    change,
    log_batch,
    metric_batch,
    span_batch,
    window,
)


class TelemetryStoreLaws:
    """A subclass gives the fixtures `store` (fresh) and `reopen` (another client of the same store)."""

    def test_an_empty_store_answers_every_question_with_nothing(self, store: TelemetryStore) -> None:
        assert store.watermark_ns() == 0
        assert store.services() == []
        assert store.series(EVER) == []
        assert store.spans(SpanQuery(window=EVER)) == []
        assert store.trace("0" * 32) == []
        assert store.logs(LogQuery(window=EVER)) == []
        assert store.changes(EVER) == []
        assert store.red(EVER, 5.0) == []
        assert store.edges() == [] == store.edges(EVER)
        assert store.users(EVER, services=["cart"], failed_only=False).count == 0
        assert store.prune(at(0)) == 0

    def test_points_come_back_by_series_in_order_of_time(self, store: TelemetryStore) -> None:
        cpu = MetricSeries(name="cpu", statistic="rate", unit="1/s", attributes={"b": "2", "a": 'é"\\'})
        store.write(metrics=[metric_batch("cart", [(cpu, 10, 3.0), ("mem", 0, 1.0), (cpu, 5, 2.0)], instance="c-1")])
        store.write(metrics=[metric_batch("cart", [(cpu, 0, 1.0)], instance="c-1")])
        first, second = store.series(EVER)
        assert (first.service, first.instance, first.name, first.statistic, first.unit) == (
            *("cart", "c-1", "cpu", "rate"),
            "1/s",
        )
        assert dict(first.attributes) == {"a": 'é"\\', "b": "2"}
        assert first.timestamps_ns.tolist() == [at(0), at(5), at(10)]
        assert first.values.tolist() == [1.0, 2.0, 3.0]
        assert (second.name, second.statistic, second.values.tolist()) == ("mem", "value", [1.0])

    def test_series_are_ordered_filtered_and_limited(self, store: TelemetryStore) -> None:
        for service in ("cart", "bank"):
            store.write(metrics=[metric_batch(service, [("z", 0, 1.0), ("a", 0, 1.0)], instance="1")])
        assert [(s.service, s.name) for s in store.series(EVER)] == [
            *(("bank", "a"), ("bank", "z")),
            *(("cart", "a"), ("cart", "z")),
        ]
        assert [(s.service, s.name) for s in store.series(EVER, services=["cart"], names=["z", "none"])] == [
            ("cart", "z")
        ]
        assert len(store.series(EVER, limit=3)) == 3
        assert store.series(EVER, services=["nobody"]) == []

    def test_instances_are_different_series(self, store: TelemetryStore) -> None:
        store.write(metrics=[metric_batch("cart", [("cpu", 0, float(n))], instance=f"c-{n}") for n in range(2)])
        assert [(s.instance, s.values.tolist()) for s in store.series(EVER)] == [("c-0", [0.0]), ("c-1", [1.0])]

    def test_windows_include_their_start_and_exclude_their_end(self, store: TelemetryStore) -> None:
        times = (0.0, 5.0, 10.0)
        store.write(
            metrics=[metric_batch("cart", [("cpu", t, t) for t in times])],
            logs=[log_batch("cart", [Log(at_s=t) for t in times])],
            spans=[
                span_batch(
                    "cart", [Span(trace=1, span=n + 1, start_s=t - 1, duration_s=1) for n, t in enumerate(times)]
                )
            ],
            changes=[change(str(t), "cart", t) for t in times],
        )
        inside = window(0, 10)
        assert store.series(inside)[0].timestamps_ns.tolist() == [at(0), at(5)]
        assert [log.timestamp_ns for log in store.logs(LogQuery(window=inside, order="oldest"))] == [at(0), at(5)]
        spans = store.spans(SpanQuery(window=inside, order="oldest"))
        assert [span.start_ns + span.duration_ns for span in spans] == [at(0), at(5)]
        assert [entry.id for entry in store.changes(inside)] == ["5.0", "0.0"]
        assert [(r.start_ns, r.requests) for r in store.red(inside, 5.0)] == [(at(0), 1), (at(5), 1)]
        assert store.series(window(10.5, 20)) == []
        assert store.series(window(10, 0)) == []

    def test_the_same_batch_twice_is_stored_once(self, store: TelemetryStore) -> None:
        metrics = metric_batch("cart", [("cpu", 0, 1.0)])
        logs = log_batch("cart", [Log(), Log()])
        spans = span_batch(
            "cart", [Span(trace=1, span=1), Span(trace=1, span=2, kind=CLIENT, peer="bank", start_s=-60)]
        )
        for received_s in (1.0, 1.0, 2.0):
            observed_at = metric_batch("x", [("x", received_s, 0.0)]).observed_at
            store.write(
                metrics=[replace(metrics, observed_at=observed_at)] * 2,
                logs=[replace(logs, observed_at=observed_at)],
                spans=[replace(spans, observed_at=observed_at)] * 2,
                changes=[change("d", "cart", 0)] * 2,
            )
        assert store.series(EVER)[0].values.tolist() == [1.0]
        assert len(store.logs(LogQuery(window=EVER))) == 2
        assert len(store.spans(SpanQuery(window=EVER))) == len(store.trace(f"{1:032x}")) == 2
        assert [red.requests for red in store.red(EVER, 5.0)] == [1, 1]
        assert [edge.calls for edge in store.edges()] == [1]
        assert len(store.changes(EVER)) == 1

    def test_a_span_or_point_that_arrives_in_two_batches_is_stored_once(self, store: TelemetryStore) -> None:
        spans = [Span(trace=1, span=n, name=f"n{n}", exceptions=({"n": str(n)},)) for n in range(1, 6)]
        store.write(spans=[span_batch("cart", spans[1:4])])
        store.write(spans=[span_batch("cart", spans), span_batch("cart", spans[2:])])
        store.write(metrics=[metric_batch("cart", [("cpu", 0, 1.0), ("cpu", 5, 2.0)])])
        store.write(metrics=[metric_batch("cart", [("cpu", 5, 2.0), ("cpu", 10, 3.0)])])
        assert [r.requests for r in store.red(EVER, 5.0)] == [5]
        found = store.trace(f"{1:032x}")
        assert [(span.name, span.exceptions) for span in found] == [(s.name, s.exceptions) for s in spans]
        assert store.series(EVER)[0].values.tolist() == [1.0, 2.0, 3.0]

    def test_a_span_that_a_batch_holds_twice_is_stored_once(self, store: TelemetryStore) -> None:
        span = Span(trace=1, span=1)
        store.write(spans=[span_batch("cart", [span, span, replace(span, span=2)])])
        assert [row.span_id for row in store.trace(f"{1:032x}")] == [f"{1:016x}", f"{2:016x}"]
        assert [red.requests for red in store.red(EVER, 5.0)] == [2]

    def test_a_span_comes_back_whole(self, store: TelemetryStore) -> None:
        thrown = ({"exception.type": "KeyError", "exception.stacktrace": "a\nb"}, {"exception.type": "OSError"})
        span = Span(
            trace=2**127 + 5, span=2**63 + 7, parent=9, name="POST /buy", kind=SERVER, status=2, start_s=1.5,
            duration_s=0.25, user="u-0001", attributes={"http.route": "/buy"}, exceptions=thrown,
        )  # fmt: skip
        plain = Span(trace=1, span=1, kind=CLIENT, peer="bank:443", start_s=1.0)
        store.write(spans=[span_batch("cart", [plain, span], instance="c-1", version="1.2")])
        (row,) = store.trace(f"{span.trace:032x}")
        assert (row.trace_id, row.span_id, row.parent_span_id) == (
            f"{span.trace:032x}",
            f"{span.span:016x}",
            f"{9:016x}",
        )
        assert (row.service, row.instance, row.version, row.name) == ("cart", "c-1", "1.2", "POST /buy")
        assert (row.kind, row.status, row.start_ns, row.duration_ns) == (SERVER, 2, at(1.5), 250_000_000)
        assert (row.user, row.peer, dict(row.attributes), row.exceptions) == (
            "u-0001",
            "",
            {"http.route": "/buy"},
            thrown,
        )
        (other,) = store.trace(f"{1:032x}")
        assert (other.parent_span_id, other.user, other.peer, other.exceptions) == ("", "", "bank:443", ())

    def test_span_queries_agree_with_filtering_every_span(self, store: TelemetryStore) -> None:
        chance = random.Random(7)
        rows: list[tuple[str, Span]] = []
        for batch in range(40):
            service = chance.choice(("cart", "bank", "shop"))
            spans = [
                Span(
                    trace=chance.randrange(1, 20), span=batch * 100 + n + 1,
                    kind=chance.choice((INTERNAL, SERVER, CLIENT)), status=chance.choice((0, 0, 2)),
                    start_s=chance.uniform(0, 300), duration_s=chance.uniform(0, 20),
                )
                for n in range(chance.randrange(1, 30))
            ]  # fmt: skip
            rows.extend((service, span) for span in spans)
            store.write(spans=[span_batch(service, spans)])
        for _ in range(60):
            begin = chance.uniform(0, 250)
            query = SpanQuery(
                window=window(begin, begin + chance.uniform(0, 120)),
                services=chance.choice(((), ("cart",), ("bank", "shop"))),
                errors_only=chance.random() < 0.3,
                kinds=chance.choice(((), (SERVER,), (INTERNAL, CLIENT))),
                trace_id=f"{chance.randrange(1, 20):032x}" if chance.random() < 0.3 else "",
                order=chance.choice(("newest", "oldest", "slowest")),
                limit=chance.choice((1, 5, 50, 2000)),
            )
            wanted = [
                span
                for service, span in rows
                if query.window.start_ns <= span.end_ns < query.window.end_ns
                and (not query.services or service in query.services)
                and (span.status == 2 or not query.errors_only)
                and (not query.kinds or span.kind in query.kinds)
                and (not query.trace_id or query.trace_id == f"{span.trace:032x}")
            ]
            if query.order == "slowest":
                wanted.sort(key=lambda span: -span.duration_s)
            else:
                wanted.sort(key=lambda span: span.end_ns, reverse=query.order == "newest")
            assert [row.span_id for row in store.spans(query)] == [f"{s.span:016x}" for s in wanted[: query.limit]]

    def test_a_trace_is_ordered_by_start_and_found_whatever_its_age(self, store: TelemetryStore) -> None:
        for n, start_s in enumerate((7200.0, 0.0, 3600.0)):
            store.write(spans=[span_batch(f"s{n}", [Span(trace=9, span=n + 1, start_s=start_s)])])
        store.write(spans=[span_batch("other", [Span(trace=10, span=1), Span(trace=8, span=2**64 - 1)])])
        assert [row.service for row in store.trace(f"{9:032x}")] == ["s1", "s2", "s0"]

    @pytest.mark.parametrize("trace_id", ["", "zz", "0", "0" * 31, "0" * 34, "é" * 32, "'; DROP TABLE", "*"])
    def test_a_trace_id_that_is_none_finds_nothing(self, store: TelemetryStore, trace_id: str) -> None:
        store.write(spans=[span_batch("cart", [Span(trace=1, span=1)])], logs=[log_batch("cart", [Log(trace=1)])])
        assert store.trace(trace_id) == []
        if trace_id:
            assert store.logs(LogQuery(window=EVER, trace_id=trace_id)) == []
            assert store.spans(SpanQuery(window=EVER, trace_id=trace_id)) == []

    def test_a_trace_shows_at_most_5000_spans(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("cart", [Span(trace=1, span=n + 1, start_s=n * 1e-3) for n in range(5_100)])])
        found = store.trace(f"{1:032x}")
        assert len(found) == 5_000
        assert found[-1].span_id == f"{5_000:016x}"

    def test_log_queries_agree_with_filtering_every_record(self, store: TelemetryStore) -> None:
        chance = random.Random(11)
        rows: list[tuple[str, Log]] = []
        times = chance.sample(range(300_000), 600)
        for _ in range(30):
            service = chance.choice(("cart", "bank", "shop"))
            logs = [
                Log(
                    at_s=times.pop() / 1000, severity=chance.choice((0, 9, 13, 17)), trace=chance.randrange(0, 6),
                    body=chance.choice(("Time Out of PAYMENT", "100% cpu", "a_b", "Größe ÄÖ", "quote ' \" ")),
                    logger="l",
                )
                for _ in range(chance.randrange(1, 20))
            ]  # fmt: skip
            rows.extend((service, log) for log in logs)
            store.write(logs=[log_batch(service, logs, instance="i")])
        for _ in range(60):
            begin = chance.uniform(0, 250)
            query = LogQuery(
                window=window(begin, begin + chance.uniform(0, 150)),
                services=chance.choice(((), ("cart",), ("bank", "shop"))),
                least_severity=chance.choice((0, 13)),
                trace_id=chance.choice(("", f"{3:032x}")),
                text=chance.choice(("", "payment", "%", "_", "äö", "'", "*")),
                order=chance.choice(("newest", "oldest")),
                limit=chance.choice((1, 7, 1000)),
            )
            wanted = [
                log
                for service, log in rows
                if query.window.start_ns <= at(log.at_s) < query.window.end_ns
                and (not query.services or service in query.services)
                and log.severity >= query.least_severity
                and (not query.trace_id or log.trace == 3)
                and query.text.lower() in log.body.lower()
            ]
            wanted.sort(key=lambda log: log.at_s, reverse=query.order == "newest")
            assert [row.timestamp_ns for row in store.logs(query)] == [at(log.at_s) for log in wanted[: query.limit]]

    def test_a_log_record_comes_back_whole(self, store: TelemetryStore) -> None:
        log = Log(at_s=1, body="über\nzwei", severity=17, logger="app.cart", trace=5, user="u-1", attributes={"k": "v"})
        store.write(logs=[log_batch("cart", [Log(), log], instance="c-1")])
        row, plain = store.logs(LogQuery(window=EVER))
        assert (row.service, row.instance, row.body, row.severity) == ("cart", "c-1", "über\nzwei", 17)
        assert (row.logger, row.trace_id, row.user, dict(row.attributes)) == (
            "app.cart",
            f"{5:032x}",
            "u-1",
            {"k": "v"},
        )
        assert (plain.logger, plain.trace_id, plain.user, dict(plain.attributes)) == ("", "", "", {})

    def test_changes_are_newest_first_filtered_limited_and_replaced_by_id(self, store: TelemetryStore) -> None:
        store.write(changes=[change("a", "cart", 0), change("b", "bank", 5), change("c", "cart", 10)])
        corrected = replace(change("a", "cart", 0), summary="corrected")
        store.write(changes=[corrected])
        assert [entry.id for entry in store.changes(EVER)] == ["c", "b", "a"]
        assert store.changes(EVER, services=["cart"]) == [change("c", "cart", 10), corrected]
        assert [entry.id for entry in store.changes(EVER, limit=1)] == ["c"]

    def test_services_are_seen_by_any_signal(self, store: TelemetryStore) -> None:
        store.write(
            metrics=[metric_batch("m", [("cpu", 5, 1.0), ("cpu", 1, 1.0)])],
            logs=[log_batch("l", [Log(at_s=2)])],
            spans=[span_batch("s", [Span(trace=1, span=1, start_s=3, duration_s=1)])],
        )
        store.write(metrics=[metric_batch("m", [("cpu", 9, 1.0)])])
        seen = [(entry.service, entry.first_seen_ns, entry.last_seen_ns) for entry in store.services()]
        assert seen == [("l", at(2), at(2)), ("m", at(1), at(9)), ("s", at(4), at(4))]

    def test_the_watermark_is_the_greatest_event_time_and_never_goes_back(self, store: TelemetryStore) -> None:
        store.write(metrics=[metric_batch("a", [("cpu", 50, 1.0)])])
        store.write(logs=[log_batch("a", [Log(at_s=20)])])
        assert store.watermark_ns() == at(50)
        store.write(spans=[span_batch("b", [Span(trace=1, span=1, start_s=50, duration_s=10)])])
        assert store.watermark_ns() == at(60)

    def test_telemetry_from_the_future_is_refused_and_moves_nothing(self, store: TelemetryStore) -> None:
        store.write(metrics=[metric_batch("a", [("cpu", 0, 1.0)])])
        for batch in (
            {"metrics": [metric_batch("a", [("cpu", 0, 1.0), ("cpu", 1000, 1.0)], received_s=0)]},
            {"logs": [log_batch("a", [Log(at_s=1000)], received_s=0)]},
            {"spans": [span_batch("a", [Span(trace=1, span=1, duration_s=1000)], received_s=0)]},
        ):
            with pytest.raises(InvalidMessage, match="ahead of the time it was received"):
                store.write(**batch)
        assert store.watermark_ns() == at(0)

    def test_users_are_counted_once_and_spans_without_user_are_told(self, store: TelemetryStore) -> None:
        spans = [
            Span(trace=1, span=1, user="u1", status=2),
            Span(trace=1, span=2, user="u2", duration_s=2.0),
            Span(trace=1, span=3, user="u1"),
            Span(trace=1, span=4, user="u3"),
            Span(trace=1, span=5, status=2),
            Span(trace=1, span=6, user="u9", status=2, kind=CLIENT),
        ]
        store.write(spans=[span_batch("cart", spans[:3]), span_batch("cart", spans[3:])])
        store.write(spans=[span_batch("bank", [Span(trace=2, span=1, user="u8", status=2)])])
        failed = store.users(EVER, services=["cart"], failed_only=True)
        assert (failed.count, failed.sample, failed.spans_without_user) == (1, ("u1",), 1)
        slow = store.users(EVER, services=["cart"], failed_only=False, slower_than_s=1.0)
        assert (slow.count, slow.sample, slow.spans_without_user) == (2, ("u1", "u2"), 1)
        everyone = store.users(EVER, services=["cart", "bank"], failed_only=False)
        assert (everyone.count, everyone.sample) == (4, ("u1", "u2", "u3", "u8"))
        assert store.users(window(5, 9), services=["cart"], failed_only=False).count == 0

    def test_a_sample_of_users_is_bounded_and_sorted(self, store: TelemetryStore) -> None:
        store.write(spans=[span_batch("cart", [Span(trace=1, span=n + 1, user=f"u{n:03}") for n in range(50)])])
        found = store.users(EVER, services=["cart"], failed_only=False)
        assert (found.count, found.sample) == (50, tuple(f"u{n:03}" for n in range(20)))

    def test_red_agrees_with_counting_by_hand(self, store: TelemetryStore) -> None:
        chance = random.Random(3)
        spans = [
            Span(trace=n, span=n + 1, kind=chance.choice((SERVER, CONSUMER, INTERNAL)), status=chance.choice((0, 1, 2)),
                 start_s=chance.uniform(0, 60), duration_s=chance.uniform(0.01, 3))
            for n in range(400)
        ]  # fmt: skip
        for begin in range(0, 400, 50):
            store.write(spans=[span_batch("cart", spans[begin : begin + 50])])
        steps = store.red(window(3, 47), 7.0)
        step_ns = 7 * 10**9
        assert [red.start_ns for red in steps] == sorted({red.start_ns for red in steps})
        assert sum(red.requests for red in steps) > 150
        for red in steps:
            mine = [
                span
                for span in spans
                if span.kind != INTERNAL
                and at(3) <= span.end_ns < at(47)
                and red.start_ns <= span.end_ns < red.start_ns + step_ns
            ]
            durations = [round(span.duration_s * 1e9) / 1e9 for span in mine]
            assert red.start_ns % step_ns == 0
            assert (red.service, red.peer) == ("cart", "")
            assert (red.requests, red.errors) == (len(mine), sum(span.status == 2 for span in mine))
            assert red.duration_sum_s == pytest.approx(sum(durations))
            expected = np.percentile(durations, (50, 95, 99))
            assert (red.p50_s, red.p95_s, red.p99_s) == pytest.approx(tuple(expected))

    def test_red_is_filtered_by_the_owner_of_the_spans(self, store: TelemetryStore) -> None:
        store.write(
            spans=[
                span_batch("cart", [Span(trace=1, span=1), Span(trace=1, span=2, kind=CLIENT, peer="bank")]),
                span_batch("bank", [Span(trace=1, span=3, parent=2)]),
            ]
        )
        assert [(r.service, r.peer) for r in store.red(EVER, 5.0)] == [("bank", ""), ("cart", ""), ("cart", "bank")]
        assert [(r.service, r.peer) for r in store.red(EVER, 5.0, services=["cart"])] == [
            ("cart", ""),
            ("cart", "bank"),
        ]

    def test_old_telemetry_is_forgotten_to_the_nanosecond(self, store: TelemetryStore) -> None:
        times = (0.0, 100.0, 200.0)
        store.write(
            metrics=[metric_batch("cart", [("cpu", t, t) for t in times]), metric_batch("old", [("cpu", 0, 0.0)])],
            logs=[log_batch("cart", [Log(at_s=t) for t in times])],
            spans=[span_batch("cart", [Span(trace=1, span=int(t) + 1, start_s=t, duration_s=0) for t in times])],
        )
        assert store.prune(at(100)) >= 1
        assert [series.values.tolist() for series in store.series(EVER)] == [[100.0, 200.0]]
        assert [log.timestamp_ns for log in store.logs(LogQuery(window=EVER))] == [at(200), at(100)]
        assert len(store.spans(SpanQuery(window=EVER))) == len(store.trace(f"{1:032x}")) == 2
        assert [red.requests for red in store.red(EVER, 5.0)] == [1, 1]
        assert [entry.service for entry in store.services()] == ["cart"]
        assert store.watermark_ns() == at(200)
        store.prune(at(300))
        assert (store.series(EVER), store.logs(LogQuery(window=EVER)), store.trace(f"{1:032x}")) == ([], [], [])

    def test_changes_and_edges_are_kept_ten_times_as_long(self, store: TelemetryStore) -> None:
        store.write(changes=[change("old", "cart", 0), change("new", "cart", 500)])
        store.write(spans=[span_batch("cart", [Span(trace=1, span=1, kind=CLIENT, peer="bank")])])
        store.write(metrics=[metric_batch("cart", [("cpu", 1000, 1.0)])])
        store.prune(at(900))  # retention 100 s: changes and edges of the last 1,000 s stay
        assert [entry.id for entry in store.changes(EVER)] == ["new", "old"]
        assert [(edge.caller, edge.callee) for edge in store.edges()] == [("cart", "bank")]
        store.prune(at(950))
        assert [entry.id for entry in store.changes(EVER)] == ["new"]
        assert store.edges() == []

    def test_a_series_goes_on_after_its_past_was_forgotten(
        self, store: TelemetryStore, reopen: Callable[[], TelemetryStore]
    ) -> None:
        for at_s in (0, 5_000, 10_000):
            store.write(metrics=[metric_batch("cart", [("cpu", at_s, float(at_s))])])
            store.write(spans=[span_batch("cart", [Span(trace=1, span=at_s + 1, start_s=at_s, kind=CLIENT, peer="p")])])
            store.write(metrics=[metric_batch("clock", [("time", at_s + 1, 0.0)])])
            reopen().prune(at(at_s + 1.5))
            assert store.series(EVER) == []
            store.write(metrics=[metric_batch("cart", [("cpu", at_s + 2, 7.0)])])
            store.write(
                spans=[span_batch("cart", [Span(trace=1, span=at_s + 2, start_s=at_s + 2, kind=CLIENT, peer="p")])]
            )
            assert [(s.service, s.values.tolist()) for s in store.series(EVER)] == [("cart", [7.0])]
            assert [(r.service, r.peer, r.requests) for r in store.red(EVER, 5.0)] == [("cart", "p", 1)]

    @pytest.mark.parametrize(
        ("column", "payload"),
        [
            ("starts", b"\0" * 7),
            ("durations", pack_int64([-1])),
            ("durations", b""),
            ("starts", pack_int64([-1])),
            ("starts", pack_int64([2**63 - 1])),
            ("kinds", b""),
            ("statuses", b"\0\0"),
            ("name_index", pack_int32([1])),
            ("peer_index", pack_int32([0])),
            ("user_index", pack_int32([-2])),
            ("attribute_index", pack_int32([5])),
            ("trace_ids", b"\0" * 15),
            ("span_ids", b""),
            ("parent_span_ids", b"\0" * 16),
        ],
    )
    def test_a_bad_span_column_is_named_and_nothing_is_stored(
        self, store: TelemetryStore, column: str, payload: bytes
    ) -> None:
        good = span_batch("cart", [Span(trace=1, span=1)])
        bad = replace(span_batch("cart", [Span(trace=1, span=2)]), **{column: payload})  # type: ignore[arg-type]
        with pytest.raises(InvalidMessage, match=r"column|event time"):
            store.write(spans=[good, bad])
        assert store.spans(SpanQuery(window=EVER)) == []
        store.write(spans=[good])
        assert len(store.spans(SpanQuery(window=EVER))) == 1

    @pytest.mark.parametrize(
        ("column", "payload"),
        [("timestamps", b"1"), ("values", b""), ("series_index", pack_int32([1])), ("series_index", pack_int32([-1]))],
    )
    def test_a_bad_metric_column_is_named(self, store: TelemetryStore, column: str, payload: bytes) -> None:
        bad = replace(metric_batch("cart", [("cpu", 0, 1.0)]), **{column: payload})  # type: ignore[arg-type]
        with pytest.raises(InvalidMessage, match="column"):
            store.write(metrics=[bad])

    @pytest.mark.parametrize(
        ("column", "payload"),
        [("timestamps", b""), ("severities", b""), ("trace_ids", b"1"), ("span_ids", b""), ("logger_index", b"")],
    )
    def test_a_bad_log_column_is_named(self, store: TelemetryStore, column: str, payload: bytes) -> None:
        bad = replace(log_batch("cart", [Log()]), **{column: payload})  # type: ignore[arg-type]
        with pytest.raises(InvalidMessage, match=f"column {column}"):
            store.write(logs=[bad])

    def test_names_are_never_query_syntax(self, store: TelemetryStore) -> None:
        hostile = "x'; DROP TABLE services; -- \" % _ * \0 é"
        store.write(
            metrics=[metric_batch(hostile, [(hostile, 0, 1.0)], instance=hostile)],
            spans=[span_batch(hostile, [Span(trace=1, span=1, name=hostile, kind=CLIENT, peer=hostile)])],
            logs=[log_batch(hostile, [Log(body=hostile)])],
            changes=[change(hostile, hostile, 0)],
        )
        assert store.series(EVER, services=[hostile], names=[hostile])[0].instance == hostile
        assert store.spans(SpanQuery(window=EVER, services=(hostile,)))[0].peer == hostile
        assert store.logs(LogQuery(window=EVER, services=(hostile,), text=hostile))[0].body == hostile
        assert store.changes(EVER, services=[hostile])[0].id == hostile
        assert [entry.service for entry in store.services()] == [hostile]

    def test_a_batch_of_5000_series_is_stored_whole(self, store: TelemetryStore) -> None:
        series = [MetricSeries(name=f"m{n % 50}", attributes={"route": f"/r/{n}"}) for n in range(5_000)]
        for at_s in (0, 5):
            store.write(metrics=[metric_batch("cart", [(entry, at_s, n + at_s) for n, entry in enumerate(series)])])
        found = store.series(EVER, limit=10_000)
        assert len(found) == 5_000
        assert all(len(entry.values) == 2 and entry.values[1] - entry.values[0] == 5 for entry in found)
        assert len(store.series(EVER, names=["m7"])) == 100

    def test_empty_batches_change_nothing(self, store: TelemetryStore) -> None:
        span, metric, log = (
            span_batch("a", [Span(trace=1, span=1)]),
            metric_batch("a", [("m", 0, 0)]),
            log_batch("a", [Log()]),
        )
        columns = ("trace_ids", "span_ids", "parent_span_ids", "starts", "durations", "kinds", "statuses", "name_index")
        indices = ("peer_index", "user_index", "attribute_index")
        store.write()
        store.write(
            metrics=[replace(metric, series_index=b"", timestamps=b"", values=b"")],
            spans=[replace(span, **dict.fromkeys((*columns, *indices), b""))],  # type: ignore[arg-type]
            logs=[
                replace(
                    log, bodies=(), timestamps=b"", severities=b"", trace_ids=b"", span_ids=b"", logger_index=b"",
                    user_index=b"", attribute_index=b"",
                )
            ],
        )  # fmt: skip
        assert (store.services(), store.watermark_ns()) == ([], 0)

    def test_threads_may_write_and_read_at_once(self, store: TelemetryStore) -> None:
        failures: list[BaseException] = []

        def work(worker: int) -> None:
            try:
                for n in range(20):
                    spans = [Span(trace=worker + 1, span=worker * 1000 + n + 1, start_s=n)]
                    store.write(spans=[span_batch(f"s{worker}", spans)], metrics=[metric_batch("m", [("cpu", n, 1.0)])])
                    assert len(store.trace(f"{worker + 1:032x}")) == n + 1
                    store.red(EVER, 5.0)
            except BaseException as error:
                failures.append(error)
                raise

        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert sum(red.requests for red in store.red(EVER, 5.0)) == 80

    def test_another_client_sees_what_was_written(
        self, store: TelemetryStore, reopen: Callable[[], TelemetryStore]
    ) -> None:
        other = reopen()
        store.write(metrics=[metric_batch("cart", [("cpu", 0, 1.0)])])
        other.write(metrics=[metric_batch("cart", [("cpu", 5, 2.0)])])
        assert store.series(EVER)[0].values.tolist() == other.series(EVER)[0].values.tolist() == [1.0, 2.0]

    def test_a_closed_store_is_unavailable(self, store: TelemetryStore) -> None:
        store.close()
        store.close()
        with pytest.raises(Unavailable):
            store.watermark_ns()
        with pytest.raises(Unavailable):
            store.write(metrics=[metric_batch("cart", [("cpu", 0, 1.0)])])
