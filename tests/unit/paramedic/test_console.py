"""What people read later is not cut at 80 columns."""

import pytest

from paramedic.console import new_console


def test_output_to_a_file_is_wide_enough_for_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert new_console().width == 160


def test_columns_of_the_environment_are_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert new_console().width == 100
