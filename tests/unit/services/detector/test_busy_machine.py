"""Quiet days that are hard: a machine that stands still, restarts, other mixes and bursts open no ticket."""

import numpy as np
import pytest

from libs.contracts.anomaly import Severity
from tests.unit.services.detector.new_handler import new_handler
from tests.unit.services.detector.simulated_shop import Fault, Played, Shop, play, second_of


def run(seed: int, seconds: int, *faults: Fault) -> Played:
    return play(new_handler(), Shop(seed=seed, seconds=seconds, metric_series=11, faults=faults).arrivals())


def stalls(seed: int, since_s: float, until_s: float, every_s: float, longest_s: float) -> list[Fault]:
    """Moments of 0.3 s to `longest_s` in which nobody on the machine computes anything."""
    chance, found, at_s = np.random.default_rng(seed), [], since_s
    while (at_s := at_s + float(chance.exponential(every_s))) < until_s:
        length_s = float(chance.uniform(0.3, longest_s))
        found.append(Fault("stall", "*", at_s, at_s + length_s, 0.0))
        at_s += length_s
    return found


def said(played: Played) -> list[str]:
    return [f"{second_of(a.detected_at):.0f} {a.severity} {a.explanation}" for a in played.opened(Severity.MEDIUM)]


@pytest.mark.parametrize("seed", range(2))
def test_a_machine_that_stands_still_now_and_then_is_nobodys_incident(seed: int) -> None:
    assert said(run(seed, 150, *stalls(seed, 50.0, 145.0, 30.0, 2.0))) == []


def test_a_restart_with_cold_caches_is_none_either() -> None:
    restarts = (Fault("restart", "catalog", 70.0, 78.0, 3.0), Fault("restart", "cart", 95.0, 103.0, 3.0))
    assert said(run(1, 120, *restarts)) == []


def test_nor_is_another_mix_of_requests_or_a_burst_of_users() -> None:
    assert (
        said(run(2, 130, Fault("mix", "gateway", 70.0, 95.0, 0.4), Fault("surge", "gateway", 105.0, 115.0, 2.0))) == []
    )


@pytest.mark.parametrize("seed", range(2))
def test_the_roll_back_of_a_bad_deploy_on_a_loaded_machine_opens_nothing_new(seed: int) -> None:
    mended_s = 105.0
    played = run(
        seed,
        150,
        Fault("slow", "catalog", 75.0, mended_s, 8.0),
        Fault("restart", "catalog", mended_s, mended_s + 8.0, 3.0),
        Fault("drain", "catalog", mended_s, mended_s + 4.0, 1.0),
        Fault("drain", "cart", mended_s, mended_s + 4.0, 0.3),
        *stalls(seed, mended_s - 2.0, mended_s + 12.0, 3.0, 1.0),
    )
    opened = played.opened(Severity.MEDIUM)
    assert any(a.service == "catalog" and second_of(a.started_at) <= 80.0 for a in opened)
    assert [a.explanation for a in opened if second_of(a.started_at) >= mended_s - 5.0] == []


@pytest.mark.parametrize("factor", [3.0, 8.0])
def test_a_deploy_that_is_slow_from_its_first_second_is_found(factor: float) -> None:
    deploy = (Fault("restart", "catalog", 75.0, 83.0, 3.0), Fault("slow", "catalog", 75.0, 120.0, factor))
    found = [a for a in run(3, 120, *deploy).opened(Severity.MEDIUM) if a.service == "catalog"]
    assert found
    assert second_of(min(a.updated_at for a in found)) <= 75.0 + 20.0
