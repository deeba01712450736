"""The small kernels, run as plain Python: each does what its first line says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.scoring import compiled, nearest_past, running, seasonal
from services.detector.scoring.calibration import deviation_score, emitted_score, refractory_points
from services.detector.scoring.drift import LIMIT, next_sums

HOUR_NS = 3_600 * 10**9
MONDAY_NS = 4 * 24 * HOUR_NS  # 1970-01-05


def plain(kernel: Any) -> Any:
    return kernel.py_func


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80))
def test_a_net_stays_sorted_keeps_its_range_and_knows_what_it_holds(
    values: list[float],
) -> None:
    net, size = np.zeros(16), 0
    module: Any = nearest_past
    for value in values:
        place = plain(module.find_place)(net, size, value)
        size = plain(module.insert_at)(net, size, place, value)
        held = net[:size]
        assert (np.diff(held) >= 0.0).all()
    assert size <= 16
    assert net[0] == min(values)
    assert net[size - 1] == max(values)


def test_distance_is_to_the_nearest_representative_on_either_side() -> None:
    net = np.array([1.0, 4.0, 9.0, 0.0])
    for value, expected in ((0.0, 1.0), (3.5, 0.5), (4.0, 0.0), (7.0, 2.0), (12.0, 3.0)):
        place = plain(nearest_past.find_place)(net, 3, value)
        assert plain(nearest_past.distance_at)(net, 3, place, value) == expected


def test_weekends_and_weekdays_have_profiles_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seasonal, "place_of", plain(seasonal.place_of))
    values, counts = np.zeros(seasonal.VALUES, np.float32), np.zeros(seasonal.BINS, np.int16)
    inserted = np.full(seasonal.PROFILES, np.iinfo(np.int64).min // 2)
    for day in range(14):
        level = 10.0 if day % 7 >= 5 else 100.0
        for hour in range(24):
            for profile in range(seasonal.PROFILES):
                time_ns = MONDAY_NS + (day * 24 + hour) * HOUR_NS
                plain(seasonal.remember)(profile, time_ns, level, values, counts, inserted)
    scratch = np.zeros(seasonal.GATHERED, np.float32)
    saturday_noon, monday_noon = MONDAY_NS + (19 * 24 + 12) * HOUR_NS, MONDAY_NS + (14 * 24 + 12) * HOUR_NS
    for profile in (1, 2):
        expectation = plain(seasonal.expectation)
        assert expectation(profile, saturday_noon, values, counts, -1.0, scratch) == 10.0
        assert expectation(profile, monday_noon, values, counts, -1.0, scratch) == 100.0


def test_an_unknown_time_of_day_falls_back() -> None:
    values, counts = np.zeros(seasonal.VALUES, np.float32), np.zeros(seasonal.BINS, np.int16)
    scratch = np.zeros(seasonal.GATHERED, np.float32)
    assert plain(seasonal.expectation)(0, MONDAY_NS, values, counts, 42.0, scratch) == 42.0


def test_second_by_second_data_is_spread_over_its_bin() -> None:
    values, counts = np.zeros(seasonal.VALUES, np.float32), np.zeros(seasonal.BINS, np.int16)
    inserted = np.full(seasonal.PROFILES, np.iinfo(np.int64).min // 2)
    for second in range(1_800):
        plain(seasonal.remember)(0, MONDAY_NS + second * 10**9, float(second), values, counts, inserted)
    held = np.sort(values[:8])
    assert held[0] == 0.0
    assert (np.diff(held) == 225.0).all()


@pytest.mark.parametrize(("share", "expected"), [(0.25, -0.674), (0.5, 0.0), (0.75, 0.674)])
def test_a_running_quantile_finds_the_quantile(share: float, expected: float) -> None:
    estimate = 3.0
    for points, value in enumerate(np.random.default_rng(0).normal(size=5_000)):
        estimate = plain(running.next_quantile)(estimate, value, share, 1.0, points)
    assert estimate == pytest.approx(expected, abs=0.1)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0.0, 100.0, width=32), min_size=1, max_size=150), st.integers(1, 60))
def test_the_window_peak_is_never_below_the_true_maximum(values: list[float], width: int) -> None:
    peaks, order = np.zeros(running.WINDOW_PEAKS, np.float32), np.zeros(running.WINDOW_PEAKS, np.int64)
    head = size = 0
    for number, value in enumerate(values):
        true_peak = max(values[max(0, number - width) : number], default=0.0)
        peak, head, size = plain(running.window_peak)(peaks, order, head, size, number - width)
        assert peak == pytest.approx(true_peak)  # the queue of 64 is exact for windows up to 64
        size = plain(running.push_peak)(peaks, order, head, size, number, value)


def test_a_full_queue_of_peaks_never_forgets_the_greatest() -> None:
    peaks, order = np.zeros(running.WINDOW_PEAKS, np.float32), np.zeros(running.WINDOW_PEAKS, np.int64)
    head = size = 0
    for number in range(300):
        peak, head, size = plain(running.window_peak)(peaks, order, head, size, number - 200)
        assert number == 0 or peak >= 1_000.0 - max(0, number - 200)
        size = plain(running.push_peak)(peaks, order, head, size, number, 1_000.0 - number)


def test_drift_grows_with_a_shift_and_is_gone_soon_after_its_end() -> None:
    rising = falling = 0.0
    for _ in range(500):
        rising, falling = plain(next_sums)(rising, falling, 1.0)
    assert (rising, falling) == (LIMIT, 0.0)
    for _ in range(101):
        rising, falling = plain(next_sums)(rising, falling, 0.0)
    assert rising == 0.0


def test_the_score_scale_has_its_marks() -> None:
    assert plain(emitted_score)(0.2, 0.2) == 0.75
    assert 0.0 == plain(deviation_score)(0.0) < plain(deviation_score)(50.0) < 0.5 < plain(emitted_score)(0.01, 0.2)
    assert [plain(refractory_points)(points) for points in (0, 3_000, 10**6)] == [100, 150, 400]


def test_the_machine_code_cache_is_keyed_by_every_source_of_the_package() -> None:
    from services.detector.scoring import forest, row_kernel

    for kernel in (row_kernel.score_rows, forest._score_rows, forest._fit_rows):
        cells = [cell.cell_contents for cell in plain(kernel).__closure__]
        assert compiled.source_fingerprint() in cells
