"""Silence is judged against those who went on, and never by the clock on the wall."""

from services.detector.detector import DetectorOptions
from services.detector.detectors.silence import Silence, SilenceState
from services.detector.presence import PresenceLog, silences

NS = 1_000_000_000
OPTIONS = DetectorOptions(warmup_s=45.0)


def heard(until_s: dict[str, int], *, from_s: int = 0, interval_s: int = 5) -> PresenceLog:
    log = PresenceLog()
    for service, last in until_s.items():
        for second in range(from_s, last + 1, interval_s):
            log.hear(service, second * NS, 10, counts_items=False)
    return log


def silent(log: PresenceLog) -> set[str]:
    everybody = list(log.services.items())
    return {
        presence.service
        for presence in silences(log, "metrics", everybody, counts_items=False)
        if Silence(OPTIONS).judge(SilenceState(), presence)
    }


def test_who_stops_while_others_go_on_is_silent() -> None:
    assert silent(heard({"cart": 100, "catalog": 125})) == {"cart"}


def test_three_missing_intervals_are_needed() -> None:
    assert silent(heard({"cart": 100, "catalog": 115})) == set()


def test_when_all_stop_nobody_is_silent() -> None:
    assert silent(heard({"cart": 100, "catalog": 100})) == set()


def test_when_most_stop_together_while_few_go_on_nobody_is_silent() -> None:
    """A sampled recording, a collector that lost most of its senders: nothing that one of them is to blame for."""
    assert silent(heard({"cart": 100, "catalog": 105, "orders": 100, "cron": 160})) == set()


def test_who_fell_silent_too_and_came_back_first_is_no_witness_but_company() -> None:
    log = heard({"cart": 100, "catalog": 105, "orders": 100, "cron": 300, "mailer": 300})
    assert silent(log) == set()
    for second in range(290, 301, 5):
        log.hear("catalog", second * NS, 10, counts_items=False)
        log.hear("orders", second * NS, 10, counts_items=False)
    assert silent(log) == set()


def test_few_that_stop_while_as_many_go_on_are_silent() -> None:
    assert silent(heard({"cart": 100, "catalog": 105, "gateway": 160, "orders": 160})) == {"cart", "catalog"}


def test_who_was_silent_long_before_says_nothing_about_who_stops_now() -> None:
    assert "cart" in silent(heard({"cart": 1000, "gone": 100, "gone too": 110, "catalog": 1060}))


def test_who_came_after_the_silence_began_is_no_witness() -> None:
    log = heard({"cart": 100})
    for second in range(110, 200, 5):
        log.hear("newcomer", second * NS, 10, counts_items=False)
    assert silent(log) == set()


def test_nobody_is_silent_before_the_warm_up() -> None:
    assert silent(heard({"cart": 30, "catalog": 125})) == set()


def test_slow_metrics_may_be_silent_for_longer() -> None:
    assert silent(heard({"cart": 30_000, "catalog": 30_600}, interval_s=300)) == set()
    assert silent(heard({"cart": 30_000, "catalog": 31_200}, interval_s=300)) == {"cart"}


def test_a_recording_that_goes_on_after_months_accuses_nobody() -> None:
    log = heard({"cart": 1000, "catalog": 1000})
    months = 90 * 86_400
    for second in range(0, 20, 5):
        log.hear("cart", (months + second) * NS, 10, counts_items=False)
    assert silent(log) == set()


def test_rare_spans_may_be_far_apart() -> None:
    log = PresenceLog()
    for second in range(0, 600, 10):
        log.hear("rare", second * NS, 1, counts_items=True)
    for second in range(0, 660, 1):
        log.hear("busy", second * NS, 20, counts_items=True)
    everybody = list(log.services.items())
    found = silences(log, "spans", everybody, counts_items=True)
    assert [p.service for p in found if Silence(OPTIONS).judge(SilenceState(), p)] == []
    for second in range(660, 730):
        log.hear("busy", second * NS, 20, counts_items=True)
    found = silences(log, "spans", list(log.services.items()), counts_items=True)
    assert [p.service for p in found if Silence(OPTIONS).judge(SilenceState(), p)] == ["rare"]


def test_who_is_gone_for_hours_is_forgotten() -> None:
    log = heard({"cart": 100, "catalog": 8 * 3600})
    assert silent(log) == set()
    assert set(log.services) == {"catalog"}
