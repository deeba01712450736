"""Each rule finds its weakness from telemetry alone, and keeps quiet about what only looks like it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from services.recommender.rule import Finding
from services.recommender.rules.call_without_timeout import sensible_timeout_s
from tests.unit.services.recommender.traffic import FETCH, Sent, Traffic, n_plus_one, product, raised

Find = Callable[..., Sequence[Finding]]


# --- N+1 calls ----------------------------------------------------------------------------------------------------


def test_one_call_per_element_one_after_the_other_is_found_at_the_calling_line(find: Find, traffic: Traffic) -> None:
    n_plus_one(traffic)
    [found] = find("n_plus_one_calls")
    assert (found.service, found.operation, found.version) == ("cart", "GET /carts/{id}", "1.8.0")
    assert (found.place.path, found.place.line) == ("shop/cart.py", 40)
    assert "3 to 5 calls" in found.evidence[0].text
    assert any(line.source.startswith("trace ") for line in found.evidence)


def test_its_estimate_is_what_running_the_calls_together_gives(find: Find, traffic: Traffic) -> None:
    """Three and five calls of 10 ms: 1 ms at each end is the caller's, 8 ms are the callee's own computing."""
    n_plus_one(traffic, sizes=(1, 3))
    [found] = find("n_plus_one_calls")
    assert found.benefit.before_s == pytest.approx((15 + 37) / 2 / 1e3)
    # 32 ms one after the other; together 10 ms for the longest and 8 ms for each of the two others
    assert found.benefit.before_s - found.benefit.after_s == pytest.approx((32 - 26) / 2 / 1e3, rel=0.01)


def test_a_fan_out_is_no_n_plus_one(find: Find, traffic: Traffic) -> None:
    n_plus_one(traffic, together=True)
    assert not find("n_plus_one_calls")


def test_a_fixed_number_of_calls_is_a_sequence_and_no_n_plus_one(find: Find, traffic: Traffic) -> None:
    n_plus_one(traffic, sizes=(3,))
    assert not find("n_plus_one_calls")


def test_asking_for_the_same_again_is_polling_and_no_n_plus_one(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        traffic.request(number, 50, [product(1 + 12 * at, 7) for at in range(1 + number % 4)])
    assert not find("n_plus_one_calls")


def test_a_saving_that_nobody_would_feel_is_not_found(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        calls = [product(1 + 0.2 * at, at, 0.1) for at in range(1 + number % 4)]
        traffic.request(number, 200, calls)
    assert not find("n_plus_one_calls")


def test_statements_in_a_loop_are_found_and_want_one_statement(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        calls = [
            Sent(at_ms=1 + 6 * at, took_ms=5, statement=f"SELECT name FROM products WHERE id = {at}")
            for at in range(1 + number % 5)
        ]
        traffic.request(number, 40, calls)
    [found] = find("n_plus_one_calls")
    assert found.patcher == ""
    assert "IN (...)" in found.advice


# --- sequential calls ---------------------------------------------------------------------------------------------

USER = {**FETCH, "code.function.name": "shop.cart.user_by_id", "code.line.number": "60"}
OFFERS = {**FETCH, "code.function.name": "shop.cart.Carts._offers", "code.line.number": "70"}


def pair(first_ms: float = 20, second_ms: float = 30, *, overlap: bool = False, **more: Any) -> list[Sent]:
    user = Sent(at_ms=1, took_ms=first_ms, path="/u", template="/u", peer="users", attributes=USER, **more)
    start = 2.0 if overlap else first_ms + 2
    return [user, Sent(at_ms=start, took_ms=second_ms, path="/o", template="/o", peer="offers", attributes=OFFERS)]


def test_two_reads_in_a_row_are_a_candidate_that_only_the_code_can_confirm(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        traffic.request(number, 60, pair())
    [found] = find("sequential_calls")
    assert found.code_decides
    assert found.confidence == 0.0
    assert found.benefit.before_s - found.benefit.after_s == pytest.approx(0.020)


def test_reads_that_overlapped_once_are_no_sequence(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        traffic.request(number, 60, pair(overlap=number == 30))
    assert not find("sequential_calls")


def test_a_write_is_never_moved(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        traffic.request(number, 60, pair(method="POST"))
    assert not find("sequential_calls")


# --- calls without a timeout --------------------------------------------------------------------------------------


def test_a_client_that_says_it_has_no_timeout_is_found_from_telemetry_alone(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        traffic.request(number, 20, [product(1, number, attributes={**FETCH, "http.client.timeout": "0"})])
    [found] = find("call_without_timeout")
    assert found.confidence >= 0.8
    assert found.hints["timeout_s"] == "1"
    assert "86,000 calls/day" in found.benefit.words


def test_a_client_that_says_its_timeout_is_not_found(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        traffic.request(number, 20, [product(1, number, attributes={**FETCH, "http.client.timeout": "2.5"})])
    assert not find("call_without_timeout")


def test_a_call_that_lasted_half_a_minute_had_no_sensible_timeout(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        took = 31_000.0 if number == 3 else 10.0
        traffic.request(number, took + 2, [product(1, number, took)])
    [found] = find("call_without_timeout")
    assert found.acute
    assert found.confidence == 0.6
    assert any("31 s" in line.text for line in found.evidence)


@pytest.mark.parametrize(("p99_s", "timeout_s"), [(0.01, 1.0), (0.4, 2.0), (0.7, 5.0), (3.0, 10.0), (40.0, 200.0)])
def test_a_sensible_timeout_is_three_times_the_99th_percentile_rounded_up(p99_s: float, timeout_s: float) -> None:
    assert sensible_timeout_s(p99_s) == timeout_s


# --- retries ------------------------------------------------------------------------------------------------------


def tries(*pauses_ms: float) -> list[Sent]:
    calls, at = [Sent(at_ms=1, took_ms=5, failed=True)], 6.0
    for pause_ms in pauses_ms:
        calls.append(Sent(at_ms=at + pause_ms, took_ms=5, failed=True))
        at += pause_ms + 5
    return calls


def test_attempts_without_a_pause_are_found(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        traffic.request(number, 40, tries(0.5, 0.5) if number % 4 == 0 else [product(1, number)])
    [found] = find("retry_without_backoff")
    assert found.acute
    assert "3.0 times" in found.evidence[0].text


def test_attempts_with_a_pause_are_not(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        traffic.request(number, 400, tries(0.5, 100) if number % 4 == 0 else [product(1, number)])
    assert not find("retry_without_backoff")


def test_one_retry_elsewhere_counts_only_when_asked_for(find: Find, traffic: Traffic) -> None:
    for number in range(60):
        traffic.request(number, 40, tries(0.5) if number % 4 == 0 else [product(1, number)])
    assert not find("retry_without_backoff")
    assert find("retry_without_backoff", least_attempts=2)


# --- slow queries -------------------------------------------------------------------------------------------------

ORDERS = {**FETCH, "code.function.name": "shop.cart.orders_of", "code.line.number": "90"}
SLOW = "SELECT id FROM orders WHERE user_id = ? ORDER BY placed_at DESC LIMIT ?"


def orders(traffic: Traffic, slow_ms: float, other_ms: float = 0.5) -> None:
    for number in range(60):
        traffic.request(number, slow_ms + 5, [Sent(at_ms=1, took_ms=slow_ms, statement=SLOW, attributes=ORDERS)])
        fast = Sent(at_ms=1, took_ms=other_ms, statement="SELECT 1 FROM customers WHERE id = 7")
        traffic.request(number, other_ms + 2, [fast], name="GET /customer")


def test_a_statement_that_is_slow_among_its_like_is_found(find: Find, traffic: Traffic) -> None:
    orders(traffic, 40)
    [found] = find("slow_query")
    assert found.place.name == "orders_of"
    assert found.benefit.before_s == pytest.approx(0.045)
    assert found.benefit.after_s == pytest.approx(0.0055)


def test_a_database_that_is_slow_as_a_whole_blames_no_statement(find: Find, traffic: Traffic) -> None:
    orders(traffic, 40, other_ms=30)
    assert not find("slow_query")


# --- hot exceptions -----------------------------------------------------------------------------------------------


def test_a_swallowed_exception_in_the_logs_is_found_at_the_line_that_raised_it(find: Find, traffic: Traffic) -> None:
    for number in range(90):
        raising = raised("IndexError", "loyalty_points", 75, 'level = x.split(":")[1]') if number % 3 == 0 else None
        traffic.request(number, 5, logged=raising)
    [found] = find("hot_exception")
    assert (found.place.path, found.place.line, found.place.function) == ("/app/shop/cart.py", 75, "loyalty_points")
    assert not found.acute
    assert "swallowed" in found.evidence[0].text
    assert "30 of 90" in found.evidence[0].text


def test_an_exception_that_fails_requests_is_worth_what_it_fails(find: Find, traffic: Traffic) -> None:
    for number in range(90):
        bad = number % 4 == 0
        event = raised("AttributeError", "confirm", 12, 'phone.replace(" ", "")') if bad else None
        traffic.request(number, 5, failed=bad, exception=event)
    [found] = find("hot_exception")
    assert found.acute
    assert found.benefit.unit == "failed requests/day"


@pytest.mark.parametrize(
    ("kind", "source"),
    [("shop.failures.Refused", 'raise Refused(409, "sold out")'), ("httpx.ReadTimeout", "await send()")],
)
def test_a_deliberate_exception_or_a_failed_call_is_no_defect(
    find: Find, traffic: Traffic, kind: str, source: str
) -> None:
    for number in range(60):
        traffic.request(number, 5, failed=True, exception=raised(kind, "place", 30, source))
    assert not find("hot_exception")
