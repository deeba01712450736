"""Counters become rates: never negative, never counted twice, never lost by a request that is sent again."""

from hypothesis import given, settings
from hypothesis import strategies as st

from libs.contracts.telemetry import MetricBatch
from services.intake.normalise.normaliser import Normaliser
from services.intake.normalise.points import NOT_FINITE, OUT_OF_ORDER
from services.intake.signals import Accepted
from tests.unit.services.intake.requests import (
    CUMULATIVE,
    DELTA,
    at,
    attributes,
    counter,
    gauge,
    metrics,
    send,
    send_metrics,
    units,
    values,
)

RATE = ("requests", "rate")


def rates(*points: tuple[float, float] | tuple[float, float, float]) -> list[float]:
    """Rates of one cumulative counter given as (second, value[, start])."""
    normaliser = Normaliser()
    found: list[float] = []
    for at_s, value, *start in points:
        accepted = send_metrics(normaliser, counter(value, at_s, start_s=start[0] if start else None))
        found += values(accepted).get(RATE, [])
    return found


def test_a_gauge_keeps_its_value_unit_and_attributes() -> None:
    accepted = send_metrics(Normaliser(), gauge(7.5, unit="By", state="used"))
    (emit,) = accepted.emits
    assert isinstance(emit.record, MetricBatch)
    (series,) = emit.record.series
    assert (emit.topic, emit.key, emit.record.service) == ("telemetry-metrics", "cart", "cart")
    assert (series.statistic, series.unit, series.attributes) == ("value", "By", {"state": "used"})
    assert values(accepted) == {("queue.size", "value"): [7.5]}


def test_a_resource_without_a_name_is_the_unknown_service() -> None:
    (emit,) = send(Normaliser(), metrics(gauge(1), service="")).emits
    assert emit.key == "unknown_service"


def test_the_first_point_of_a_cumulative_counter_gives_no_rate() -> None:
    accepted = send_metrics(Normaliser(), counter(100, 0))
    assert (accepted.emits, accepted.skipped, accepted.rejected) == ((), 1, 0)


def test_a_cumulative_counter_becomes_increase_per_second() -> None:
    assert rates((0, 100), (5, 150), (10, 150)) == [10.0, 0.0]


def test_a_rate_has_the_unit_of_its_counter_per_second() -> None:
    normaliser = Normaliser()
    send_metrics(normaliser, counter(1, 0, unit="By"))
    assert units(send_metrics(normaliser, counter(2, 1, unit="By"))) == {RATE: "By/s"}


def test_a_counter_that_drops_began_anew() -> None:
    assert rates((0, 100), (10, 20)) == [2.0]


def test_a_counter_whose_start_moved_began_anew_even_when_it_did_not_drop() -> None:
    assert rates((10, 5, 0), (20, 7, 11)) == [0.7]


def test_a_start_that_jitters_before_the_last_point_is_no_reset() -> None:
    assert rates((10, 100, 0), (20, 150, 0.001)) == [5.0]


def test_two_instances_of_a_service_are_two_counters() -> None:
    normaliser = Normaliser()
    for at_s, values_by_instance in ((0, {"a": 100, "b": 1000}), (10, {"a": 110, "b": 1020})):
        found = []
        for instance, value in values_by_instance.items():
            request = metrics(counter(value, at_s))
            request.resource_metrics[0].resource.attributes.extend(attributes(service__instance__id=instance))
            found.append(values(send(normaliser, request)).get(RATE))
    assert found == [[1.0], [2.0]]


def test_a_duplicate_adds_nothing_and_is_no_error() -> None:
    normaliser = Normaliser()
    send_metrics(normaliser, counter(1, 0))
    send_metrics(normaliser, counter(2, 1))
    again = send_metrics(normaliser, counter(2, 1))
    assert (again.emits, again.skipped, again.rejected) == ((), 1, 0)


def test_a_point_out_of_order_is_rejected_with_a_reason_and_changes_nothing() -> None:
    normaliser = Normaliser()
    send_metrics(normaliser, counter(0, 0))
    send_metrics(normaliser, counter(10, 10))
    late = send_metrics(normaliser, counter(5, 5))
    assert (late.emits, late.rejected) == ((), 1)
    assert late.reason == f"1 x {OUT_OF_ORDER} (first: requests)"
    assert values(send_metrics(normaliser, counter(20, 20))) == {RATE: [1.0]}


def test_a_delta_counter_is_divided_by_its_own_interval() -> None:
    accepted = send_metrics(Normaliser(), counter(30, 10, start_s=0, temporality=DELTA))
    assert values(accepted) == {RATE: [3.0]}


def test_a_delta_counter_without_a_start_is_divided_by_the_time_since_its_last_point() -> None:
    normaliser = Normaliser()
    assert send_metrics(normaliser, counter(30, 0, temporality=DELTA)).skipped == 1
    assert values(send_metrics(normaliser, counter(30, 10, temporality=DELTA))) == {RATE: [3.0]}


def test_a_negative_delta_of_a_counter_is_rejected() -> None:
    accepted = send_metrics(Normaliser(), counter(-1, 10, start_s=0, temporality=DELTA))
    assert "negative increase" in accepted.reason


def test_a_sum_that_may_fall_is_a_value() -> None:
    accepted = send_metrics(Normaliser(), counter(-3, 0, monotonic=False))
    assert values(accepted) == {("requests", "value"): [-3.0]}


def test_deltas_of_a_sum_that_may_fall_add_up() -> None:
    normaliser, found = Normaliser(), []
    for at_s, change in ((0, 5.0), (1, -2.0), (2, 4.0)):
        accepted = send_metrics(normaliser, counter(change, at_s, monotonic=False, temporality=DELTA))
        found += values(accepted)["requests", "value"]
    assert found == [5.0, 3.0, 7.0]


def test_a_sum_without_temporality_is_rejected() -> None:
    assert "temporality" in send_metrics(Normaliser(), counter(1, 0, temporality=0)).reason


def test_numbers_that_are_none_are_rejected_and_counted() -> None:
    stale = gauge(1.0)
    stale.gauge.data_points[0].flags = 1
    unset = gauge(1.0)
    unset.gauge.data_points[0].ClearField("as_double")
    accepted = send_metrics(Normaliser(), gauge(float("nan")), gauge(float("inf")), stale, unset, gauge(2.0))
    assert (accepted.accepted, accepted.rejected) == (1, 4)
    assert f"2 x {NOT_FINITE}" in accepted.reason
    assert "2 x no recorded value" in accepted.reason


def test_a_gauge_of_zero_is_a_value() -> None:
    metric = gauge(0.0)
    metric.gauge.data_points.add(time_unix_nano=at(1), as_int=0)
    metric.gauge.data_points.add(time_unix_nano=at(2), as_int=2**53 + 1)
    accepted = send_metrics(Normaliser(), metric)
    assert values(accepted) == {("queue.size", "value"): [0.0, 0.0, float(2**53 + 1)]}


def test_points_beyond_the_clock_are_rejected_with_a_reason() -> None:
    far = gauge(1.0)
    far.gauge.data_points[0].time_unix_nano = 2**64 - 1
    unset = gauge(1.0)
    unset.gauge.data_points[0].time_unix_nano = 0
    accepted = send_metrics(
        Normaliser(), gauge(1, 601), gauge(1, 599), gauge(1, -24 * 3600 - 1), gauge(1, -24 * 3600 + 1), far, unset
    )
    assert (accepted.accepted, accepted.rejected) == (2, 4)
    assert "2 x more than 10 min in the future" in accepted.reason
    assert "1 x older than 24 h" in accepted.reason
    assert "1 x no timestamp" in accepted.reason


def test_a_statistic_that_a_recording_wrote_is_taken_over() -> None:
    metric = gauge(0.25, name="duration", unit="s", route="/")
    metric.gauge.data_points[0].attributes.extend(attributes(paramedic__statistic="p95"))
    (emit,) = send_metrics(Normaliser(), metric).emits
    assert isinstance(emit.record, MetricBatch)
    (series,) = emit.record.series
    assert (series.statistic, series.unit, series.attributes) == ("p95", "s", {"route": "/"})


def test_another_text_in_its_place_stays_an_attribute() -> None:
    metric = gauge(1)
    metric.gauge.data_points[0].attributes.extend(attributes(paramedic__statistic="'; drop"))
    (emit,) = send_metrics(Normaliser(), metric).emits
    assert isinstance(emit.record, MetricBatch)
    assert emit.record.series[0].attributes == {"paramedic.statistic": "'; drop"}


def test_a_request_that_could_not_be_written_gives_the_same_rates_when_it_comes_again() -> None:
    normaliser = Normaliser()
    send_metrics(normaliser, counter(0, 0))
    normaliser.commit()
    first = send_metrics(normaliser, counter(10, 10))
    normaliser.rollback()
    assert send_metrics(normaliser, counter(10, 10)) == first


def test_series_beyond_the_capacity_are_forgotten_oldest_first() -> None:
    normaliser = Normaliser(capacity=2)

    def export(at_s: float, *instances: str) -> Accepted:
        found = []
        for instance in instances:
            request = metrics(counter(at_s, at_s))
            request.resource_metrics[0].resource.attributes.extend(attributes(service__instance__id=instance))
            found.append(request)
        for request in found[1:]:
            found[0].resource_metrics.extend(request.resource_metrics)
        accepted = send(normaliser, found[0])
        normaliser.commit()
        return accepted

    export(0, "a", "b", "c")
    assert export(1, "a").skipped == 1
    assert export(2, "c").accepted == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(min_value=0, max_value=60),
            st.floats(min_value=0, max_value=1e12),
            st.one_of(st.none(), st.integers(min_value=0, max_value=60)),
        ),
        max_size=12,
    )
)
def test_no_order_of_points_gives_a_negative_rate_or_loses_count(points: list[tuple[int, float, int | None]]) -> None:
    normaliser = Normaliser()
    for at_s, value, start_s in points:
        accepted = send_metrics(normaliser, counter(value, at_s, start_s=start_s, temporality=CUMULATIVE))
        assert accepted.accepted + accepted.rejected + accepted.skipped == 1
        assert all(rate >= 0 for rate in values(accepted).get(RATE, []))
