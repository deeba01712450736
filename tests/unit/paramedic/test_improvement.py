"""Which recommendation the demo tries, how it measures, and every expectation that can fail."""

import dataclasses
import math
from datetime import UTC, datetime, timedelta

import pytest

from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from libs.stores.telemetry import SpanRow, Window
from paramedic.demo.improvement import (
    LEAST_REQUESTS,
    Improvement,
    Sample,
    calm_windows,
    choose,
    failures_of,
    is_enough,
    next_version,
    on_healthy,
    open_recommendations,
    sample,
    shown,
)
from paramedic.demo.observer import Seen

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
INDEX = CodeChangeRecommended(
    id="r-1",
    rule="slow_query",
    service="checkout",
    title="orders are read whole for each user",
    location=CodeLocation(path="examples/shop/checkout.py", line=52, function="orders_of"),
    benefit="25 ms of 27 ms a request",
    confidence=0.8,
    diff="--- a/examples/shop/sql/checkout.sql\n",
    recommended_at=NOW,
    operation="GET /orders",
    before_s=0.027,
    after_s=0.002,
)
GOOD = Improvement(
    found=shown([INDEX]),
    rules=("a", "b", "c", "slow_query"),
    chosen=INDEX.title,
    service="checkout",
    operation="GET /orders",
    version="3.1.3",
    estimated_before_s=0.027,
    estimated_after_s=0.002,
    before=Sample(requests=50, mean_s=0.028, error_s=0.001),
    after=Sample(requests=20, mean_s=0.004, error_s=0.001),
)


def seen(*records: CodeChangeRecommended) -> list[Seen]:
    return [Seen(at=NOW + timedelta(seconds=number), record=record) for number, record in enumerate(records)]


def but(**changes: object) -> Improvement:
    return dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type] # the tests know the fields


def span(duration_s: float, *, name: str = "GET /orders", version: str = "3.1.2") -> SpanRow:
    return SpanRow(
        trace_id="t", span_id="s", parent_span_id="", service="checkout", version=version, name=name, kind=2,
        status=0, start_ns=0, duration_ns=int(duration_s * 1e9),
    )  # fmt: skip


def test_the_newest_state_of_each_recommendation_counts() -> None:
    dismissed = dataclasses.replace(INDEX, state="dismissed")
    other = dataclasses.replace(INDEX, id="r-2", before_s=0.5)
    assert [one.id for one in open_recommendations(seen(INDEX, other))] == ["r-2", "r-1"]
    assert open_recommendations(seen(INDEX, dismissed)) == []


def test_the_greatest_saving_with_a_diff_is_tried() -> None:
    no_diff = dataclasses.replace(INDEX, id="r-2", before_s=9.0, diff="")
    no_time = dataclasses.replace(INDEX, id="r-3", before_s=0.0, after_s=0.0)
    nameless = dataclasses.replace(INDEX, id="r-4", before_s=9.0, operation="")
    smaller = dataclasses.replace(INDEX, id="r-5", before_s=0.01)
    assert choose([no_diff, no_time, nameless, smaller, INDEX]) is INDEX
    assert choose([no_diff, no_time, nameless]) is None


def test_a_recommendation_for_a_service_without_a_weakness_is_false() -> None:
    healthy = dataclasses.replace(INDEX, id="r-6", service="gateway")
    assert on_healthy([INDEX], {"checkout"}) == ()
    assert "gateway (slow_query)" in on_healthy([INDEX, healthy], {"checkout"})[0]


def test_a_recommendation_is_shown_with_its_place() -> None:
    assert shown([INDEX])[0].place == "examples/shop/checkout.py:52"
    assert shown([INDEX])[0].has_diff


@pytest.mark.parametrize(
    ("live", "taken", "expected"),
    [("1.8.0", ("1.8.0", "1.8.1"), "1.8.2"), ("3.1.2", ("3.1.2",), "3.1.3"), ("7", ("7",), "8"), ("x.y", (), "x.1")],
)
def test_the_next_version_is_free(live: str, taken: tuple[str, ...], expected: str) -> None:
    assert next_version(live, taken) == expected


def test_calm_is_what_troubles_leave() -> None:
    windows = calm_windows([(30, 40), (10, 20), (15, 25)], 0, 50)
    assert windows == [Window(start_ns=a, end_ns=b) for a, b in ((0, 10), (25, 30), (40, 50))]
    assert calm_windows([(0, 60)], 0, 50) == []


def test_only_the_operation_at_the_version_is_measured() -> None:
    spans = [span(0.02), span(0.04), span(9.0, name="POST /orders"), span(9.0, version="3.1.3")]
    measured = sample(spans, "GET /orders", "3.1.2")
    assert measured.requests == 2
    assert measured.mean_s == pytest.approx(0.03)
    assert measured.error_s == pytest.approx(0.01)
    assert sample([], "GET /orders", "3.1.2") == Sample()
    assert sample([span(0.02)], "GET /orders", "3.1.2").error_s == math.inf


def test_measuring_goes_on_while_the_saving_is_unsure() -> None:
    sure = Sample(requests=LEAST_REQUESTS, mean_s=0.004, error_s=0.001)
    assert is_enough(GOOD.before, sure, 0.025)
    assert not is_enough(GOOD.before, dataclasses.replace(sure, error_s=0.02), 0.025)
    assert not is_enough(GOOD.before, dataclasses.replace(sure, requests=LEAST_REQUESTS - 1), 0.025)


def test_a_promise_that_is_kept_has_no_failures() -> None:
    assert failures_of(GOOD) == ()
    assert GOOD.ratio == pytest.approx(0.025 / 0.024)


@pytest.mark.parametrize(
    ("improvement", "words"),
    [
        (but(rules=("a", "b", "c")), "3 kinds"),
        (but(rules=()), "(none)"),
        (but(chosen="", version=""), "no recommendation came with a diff"),
        (but(version=""), "not deployed"),
        (but(after=Sample(requests=3, mean_s=0.004)), "too few requests"),
        (but(before=Sample()), "too few requests"),
        (but(after=Sample(requests=20, mean_s=0.027)), "not within a factor of 2"),
        (but(after=Sample(requests=20, mean_s=0.030)), "not within a factor of 2"),
        (but(estimated_before_s=0.1), "not within a factor of 2"),
        (but(tickets=("INC-000009",)), "INC-000009"),
    ],
)
def test_each_expectation_that_does_not_hold_is_told(improvement: Improvement, words: str) -> None:
    assert words in "; ".join(failures_of(improvement))
