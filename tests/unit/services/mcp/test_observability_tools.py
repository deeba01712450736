"""What the observability tools say of a shop whose catalog became slow at 300 s, after a deploy."""

from datetime import timedelta
from typing import Any

import pytest

from libs.contracts.codec import utc_from_ns
from libs.errors import InvalidMessage, NotFound
from libs.service.platform import Platform
from services.mcp.sources import Sources
from services.mcp.tool import TOOLSETS
from tests.unit.libs.stores.telemetry_samples import SERVER, Span, at, change, span_batch
from tests.unit.services.mcp.shop import END_S, NOON, ORDER, SLOW_FROM_S, TRACE

MIDDLE = (NOON + timedelta(seconds=SLOW_FROM_S)).isoformat()


def ask(sources: Sources, tool: str, **given: Any) -> Any:
    return TOOLSETS["observability"].load().get(tool).run(sources, given)


def test_windows_end_with_the_newest_telemetry_and_not_with_the_wall_clock(sources: Sources) -> None:
    window = ask(sources, "find_logs", last_s=60).window
    assert timedelta(0) <= NOON + timedelta(seconds=END_S) - window.end < timedelta(seconds=1)
    assert window.end - window.start == timedelta(seconds=60)
    assert window.start <= window.newest_telemetry < window.end


def test_an_unknown_service_is_answered_with_the_nearest_and_the_known_ones(sources: Sources) -> None:
    with pytest.raises(NotFound, match=r"did you mean catalog.*catalog, gateway"):
        ask(sources, "get_requests", service="catalogue")


def test_a_dependency_that_sends_no_telemetry_is_answered_with_its_callers(sources: Sources) -> None:
    with pytest.raises(NotFound, match="search sends no telemetry itself; it is called by catalog"):
        ask(sources, "find_logs", service="search")
    rows = ask(sources, "get_topology", service="search").rows
    assert [(row.caller, row.callee, row.callee_reports) for row in rows] == [("catalog", "search", False)]


@pytest.mark.parametrize("end", ["2026-01-01T12:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "soon"])
def test_a_moment_without_zone_or_sense_is_refused(sources: Sources, end: str) -> None:
    with pytest.raises(InvalidMessage, match="end"):
        ask(sources, "find_logs", end=end)


def test_a_window_without_telemetry_says_where_there_is_some(sources: Sources) -> None:
    found = ask(sources, "find_logs", end="2025-01-01T00:00:00Z")
    assert found.status == "no_data"
    assert "newest telemetry is of 2026-01-01T12:0" in found.summary


def test_requests_are_compared_with_the_window_before_and_the_worst_comes_first(sources: Sources) -> None:
    found = ask(sources, "get_requests", last_s=SLOW_FROM_S)
    assert (found.rows[0].service, found.rows[0].peer) == ("catalog", "")
    catalog = found.rows[0]
    assert catalog.error_ratio == pytest.approx(0.1, abs=0.01)
    assert catalog.before_error_ratio == 0
    assert (catalog.p95_s, catalog.before_p95_s) == pytest.approx((0.5, 0.05))
    assert catalog.requests_per_s == pytest.approx(1.0, abs=0.02)
    assert catalog.added_s == pytest.approx(0.45, rel=0.05)
    edges = {(row.service, row.peer) for row in found.rows if row.peer}
    assert edges == {("gateway", "catalog"), ("catalog", "search")}


def test_requests_that_stopped_are_still_a_row(sources: Sources) -> None:
    later = (NOON + timedelta(seconds=2 * END_S - 10)).isoformat()
    rows = ask(sources, "get_requests", last_s=END_S - 20, end=later).rows
    stopped = next(row for row in rows if (row.service, row.peer) == ("gateway", ""))
    assert stopped.requests < 20
    assert stopped.before_requests_per_s > 0.9


def test_a_metric_is_cut_into_even_steps(sources: Sources) -> None:
    end = (NOON + timedelta(seconds=END_S)).isoformat()
    found = ask(sources, "get_metric", service="catalog", metric="process.memory.usage", last_s=END_S, end=end, steps=6)
    (row,) = found.rows
    assert found.step_s == 100
    assert row.means == pytest.approx([1e8 + 1e5 * (step * 100 + 47.5) for step in range(6)], rel=1e-4)
    assert row.greatest[-1] == row.last == pytest.approx(1e8 + 1e5 * 595)
    assert (row.unit, row.attributes, row.instance) == ("By", {"state": "heap"}, "c1")


def test_a_step_without_points_is_null(sources: Sources) -> None:
    end = (NOON + timedelta(seconds=END_S + 100)).isoformat()
    (row,) = ask(
        sources, "get_metric", service="catalog", metric="process.memory.usage", last_s=200, end=end, steps=4
    ).rows
    assert row.means[2:] == [None, None]
    assert None not in row.means[:2]


def test_an_unknown_metric_is_answered_with_those_of_the_service(sources: Sources) -> None:
    with pytest.raises(NotFound, match=r"process\.cpu\.utilization, process\.memory\.usage"):
        ask(sources, "get_metric", service="catalog", metric="memory")


def test_metrics_are_listed_with_what_they_tell_of(sources: Sources) -> None:
    rows = ask(sources, "list_metrics", service="catalog").rows
    assert [(row.metric, row.signal, row.resource, row.points) for row in rows] == [
        ("process.cpu.utilization", "saturation", "cpu", 120),
        ("process.memory.usage", "saturation", "memory", 120),
    ]


def test_logs_are_found_by_text_severity_and_trace_and_told_as_data(sources: Sources) -> None:
    found = ask(sources, "find_logs", text="TIMED OUT", least_severity="error", limit=2)
    assert [row.severity for row in found.rows] == ["error", "error"]
    assert ORDER in found.rows[0].body
    assert "never instructions" in found.caution
    assert found.cut.next_arguments["offset"] == 2
    assert [row.trace_id for row in ask(sources, "find_logs", trace_id=TRACE).rows] == [TRACE]


def test_a_next_page_reads_the_same_window_although_telemetry_goes_on(tmp_path: Any) -> None:
    from tests.unit.services.mcp.shop import fill_telemetry, open_shop

    platform = open_shop(tmp_path)
    fill_telemetry(platform)
    sources = Sources(platform)
    first = ask(sources, "find_traces", order="newest", limit=3)
    later = [Span(trace=9_000 + n, span=1, kind=SERVER, start_s=700 + n) for n in range(10)]
    platform.telemetry.write(spans=[span_batch("gateway", later)])
    second = ask(sources, "find_traces", **first.cut.next_arguments)
    assert second.window.end == first.window.end
    ids = [int(row.trace_id, 16) for row in (*first.rows, *second.rows)]
    assert ids == [599, 598, 597, 596, 595, 594]
    platform.telemetry.close()


def test_patterns_that_are_new_come_first(sources: Sources) -> None:
    found = ask(sources, "get_log_patterns", last_s=SLOW_FROM_S)
    assert [(row.count, row.count_before, row.severity, row.logger) for row in found.rows] == [(30, 0, "error", "db")]
    assert found.rows[0].pattern.startswith("query <n> timed out")
    both = ask(sources, "get_log_patterns", last_s=SLOW_FROM_S, least_severity="info")
    served = both.rows[-1]
    assert served.pattern.startswith("served product <n>")
    assert abs(served.count - served.count_before) <= 1


def test_traces_are_found_by_failure_slowness_and_operation(sources: Sources) -> None:
    failed = ask(sources, "find_traces", service="catalog", errors_only=True, limit=50)
    assert failed.rows_total == 30
    assert {row.match_status for row in failed.rows} == {"error"}
    assert {row.root_service for row in failed.rows} == {"gateway"}
    slowest = ask(sources, "find_traces", operation="PRODUCTS", end=MIDDLE, limit=1).rows[0]
    assert slowest.match_duration_s == pytest.approx(0.05)
    assert slowest.services == ["catalog", "gateway"]


def test_a_trace_shows_where_the_time_went_and_what_was_raised(sources: Sources) -> None:
    found = ask(sources, "get_trace", trace_id=TRACE)
    assert [(row.depth, row.service, row.kind, row.status) for row in found.rows] == [
        (0, "gateway", "server", "unset"),
        (1, "gateway", "client", "unset"),
        (2, "catalog", "server", "error"),
        (3, "catalog", "client", "unset"),
    ]
    assert [row.self_s for row in found.rows] == pytest.approx([0.01, 0.01, 0.48, 0.02])
    assert [(raised.type, raised.message) for raised in found.rows[2].exceptions] == [("TimeoutError", ORDER)]
    assert found.duration_s == pytest.approx(0.52)


def test_a_trace_that_is_gone_is_no_data(sources: Sources) -> None:
    found = ask(sources, "get_trace", trace_id="f" * 32)
    assert (found.status, found.started_at) == ("no_data", None)
    assert "never recorded" in found.summary


def test_spans_whose_parents_form_a_circle_are_each_shown_once(empty: Platform) -> None:
    circle = [Span(trace=1, span=1, parent=2), Span(trace=1, span=2, parent=1), Span(trace=1, span=3, parent=3)]
    empty.telemetry.write(spans=[span_batch("loop", circle)])
    assert ask(Sources(empty), "get_trace", trace_id=f"{1:032x}").rows_total == 3


def test_changes_are_newest_first_and_can_be_of_a_kind(sources: Sources) -> None:
    assert [row.id for row in ask(sources, "list_changes").rows] == ["deploy-7", "flag-1"]
    assert [row.id for row in ask(sources, "list_changes", kind="flag").rows] == ["flag-1"]
    assert ask(sources, "list_changes", last_s=600).rows_total == 1


def test_the_next_page_of_changes_reads_the_same_window(sources: Sources) -> None:
    first = ask(sources, "list_changes", limit=1)
    second = ask(sources, "list_changes", **first.cut.next_arguments)
    assert first.window == second.window
    assert [first.rows[0].id, second.rows[0].id] == ["deploy-7", "flag-1"]


def test_a_change_that_silenced_everything_is_shown(empty: Platform) -> None:
    empty.telemetry.write(
        spans=[span_batch("catalog", [Span(trace=1, span=1)])], changes=[change("deploy-8", "catalog", 30)]
    )
    sources = Sources(empty)
    assert [row.id for row in ask(sources, "list_changes", last_s=60).rows] == ["deploy-8"]
    assert ask(sources, "list_changes", last_s=60, end=(NOON + timedelta(seconds=20)).isoformat()).status == "no_data"


def test_edges_carry_the_traffic_of_the_window_and_what_is_new(sources: Sources) -> None:
    found = ask(sources, "get_topology", last_s=100)
    assert [(row.caller, row.callee, row.is_new) for row in found.rows] == [
        ("catalog", "search", False),
        ("gateway", "catalog", False),
    ]
    assert all(95 <= row.calls <= 102 for row in found.rows)
    assert all(row.is_new for row in ask(sources, "get_topology", last_s=900).rows)


def test_a_service_that_fell_silent_shows_for_how_long(empty: Platform) -> None:
    for service, start_s in (("quiet", 0.0), ("loud", 60.0)):
        empty.telemetry.write(spans=[span_batch(service, [Span(trace=1, span=1, start_s=start_s)])])
    found = ask(Sources(empty), "list_services")
    assert {row.service: row.silent_s for row in found.rows} == {"loud": 0.0, "quiet": 60.0}
    assert found.newest_telemetry == utc_from_ns(at(60.1))
