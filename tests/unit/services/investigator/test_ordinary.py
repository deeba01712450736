"""What is ordinary: the sorted short cuts say what numpy's own medians and quantiles say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.investigator.ordinary import MAD_TO_SIGMA, deviation, level_of, nearest_level, ordinary_of, rarity

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


@given(values)
def test_level_and_percentiles_are_numpys(given_values: list[float]) -> None:
    column = np.array(given_values)
    ordinary = ordinary_of(column)
    median = float(np.median(column))
    assert ordinary.level == level_of(column)
    assert ordinary.level.median == pytest.approx(median)
    assert ordinary.level.spread >= float(np.median(np.abs(column - median))) * MAD_TO_SIGMA * (1 - 1e-9)
    assert ordinary.high == pytest.approx(float(np.quantile(column, 0.98)), abs=1e-6)
    assert ordinary.low == pytest.approx(float(np.quantile(column, 0.02)), abs=1e-6)
    assert ordinary.recent == pytest.approx(float(np.median(column[-5:])))


@given(values)
def test_a_rise_must_clear_the_higher_and_a_fall_the_lower_level(given_values: list[float]) -> None:
    column = np.array(given_values)
    levels = (float(np.median(column)), float(np.median(column[-5:])))
    assert nearest_level(column, upward=True) == pytest.approx(max(levels))
    assert nearest_level(column, upward=False) == pytest.approx(min(levels))


@given(values, values)
def test_what_hurts_downwards_is_the_mirror_of_what_hurts_upwards(before: list[float], now: list[float]) -> None:
    column, current = np.array(before), np.array(now)
    up, down = ordinary_of(column), ordinary_of(-column)
    assert rarity(up, current, "high") == pytest.approx(rarity(down, -current, "low"), rel=1e-6, abs=1e-6)
    assert deviation(up, current, "high")[1] == pytest.approx(deviation(down, -current, "low")[1], rel=1e-6, abs=1e-6)


def test_a_leak_is_measured_from_where_it_stood() -> None:
    grown = ordinary_of(np.linspace(100.0, 200.0, 50))
    assert rarity(grown, np.array([205.0]), "high") > rarity(grown, np.array([205.0]), "high", steady=True)
