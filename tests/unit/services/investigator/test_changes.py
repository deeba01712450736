"""Which changes are routine: what returns to a version that served well, not what was once rolled back."""

from libs.contracts.telemetry import ChangeEvent, ChangeKind
from services.investigator.ranking.changes import restores
from tests.unit.services.investigator.shop_telemetry import change


def deploy(
    seconds_before: float, previous: str, version: str, actor: str = "operator", **fields: object
) -> ChangeEvent:
    return change(
        ChangeKind.DEPLOY, "catalog", seconds_before, previous_version=previous, version=version, actor=actor, **fields
    )


def test_going_back_to_what_served_before_is_routine() -> None:
    bad, back = deploy(600, "1.0", "1.1"), deploy(300, "1.1", "1.0")
    assert restores(back, [bad, back])
    assert not restores(bad, [bad, back])


def test_deploying_again_what_was_rolled_back_is_not() -> None:
    bad, again = deploy(600, "1.0", "1.1"), deploy(5, "1.0", "1.1")
    for actor in ("paramedic", "operator"):
        back = deploy(300, "1.1", "1.0", actor=actor)
        assert not restores(again, [bad, back, again])


def test_deploying_again_what_was_rolled_back_is_not_even_when_the_first_deploy_is_long_ago() -> None:
    back, again = deploy(300, "1.1", "1.0", attributes={"operation": "rollback"}), deploy(5, "1.0", "1.1")
    assert not restores(again, [back, again])
    healed = deploy(300, "1.1", "1.0", actor="paramedic")
    assert not restores(again, [healed, again])


def test_a_second_way_back_is_routine_again() -> None:
    changes = [deploy(900, "1.0", "1.1"), deploy(700, "1.1", "1.0"), deploy(500, "1.0", "1.1"), deploy(5, "1.1", "1.0")]
    assert restores(changes[3], changes)
