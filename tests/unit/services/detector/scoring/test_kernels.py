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


def unknown_medians() -> tuple[Any, Any]:
    return np.zeros(seasonal.PROFILES), np.full(seasonal.PROFILES, -1, np.int64)


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


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-50, 50), max_size=40), st.integers(-60, 60))
def test_a_place_is_before_the_first_that_is_not_below(held: list[int], value: int) -> None:
    net = np.array([*sorted(held), *[0] * 5], np.float64)
    assert plain(nearest_past.find_place)(net, len(held), value) == np.searchsorted(net[: len(held)], value)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-500, 500), min_size=9, max_size=60))
def test_a_full_net_gives_up_the_first_of_its_closest_inner_pair(values: list[int]) -> None:
    net, size, expected = np.zeros(8), 0, list[int]()
    for value in values:
        place = plain(nearest_past.find_place)(net, size, value)
        size = plain(nearest_past.insert_at)(net, size, place, value)
        expected = with_value(expected, value, capacity=8)
        assert net[:size].tolist() == expected


def with_value(held: list[int], value: int, *, capacity: int) -> list[int]:
    """What a net holds after a value, written for reading."""
    place = sum(other < value for other in held)
    if len(held) < capacity:
        return [*held[:place], value, *held[place:]]
    is_inner = 0 < place < len(held)
    own_gap = min(held[place] - value, value - held[place - 1]) if is_inner else 10**9
    gaps = [held[k + 1] - held[k] for k in range(1, capacity - 1)]
    if min(gaps) >= own_gap:
        return held
    return sorted([*held[: 1 + gaps.index(min(gaps))], *held[2 + gaps.index(min(gaps)) :], value])


def test_distance_is_to_the_nearest_representative_on_either_side() -> None:
    net = np.array([1.0, 4.0, 9.0, 0.0])
    for value, expected in ((0.0, 1.0), (3.5, 0.5), (4.0, 0.0), (7.0, 2.0), (12.0, 3.0)):
        place = plain(nearest_past.find_place)(net, 3, value)
        assert plain(nearest_past.distance_at)(net, 3, place, value) == expected


def test_weekends_and_weekdays_have_profiles_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seasonal, "place_of", plain(seasonal.place_of))
    values, counts = np.zeros(seasonal.VALUES, np.float32), np.zeros(seasonal.BINS, np.int16)
    inserted = np.full(seasonal.PROFILES, np.iinfo(np.int64).min // 2)
    known, known_bin = unknown_medians()
    for day in range(14):
        level = 10.0 if day % 7 >= 5 else 100.0
        for hour in range(24):
            for profile in range(seasonal.PROFILES):
                time_ns = MONDAY_NS + (day * 24 + hour) * HOUR_NS
                plain(seasonal.remember)(profile, time_ns, level, values, counts, inserted, known_bin)
    scratch = np.zeros(seasonal.GATHERED, np.float32)
    saturday_noon, monday_noon = MONDAY_NS + (19 * 24 + 12) * HOUR_NS, MONDAY_NS + (14 * 24 + 12) * HOUR_NS
    for profile in (1, 2):
        expectation = plain(seasonal.expectation)
        assert expectation(profile, saturday_noon, values, counts, known, known_bin, -1.0, scratch) == 10.0
        assert expectation(profile, monday_noon, values, counts, known, known_bin, -1.0, scratch) == 100.0


def test_a_median_that_is_kept_is_the_one_that_would_be_found_anew() -> None:
    values, counts = np.zeros(seasonal.VALUES, np.float32), np.zeros(seasonal.BINS, np.int16)
    inserted = np.full(seasonal.PROFILES, np.iinfo(np.int64).min // 2)
    known, known_bin = unknown_medians()
    scratch, kept = np.zeros(seasonal.GATHERED, np.float32), 0
    for minute, value in enumerate(np.random.default_rng(2).normal(size=600)):
        time_ns = MONDAY_NS + minute * 60 * 10**9
        for profile in range(seasonal.PROFILES):
            kept += bool(known_bin[profile] >= 0)
            found = plain(seasonal.expectation)(profile, time_ns, values, counts, known, known_bin, 7.0, scratch)
            anew = plain(seasonal.expectation)(profile, time_ns, values, counts, *unknown_medians(), 7.0, scratch)
            assert found == anew
            plain(seasonal.remember)(profile, time_ns, value, values, counts, inserted, known_bin)
    assert kept > 600


def test_an_unknown_time_of_day_falls_back() -> None:
    values, counts = np.zeros(seasonal.VALUES, np.float32), np.zeros(seasonal.BINS, np.int16)
    scratch = np.zeros(seasonal.GATHERED, np.float32)
    assert plain(seasonal.expectation)(0, MONDAY_NS, values, counts, *unknown_medians(), 42.0, scratch) == 42.0


def test_second_by_second_data_is_spread_over_its_bin() -> None:
    values, counts = np.zeros(seasonal.VALUES, np.float32), np.zeros(seasonal.BINS, np.int16)
    inserted = np.full(seasonal.PROFILES, np.iinfo(np.int64).min // 2)
    _, known_bin = unknown_medians()
    for second in range(1_800):
        plain(seasonal.remember)(0, MONDAY_NS + second * 10**9, float(second), values, counts, inserted, known_bin)
    held = np.sort(values[:8])
    assert held[0] == 0.0
    assert (np.diff(held) == 225.0).all()


@pytest.mark.parametrize(("share", "expected"), [(0.25, -0.674), (0.5, 0.0), (0.75, 0.674)])
def test_a_running_quantile_finds_the_quantile(share: float, expected: float) -> None:
    estimate = 3.0
    for points, value in enumerate(np.random.default_rng(0).normal(size=5_000)):
        rate = plain(running.quantile_rate)(points)
        estimate = plain(running.next_quantile)(estimate, value, share, 1.0, rate)
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
