"""What a finding does to what is stored, and what a person's decision does."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from libs.contracts.command import Command, CommandKind
from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from libs.errors import InvalidMessage
from services.recommender.merge import decided, is_newer, merged, superseded

NOW = datetime(2026, 3, 2, 9, 5, tzinfo=UTC)
ONE = CodeChangeRecommended(
    id="1", rule="n_plus_one_calls", service="cart", title="t", recommended_at=NOW, operation="GET /",
    location=CodeLocation(path="a.py", line=3, version="1.8.0"), benefit_value=10.0, benefit_unit="h/day",
    confidence=0.9, diff="d", validation="v",
)  # fmt: skip


def test_a_first_finding_is_stored_as_it_is() -> None:
    assert merged(None, ONE) == ONE


@pytest.mark.parametrize(
    "changed", [{"benefit_value": 12.0}, {"confidence": 0.95}, {"benefit": "other words"}, {"evidence": ()}]
)
def test_figures_that_wander_are_not_told_again(changed: dict[str, Any]) -> None:
    assert merged(ONE, replace(ONE, **changed)) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"benefit_value": 25.0}, {"confidence": 0.6}, {"diff": "other"}, {"validation": ""}, {"incident_id": "i"},
        {"location": CodeLocation(path="a.py", line=9, version="1.8.1")},
    ],
)  # fmt: skip
def test_what_is_material_is_told_again(changed: dict[str, Any]) -> None:
    assert merged(ONE, replace(ONE, **changed)) == replace(ONE, **changed)


@pytest.mark.parametrize("state", ["accepted", "dismissed"])
def test_a_decision_is_never_reopened_by_a_run(state: str) -> None:
    assert merged(replace(ONE, state=state), replace(ONE, diff="other", benefit_value=99.0)) is None


def test_the_incident_and_the_branch_are_kept() -> None:
    stored = replace(ONE, incident_id="i", branch="b")
    after = merged(stored, replace(ONE, diff="other"))
    assert after is not None
    assert (after.incident_id, after.branch) == ("i", "b")


def test_a_weakness_that_a_newer_version_does_not_show_is_superseded_and_reopened_when_it_comes_back() -> None:
    operations = frozenset({("cart", "GET /")})
    gone = superseded(ONE, {"cart": "1.9.0"}, operations, NOW)
    assert gone is not None
    assert gone.state == "superseded"
    assert "1.9.0" in gone.reason
    back = merged(gone, replace(ONE, location=CodeLocation(path="a.py", version="1.9.1")))
    assert back is not None
    assert back.state == "open"


@pytest.mark.parametrize("version", ["1.8.0", "1.7.9"])
def test_the_same_or_an_older_version_supersedes_nothing(version: str) -> None:
    assert superseded(ONE, {"cart": version}, frozenset({("cart", "GET /")}), NOW) is None


def test_nothing_is_superseded_without_traffic_to_its_operation_or_service() -> None:
    assert superseded(ONE, {"cart": "1.9.0"}, frozenset({("cart", "POST /")}), NOW) is None
    assert superseded(ONE, {}, frozenset(), NOW) is None
    assert superseded(replace(ONE, state="accepted"), {"cart": "1.9.0"}, frozenset({("cart", "GET /")}), NOW) is None


@pytest.mark.parametrize(
    ("version", "than", "newer"),
    [("1.10.0", "1.9.0", True), ("2", "10", False), ("v2.0.0", "1.0", True), ("abc", "def", True), ("", "1", False)],
)
def test_versions_compare_by_their_numbers(version: str, than: str, newer: bool) -> None:
    assert is_newer(version, than) is newer


def command(kind: CommandKind = CommandKind.ACCEPT_RECOMMENDATION, reason: str = "good") -> Command:
    return Command(id="c", kind=kind, target="1", actor="ada", reason=reason, issued_at=NOW)


def test_a_decision_says_who_and_why_and_is_carried_out_once() -> None:
    after = decided(ONE, command())
    assert after == replace(ONE, state="accepted", decided_by="ada", reason="good")
    assert decided(after, command()) is None


def test_people_may_change_their_mind() -> None:
    after = decided(replace(ONE, state="dismissed"), command())
    assert after is not None
    assert after.state == "accepted"


@pytest.mark.parametrize("stored", [None, replace(ONE, state="superseded")])
def test_there_is_nothing_to_decide_about_what_is_unknown_or_gone(stored: CodeChangeRecommended | None) -> None:
    with pytest.raises(InvalidMessage, match="ada"):
        decided(stored, command())
