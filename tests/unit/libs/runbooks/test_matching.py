"""The most specific runbook wins, always the same one, whatever the order they were read in."""

from dataclasses import replace
from itertools import permutations

import pytest

from libs.contracts.anomaly import Signal
from libs.contracts.investigation import CauseKind
from libs.runbooks import Runbook, load_runbooks, match
from tests.unit.libs.runbooks.made import a_hypothesis, an_anomaly, an_incident

ROLL_BACK = next(runbook for runbook in load_runbooks() if runbook.name == "roll-back-deploy")


def a_runbook(name: str, **fields: object) -> Runbook:
    return replace(ROLL_BACK, name=name, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        (CauseKind.DEPLOY, "change-1", "roll-back-deploy"),
        (CauseKind.DEPLOY, None, None),
        (CauseKind.FLAG, "change-1", "turn-off-flag"),
        (CauseKind.MEMORY_LEAK, None, "restart-instance"),
        (CauseKind.HUNG_INSTANCE, None, "restart-instance"),
        (CauseKind.SATURATION, None, "scale-out"),
        (CauseKind.TRAFFIC_SURGE, None, "scale-out"),
        (CauseKind.CODE_ERROR, None, None),
        (CauseKind.DEPENDENCY, None, None),
    ],
)
def test_each_kind_of_cause_finds_its_shipped_runbook(
    kind: CauseKind, change: str | None, expected: str | None
) -> None:
    found = match(load_runbooks(), a_hypothesis(kind=kind, change_id=change), an_incident())
    assert (found.name if found else None) == expected


def test_the_most_specific_wins_in_any_order() -> None:
    books = [
        a_runbook("any"),
        a_runbook("by-signal", signals=(Signal.LATENCY,)),
        a_runbook("by-glob", services="cata*"),
        a_runbook("by-name", services="catalog"),
        a_runbook("another", services="payments"),
    ]
    for order in permutations(books):
        found = match(order, a_hypothesis(), an_incident())
        assert found is not None
        assert found.name == "by-name"
    assert [match(books[:n], a_hypothesis(), an_incident()).name for n in (1, 2, 3)] == [  # type: ignore[union-attr]
        "any",
        "by-signal",
        "by-glob",
    ]


def test_equally_specific_runbooks_are_settled_by_name() -> None:
    for order in permutations([a_runbook("b"), a_runbook("a"), a_runbook("c")]):
        assert match(order, a_hypothesis(), an_incident()).name == "a"  # type: ignore[union-attr]


def test_a_signal_elsewhere_does_not_count_when_the_service_has_its_own() -> None:
    books = [a_runbook("errors-only", signals=(Signal.ERRORS,))]
    slow = an_anomaly("catalog")
    failing = an_anomaly("gateway", signal=Signal.ERRORS)
    assert match(books, a_hypothesis(), an_incident(slow, failing)) is None
    assert match(books, a_hypothesis(), an_incident(failing)) is not None


def test_doubt_does_not_hide_the_known_fix() -> None:
    assert match([ROLL_BACK], a_hypothesis(confidence=0.01), an_incident()) is ROLL_BACK
