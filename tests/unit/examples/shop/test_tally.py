import pytest

from examples.shop.tally import NO_ANSWER, Seen, Tally, summarise


def seen(
    *, at_s: float = 0.0, status: int = 200, latency_s: float = 0.1, user_id: str = "u", step: str = "cart"
) -> Seen:
    return Seen(at_s=at_s, step=step, user_id=user_id, status=status, latency_s=latency_s)


def test_only_the_window_counts() -> None:
    tally = Tally(lambda: 100.0)
    for at_s in (80.0, 91.0, 99.0):
        tally.add(seen(at_s=at_s))
    assert tally.stats(10.0).total.requests == 2


def test_a_refusal_is_not_a_failure_and_no_answer_is_one() -> None:
    stats = summarise([seen(status=status) for status in (200, 402, 500, NO_ANSWER)])
    assert (stats.requests, stats.refused, stats.failed, stats.failed_ratio) == (4, 1, 2, 0.5)


@pytest.mark.parametrize(("count", "p50_s", "p95_s", "p99_s"), [(1, 1, 1, 1), (2, 1, 2, 2), (100, 50, 95, 99)])
def test_quantiles_are_values_that_were_seen(count: int, p50_s: float, p95_s: float, p99_s: float) -> None:
    stats = summarise([seen(latency_s=float(n)) for n in range(count, 0, -1)])
    assert (stats.p50_s, stats.p95_s, stats.p99_s) == (p50_s, p95_s, p99_s)


def test_nothing_seen_is_no_failure() -> None:
    assert summarise([]).failed_ratio == 0.0


def test_the_affected_users_are_named_once() -> None:
    tally = Tally(lambda: 0.0)
    for user_id, status in (("u-2", 500), ("u-1", 503), ("u-2", 502), ("u-3", 200), ("u-4", 404)):
        tally.add(seen(user_id=user_id, status=status))
    assert tally.stats(10.0).users_affected == ("u-1", "u-2")
    assert tally.stats(10.0).by_step["cart"].failed == 3
