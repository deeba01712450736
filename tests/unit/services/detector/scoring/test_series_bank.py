"""SeriesBank: what it finds, what it forgives, and that it goes on exactly where it stopped."""

import numpy as np
import numpy.typing as npt
import pytest

from libs.errors import ConfigurationError
from services.detector.scoring import FEATURE_NAMES, Scores, ScoringConfig, SeriesBank

MINUTE_NS = 60 * 10**9
START_NS = 1_700_000_000 * 10**9
FloatArray = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]


def times(count: int, step_ns: int = MINUTE_NS) -> Int64Array:
    return START_NS + np.arange(count, dtype=np.int64) * step_ns


def noisy(count: int, *, seed: int = 0) -> FloatArray:
    return 100.0 + np.random.default_rng(seed).normal(scale=3.0, size=count)


def score_one(values: FloatArray, timestamps_ns: Int64Array | None = None, bank: SeriesBank | None = None) -> Scores:
    bank = SeriesBank() if bank is None else bank
    slot = bank.slot("series", "family")
    stamps = times(len(values)) if timestamps_ns is None else timestamps_ns
    return bank.update(np.full(len(values), slot, np.int32), stamps, values)


def test_a_spike_beyond_everything_seen_is_an_anomaly_and_names_novelty() -> None:
    values = noisy(1_000)
    values[800] = 160.0
    scores = score_one(values)
    assert scores.is_anomaly[800]
    assert scores.score[800] > 0.9
    assert FEATURE_NAMES[int(scores.contributions[800].argmax())] in {"novelty", "seasonal"}
    assert scores.upper[800] < 160.0 < values[800] + 1.0


def test_ordinary_noise_hardly_ever_alarms() -> None:
    alarms = sum(int(score_one(noisy(3_000, seed=seed)).is_anomaly[1_000:].sum()) for seed in range(5))
    assert alarms <= 12  # measured: 6 in 10,000 points of noise once a thousand points are known


def test_the_expected_band_holds_ordinary_points() -> None:
    values = noisy(2_000)
    scores = score_one(values)
    inside = (values >= scores.lower) & (values <= scores.upper)
    assert inside[500:].mean() > 0.98
    assert (scores.lower <= scores.expected).all()
    assert np.abs(scores.expected[500:] - 100.0).max() < 10.0


def test_a_value_at_the_wrong_time_of_day_is_an_anomaly() -> None:
    step_ns = 5 * MINUTE_NS
    stamps = times(10 * 288, step_ns)
    values = 50.0 + 40.0 * np.sin(2 * np.pi * (stamps % (86_400 * 10**9)) / (86_400 * 10**9))
    values += np.random.default_rng(1).normal(scale=1.0, size=len(values))
    at_peak = int(np.argmax(values[8 * 288 : 9 * 288])) + 8 * 288
    values[at_peak : at_peak + 6] = 50.0
    scores = score_one(values, stamps)
    assert scores.is_anomaly[at_peak : at_peak + 6].any()
    assert not scores.is_anomaly[at_peak - 100 : at_peak].any()


def test_nothing_alarms_before_warm_up_and_the_same_spike_alarms_after() -> None:
    for at, expected in ((60, False), (160, True)):
        values = noisy(300)
        values[at] = 500.0
        assert bool(score_one(values).is_anomaly[at]) is expected


def test_an_anomaly_is_a_score_of_three_quarters() -> None:
    values = noisy(4_000)
    values[::333] += 40.0
    scores = score_one(values)
    np.testing.assert_array_equal(scores.is_anomaly, scores.score >= 0.75)
    assert scores.is_anomaly.any()


def test_results_do_not_depend_on_how_rows_are_batched() -> None:
    values = noisy(1_200)
    values[700:720] += 30.0
    whole = score_one(values)
    bank = SeriesBank()
    slot = bank.slot("series", "family")
    for start, stop in ((0, 1), (1, 400), (400, 401), (401, 1_200)):
        part = bank.update(np.full(stop - start, slot, np.int32), times(1_200)[start:stop], values[start:stop])
        np.testing.assert_array_equal(part.score, whole.score[start:stop])
        np.testing.assert_array_equal(part.contributions, whole.contributions[start:stop])


def test_rows_of_many_series_in_one_batch_are_scored_as_if_alone_before_a_forest_is_shared() -> None:
    values = [noisy(200, seed=seed) for seed in range(3)]
    bank = SeriesBank()
    slots = np.array([bank.slot(f"series {k}", f"family {k}") for k in range(3)], np.int32)
    mixed = bank.update(np.tile(slots, 200), np.repeat(times(200), 3), np.stack(values, axis=1).ravel())
    for k in range(3):
        np.testing.assert_allclose(mixed.score[k::3], score_one(values[k]).score)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e31, -1e300])
def test_a_malformed_value_scores_zero_is_counted_and_teaches_nothing(bad: float) -> None:
    clean = noisy(500)
    dirty = np.insert(clean, 250, bad)
    stamps = times(500)
    bank = SeriesBank()
    scores = score_one(dirty, np.insert(stamps, 250, stamps[250]), bank)
    assert scores.score[250] == 0.0
    assert not scores.is_anomaly[250]
    assert np.isnan(scores.expected[250])
    assert bank.malformed(0) == 1
    np.testing.assert_array_equal(np.delete(scores.score, 250), score_one(clean, stamps).score)


def test_a_late_point_is_scored_and_leaves_the_state_as_it_was() -> None:
    clean, stamps = noisy(500), times(500)
    bank = SeriesBank()
    scores = score_one(np.insert(clean, 300, 900.0), np.insert(stamps, 300, stamps[20]), bank)
    assert scores.score[300] > 0.9
    assert bank.late(0) == 1
    np.testing.assert_array_equal(np.delete(scores.score, 300), score_one(clean, stamps).score)


def test_a_repeated_timestamp_is_ignored_in_learning() -> None:
    clean, stamps = noisy(500), times(500)
    bank = SeriesBank()
    scores = score_one(np.insert(clean, 300, -500.0), np.insert(stamps, 300, stamps[299]), bank)
    assert bank.points(0) == 500
    np.testing.assert_array_equal(np.delete(scores.score, 300), score_one(clean, stamps).score)


def test_one_timestamp_far_in_the_future_does_not_silence_a_series_for_ever() -> None:
    stamps = times(1_000)
    stamps[400] += 365 * 86_400 * 10**9
    bank = SeriesBank()
    score_one(noisy(1_000), stamps, bank)
    assert bank.points(0) > 900


def test_a_gap_of_days_and_steps_from_a_second_to_an_hour_are_fine() -> None:
    for step_ns in (10**9, 10 * 10**9, MINUTE_NS, 60 * MINUTE_NS):
        stamps = times(1_500, step_ns)
        stamps[700:] += 5 * 86_400 * 10**9
        values = noisy(1_500)
        values[1_200] = 170.0
        scores = score_one(values, stamps)
        assert scores.is_anomaly[1_200]
        assert scores.is_anomaly.sum() < 10


def test_a_constant_series_is_silent_until_it_changes() -> None:
    values = np.full(600, 20.0)
    values[500] = 21.0
    scores = score_one(values)
    assert not scores.is_anomaly[:500].any()
    assert scores.is_anomaly[500]
    assert scores.expected[499] == scores.lower[499] == scores.upper[499] == 20.0


def test_a_series_that_is_zero_almost_always_alarms_once_and_not_at_every_return() -> None:
    values = np.zeros(3_000)
    values[500::150] = 1.0
    scores = score_one(values)
    assert scores.is_anomaly[500]
    assert scores.is_anomaly[1_000:].sum() == 0


def test_rounding_noise_on_a_huge_value_is_no_anomaly_and_a_real_step_is() -> None:
    values = 8.0e9 + np.random.default_rng(2).integers(-1, 2, size=1_000).astype(np.float64)
    values[800] = 8.4e9
    scores = score_one(values)
    assert scores.is_anomaly[800]
    assert scores.is_anomaly.sum() <= 2


def test_a_shifted_series_scores_the_same() -> None:
    values = noisy(800)
    values[600:] += 20.0
    ours, shifted = score_one(values), score_one(values + 2.0**13)
    before_first_forest = slice(100, 256)
    np.testing.assert_allclose(ours.score[before_first_forest], shifted.score[before_first_forest], atol=1e-3)
    np.testing.assert_allclose(ours.score[256:], shifted.score[256:], atol=0.05)  # cuts hang on last bits
    np.testing.assert_array_equal(ours.is_anomaly, shifted.is_anomaly)


def test_contributions_are_shares() -> None:
    values = noisy(1_000)
    values[900:] += 50.0
    shares = score_one(values).contributions
    assert shares.shape == (1_000, len(FEATURE_NAMES))
    assert (shares >= 0.0).all()
    totals = shares.sum(axis=1)
    assert (np.isclose(totals, 1.0) | (totals == 0.0)).all()


def test_flatness_in_a_noisy_series_is_explained_by_variance() -> None:
    values = noisy(1_500)
    values[1_000:1_060] = values[999]
    variance = score_one(values).contributions[:, FEATURE_NAMES.index("variance")]
    assert variance[1_020:1_040].max() > variance[900:1_000].max()


def test_a_small_lasting_shift_is_explained_by_drift() -> None:
    values = noisy(1_500)
    values[1_000:] += 5.0
    drift = score_one(values).contributions[:, FEATURE_NAMES.index("drift")]
    assert drift[1_100:1_200].mean() > 3.0 * drift[800:1_000].mean()


def test_a_restored_snapshot_goes_on_bit_for_bit() -> None:
    bank = SeriesBank(ScoringConfig(max_series=50))
    slots = np.array([bank.slot(f"s{k}", f"f{k % 3}") for k in range(20)], np.int32)
    rng = np.random.default_rng(4)

    def batch(number: int) -> tuple[npt.NDArray[np.int32], Int64Array, FloatArray]:
        stamps = np.repeat(times(30) + number * 30 * MINUTE_NS, 20)
        return np.tile(slots, 30), stamps, rng.normal(size=600) * 10.0

    for number in range(10):
        bank.update(*batch(number))
    restored = SeriesBank.restore(bank.snapshot())
    for number in range(10, 30):
        rows = batch(number)
        ours, theirs = bank.update(*rows), restored.update(*rows)
        np.testing.assert_array_equal(ours.score, theirs.score)
        np.testing.assert_array_equal(ours.contributions, theirs.contributions)
    assert restored.slot("s7", "f1") == 7
    assert restored.slot("new", "f1") == bank.slot("new", "f1")


def test_a_snapshot_survives_numpys_file_format(tmp_path: object) -> None:
    bank = SeriesBank()
    score_one(noisy(400), bank=bank)
    path = f"{tmp_path}/bank.npz"
    np.savez(path, **bank.snapshot())  # type: ignore[arg-type]
    with np.load(path, allow_pickle=False) as stored:
        restored = SeriesBank.restore(dict(stored))
    later = times(10) + 400 * MINUTE_NS
    np.testing.assert_array_equal(score_one(noisy(10), later, restored).score, score_one(noisy(10), later, bank).score)


@pytest.mark.parametrize("damage", ["missing", "version", "not json", "shape"])
def test_a_damaged_snapshot_is_refused(damage: str) -> None:
    bank = SeriesBank()
    score_one(noisy(50), bank=bank)
    snapshot = bank.snapshot()
    if damage == "missing":
        del snapshot["slot_nets"]
    elif damage == "version":
        header = snapshot["header"].tobytes().replace(b'"version": 2', b'"version": 9')
        snapshot["header"] = np.frombuffer(header, np.uint8)
    elif damage == "not json":
        snapshot["header"] = np.zeros(5, np.uint8)
    else:
        snapshot["slot_floats"] = np.zeros((3, 2))
    with pytest.raises(ConfigurationError):
        SeriesBank.restore(snapshot)


def test_the_series_with_the_oldest_event_time_gives_up_its_slot() -> None:
    bank = SeriesBank(ScoringConfig(max_series=3))
    for k, age in enumerate((5, 1, 9)):
        slot = bank.slot(f"s{k}", "f")
        bank.update(np.array([slot], np.int32), np.array([START_NS - age * MINUTE_NS]), np.array([1.0]))
    taken = bank.slot("newcomer", "f")
    assert bank.series_count == 3
    assert bank.evicted_series == 1
    assert taken == 2
    assert bank.points(taken) == 0
    assert bank.slot("s0", "f") == 0


def test_memory_of_five_thousand_series_is_bounded() -> None:
    bank = SeriesBank()
    for k in range(5_000):
        bank.slot(f"s{k}", f"f{k % 64}")
    assert bank.state_bytes < 150e6
    bank.slot("one more", "another family")
    assert bank.series_count == 5_000


def test_slots_that_were_never_handed_out_and_columns_of_other_lengths_are_refused() -> None:
    bank = SeriesBank()
    bank.slot("a", "f")
    one = np.zeros(1, np.int64)
    for slots in (np.array([1], np.int32), np.array([-1], np.int32)):
        with pytest.raises(ConfigurationError, match="slots"):
            bank.update(slots, one, np.zeros(1))
    with pytest.raises(ConfigurationError, match="shape"):
        bank.update(np.zeros(2, np.int32), one, np.zeros(1))
    assert len(bank.update(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0)).score) == 0


@pytest.mark.parametrize(
    "wrong", [{"max_series": 0}, {"warm_up_points": 1}, {"novelty_threshold": 0.0}, {"band_width": float("nan")}]
)
def test_a_configuration_that_cannot_work_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        ScoringConfig(**wrong)  # type: ignore[arg-type]
