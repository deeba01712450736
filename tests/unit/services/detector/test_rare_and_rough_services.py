"""What real production looks like in rows of five minutes.

Services that always fail a little, that work in campaigns,
that answer eleven requests a row. Their ordinary days open nothing; their faults are found at the first row.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np
import pytest

from libs.contracts.anomaly import AnomalyDetected, Severity
from services.detector.detector import DetectorOptions
from services.detector.detectors.burn_rate import BurnRate
from services.detector.detectors.error_ratio import ErrorRatio
from services.detector.detectors.latency import Latency
from services.detector.detectors.traffic import Traffic
from services.detector.engine import Engine
from services.detector.objectives import Objective
from services.detector.request_window import RequestWindow, SignalNames
from tests.unit.services.detector.simulated_shop import BEGIN

NS: Final = 1_000_000_000
BEGIN_NS: Final = int(BEGIN.timestamp()) * NS
METRICS: Final = SignalNames(latency="latency", errors="availability", traffic="requests")
DETECTORS: Final = (Latency, Traffic, BurnRate, ErrorRatio)
Row = tuple[float, float, float]  # requests, failed ones among them, p95 in seconds
ROW_S: Final = 300.0
DAYS_TWO: Final = 576


def judge(
    rows: Sequence[Row], *, width_s: float = ROW_S, options: DetectorOptions | None = None, gap_before: int = -1
) -> list[AnomalyDetected]:
    """What the detectors of requests say above LOW; two months of silence lie before row `gap_before`."""
    options = options or DetectorOptions()
    engine, said, at_ns = Engine([kind(options) for kind in DETECTORS], options), [], BEGIN_NS
    for number, (requests, errors, latency) in enumerate(rows):
        at_ns += 60 * 86_400 * NS if number == gap_before else 0
        seen = RequestWindow(
            service="lookup",
            start_ns=at_ns,
            end_ns=at_ns + int(width_s * NS),
            requests=requests,
            errors=errors,
            latency=latency,
            mean=float("nan"),
            names=METRICS,
            after_gap=number == gap_before,
        )
        at_ns = seen.end_ns
        for detector in engine.detectors:
            said += engine.observe(detector, "lookup", seen)
    return [anomaly for anomaly in said if anomaly.severity is not Severity.LOW]


def failing(rows: int, seed: int, share: float, requests: float = 11.0) -> list[Row]:
    chance = np.random.default_rng(seed)
    counts = chance.poisson(requests, rows)
    return [(float(n), float(chance.binomial(n, share)), float(0.3 * chance.lognormal(0.0, 0.25))) for n in counts]


def campaigns(rows: int, seed: int) -> list[Row]:
    """A queue's consumer: at rest for two rows of three on average, then a hundred messages a row."""
    chance, found, works = np.random.default_rng(seed), [], False
    for _ in range(rows):
        works = chance.random() > (0.4 if works else 0.8)
        requests = float(chance.poisson(95)) if works else 0.0
        found.append((requests, 0.0, float(0.05 * chance.lognormal(0.0, 0.1)) if works else float("nan")))
    return found


def heavy_tailed(rows: int, seed: int) -> list[Row]:
    """A dozen requests a row: their p95 is one of two requests, and moves by half of itself from row to row."""
    chance = np.random.default_rng(seed)
    return [(float(chance.poisson(12)), 0.0, float(0.5 * chance.lognormal(0.0, 0.5))) for _ in range(rows)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.04, 0.4, 0.97])
def test_who_has_always_failed_that_often_breaks_no_assumed_objective(share: float, seed: int) -> None:
    assert [a.explanation for a in judge(failing(DAYS_TWO, seed, share)) if a.detector == "burn_rate"] == []


def test_an_objective_that_somebody_declared_is_kept_to_the_letter() -> None:
    declared = DetectorOptions(objectives=(Objective(service="lookup", objective=0.999),))
    found = [a for a in judge(failing(48, 1, 0.4), options=declared) if a.detector == "burn_rate"]
    assert found
    assert found[0].severity is Severity.HIGH


@pytest.mark.parametrize("usual", [0.0, 0.005, 0.04])
def test_a_budget_burns_when_failures_are_several_times_the_usual(usual: float) -> None:
    rows = [*failing(100, 2, usual, 400.0), *failing(6, 3, 0.4, 400.0)]
    found = [a for a in judge(rows) if a.detector == "burn_rate"]
    assert found
    assert found[0].detected_at <= BEGIN + timedelta(seconds=(100 + 5) * ROW_S)


def test_a_fault_that_lasts_for_an_hour_never_becomes_the_usual_share() -> None:
    rows = [*failing(720, 4, 0.0005, 60.0), *failing(700, 5, 0.02, 60.0)]
    found = [a for a in judge(rows, width_s=5.0) if a.detector == "burn_rate"]
    assert [a.state.value for a in found][:1] == ["opened"]


@pytest.mark.parametrize("seed", range(5))
def test_work_in_campaigns_is_neither_a_surge_nor_a_drop(seed: int) -> None:
    assert [a.explanation for a in judge(campaigns(DAYS_TWO, seed)) if a.detector == "traffic"] == []


@pytest.mark.parametrize("seed", range(5))
def test_the_tail_of_a_dozen_requests_is_no_slow_service(seed: int) -> None:
    assert [a.explanation for a in judge(heavy_tailed(DAYS_TWO, seed))] == []


@pytest.mark.parametrize(("factor", "direction"), [(4.0, "surge"), (0.0, "drop")])
def test_steady_traffic_still_surges_and_drops(factor: float, direction: str) -> None:
    rows = [*failing(60, 6, 0.0, 100.0), *failing(3, 7, 0.0, 100.0 * factor)]
    found = [a for a in judge(rows) if a.detector == "traffic"]
    assert found, direction
    assert (found[0].deviation > 0) == (direction == "surge")


@pytest.mark.parametrize("quiet_windows", [20, 120])
def test_a_feature_flag_that_fails_a_tenth_to_a_third_of_the_requests_is_found(quiet_windows: int) -> None:
    chance = np.random.default_rng(8)
    quiet = [(float(chance.poisson(22)), 0.0, 0.02) for _ in range(quiet_windows)]
    fault = [(24.0, 2.0, 0.02), (10.0, 2.0, 0.02), (25.0, 3.0, 0.02), (27.0, 5.0, 0.02), (24.0, 8.0, 0.02)]
    found = [a for a in judge([*quiet, *fault], width_s=5.0) if a.detector == "error_ratio"]
    assert found
    assert found[0].detected_at <= BEGIN + timedelta(seconds=5.0 * (quiet_windows + 5))


def test_failures_of_a_tenth_are_found_before_they_become_usual() -> None:
    # Two or three failures a window are no surprise alone; learned at once they raised what is usual from 0 to 4 %.
    quiet: list[Row] = [(28.0, 0.0, 0.02)] * 40
    failures = [(21, 2), (27, 2), (38, 3), (31, 3), (23, 3), (10, 2), (38, 6), (19, 2), (26, 1), (36, 2)]
    fault: list[Row] = [(float(requests), float(failed), 0.02) for requests, failed in failures]
    found = [a for a in judge([*quiet, *fault], width_s=5.0) if a.detector == "error_ratio"]
    assert found
    assert found[0].detected_at <= BEGIN + timedelta(seconds=5.0 * (len(quiet) + 4))


def test_a_flag_is_found_again_when_it_is_set_again() -> None:
    quiet: list[Row] = [(24.0, 0.0, 0.02)] * 40
    fault: list[Row] = [(24.0, 2.0, 0.02), (10.0, 2.0, 0.02), (25.0, 3.0, 0.02), (27.0, 5.0, 0.02), (24.0, 8.0, 0.02)]
    found = judge([*quiet, *fault, *quiet, *fault, *quiet, *fault], width_s=5.0)
    opened = [a for a in found if a.detector == "error_ratio" and a.state.value == "opened"]
    assert len(opened) == 3


def test_two_per_cent_of_a_thousand_requests_are_no_accident() -> None:
    rows = [*failing(60, 9, 0.0002, 1000.0), (1133.0, 25.0, 0.3)]
    assert [a.detector for a in judge(rows)] == ["error_ratio"]


def test_one_row_of_five_minutes_far_beyond_all_that_was_is_enough() -> None:
    rows = [*failing(60, 10, 0.0, 480.0), (500.0, 0.0, 1.6)]
    assert [a.detector for a in judge(rows)] == ["latency"]


def test_one_stalled_window_of_five_seconds_is_not() -> None:
    rows = [*failing(60, 11, 0.0, 480.0), (500.0, 0.0, 1.6), *failing(5, 12, 0.0, 480.0)]
    assert judge(rows, width_s=5.0) == []


def test_a_fault_in_the_second_row_after_months_does_not_become_the_new_level() -> None:
    rows = [*failing(200, 13, 0.0, 90.0), (90.0, 0.0, 0.32), *[(92.0, 0.0, 1.1)] * 3]
    assert [a.detector for a in judge(rows, gap_before=200)] == ["latency"]
