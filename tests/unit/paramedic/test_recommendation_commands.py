"""`paramedic recommendations`: what it prints, and that a diff is nothing but a diff."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from libs.contracts.codec import to_json
from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from libs.errors import NotFound
from libs.stores.open import open_incident_store
from paramedic.cli import app

DIFF = "--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = [1]\n+x = [2]\n"


@pytest.fixture(autouse=True)
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARAMEDIC_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    store = open_incident_store("sqlite", tmp_path)
    for identity, diff, state in (("aa11", DIFF, "open"), ("bb22", "", "dismissed")):
        one = CodeChangeRecommended(
            id=identity, rule="n_plus_one_calls", service="cart", title=f"title [{identity}]", diff=diff, state=state,
            location=CodeLocation(path="a.py", line=3), recommended_at=datetime(2026, 3, 2, tzinfo=UTC),
            benefit="words", benefit_value=2.5, benefit_unit="h/day", confidence=0.9, validation="no patch: shape",
        )  # fmt: skip
        store.put_state(f"recommendation/{identity}", to_json(one).decode())
    store.close()


def output(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["recommendations", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_diff_is_printed_as_it_is() -> None:
    assert output("diff", "aa") == DIFF


def test_json_lines_hold_whole_recommendations() -> None:
    [line] = output("list", "--state", "open", "--json").splitlines()
    assert json.loads(line)["id"] == "aa11"


def test_show_says_everything(capsys: pytest.CaptureFixture[str]) -> None:
    from paramedic.commands.recommendations import _one
    from paramedic.recommendation_tables import print_recommendation

    print_recommendation(_one("aa11"))
    shown = capsys.readouterr().out
    for part in ("title [aa11]", "a.py:3", "words", "no patch: shape", "+x = [2]"):
        assert part in shown


@pytest.mark.parametrize("arguments", [("diff", "bb22"), ("show", "cc"), ("show", "")])
def test_what_is_not_there_is_said_with_what_to_do(arguments: tuple[str, str]) -> None:
    with pytest.raises(NotFound):
        output(*arguments)
