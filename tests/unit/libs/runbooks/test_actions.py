"""Actions are typed and closed; templates name fields and are never evaluated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import InvalidMessage, NotFound
from libs.runbooks.actions import ACTIONS, INVERSES, ActionCall, TargetNow, check_call, inverse_call
from libs.runbooks.parameters import FIELDS, Facts, check_template, fill
from tests.unit.libs.runbooks.made import a_change, a_hypothesis, an_incident

TARGET = TargetNow(version="2.4.0", previous_version="2.3.0", replicas=2)
FACTS = Facts(hypothesis=a_hypothesis(instance="catalog-1"), incident=an_incident(), change=a_change(), target=TARGET)
CALLS = {
    "rollback_deploy": {"to_version": "2.3.0"},
    "restart_instance": {"instance": "catalog-1"},
    "disable_flag": {"flag": "new-pricing"},
    "scale_out": {"replicas": "4"},
}


def a_call(action: str, service: str = "catalog", **parameters: str) -> ActionCall:
    return ActionCall(action=action, service=service, parameters=parameters)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_every_action_accepts_its_own_parameters_and_refuses_others(action: str) -> None:
    good = a_call(action, **CALLS[action])
    assert check_call(good) == good
    with pytest.raises(InvalidMessage, match="no parameter force"):
        check_call(a_call(action, **CALLS[action], force="yes"))
    with pytest.raises(InvalidMessage, match="service"):
        check_call(a_call(action, "cata log; rm -rf /", **CALLS[action]))


def test_an_action_that_is_not_declared_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="no action 'delete_database'"):
        check_call(a_call("delete_database"))


@pytest.mark.parametrize("text", ["", "../admin", "a b", "x" * 200, "1\n2", "%2e%2e", "a/b", "a?dry_run=true"])
def test_a_version_that_could_mean_something_else_in_a_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidMessage, match="to_version"):
        check_call(a_call("rollback_deploy", to_version=text))


@pytest.mark.parametrize("text", ["0", "-1", "1001", "1e3", "", "٣", "2.0"])
def test_replicas_are_whole_numbers_in_range(text: str) -> None:
    with pytest.raises(InvalidMessage, match="replicas"):
        check_call(a_call("scale_out", replicas=text))


def test_no_instance_means_every_instance() -> None:
    assert check_call(a_call("restart_instance")).parameters == {"instance": ""}


def test_the_inverse_restores_what_was_there_before() -> None:
    undo = {name: inverse_call(a_call(name, **CALLS[name]), spec.inverse, TARGET) for name, spec in ACTIONS.items()}
    assert undo["restart_instance"] is None
    assert undo["rollback_deploy"] == a_call("redeploy", to_version="2.4.0")
    assert undo["disable_flag"] == a_call("enable_flag", flag="new-pricing")
    assert undo["scale_out"] == a_call("scale_back", replicas="2")


def test_nothing_is_undone_towards_an_unknown_state() -> None:
    assert inverse_call(a_call("rollback_deploy", to_version="2.3.0"), "redeploy", TargetNow()) is None
    assert inverse_call(a_call("scale_out", replicas="4"), "scale_back", TargetNow()) is None


def test_inverses_cannot_be_proposed() -> None:
    assert not set(ACTIONS) & set(INVERSES)
    assert {spec.inverse for spec in ACTIONS.values()} - {""} == set(INVERSES)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{change.previous_version}", "2.3.0"),
        ("v{change.version}-{hypothesis.service}", "v2.4.0-catalog"),
        ("{hypothesis.instance}", "catalog-1"),
        ("{target.replicas_plus_2}", "4"),
        ("{target.replicas_doubled}", "4"),
        ("plain", "plain"),
    ],
)
def test_named_fields_are_filled_in(template: str, expected: str) -> None:
    check_template(template)
    assert fill(template, FACTS) == expected


def test_a_change_that_names_no_previous_version_is_completed_by_the_executor() -> None:
    change = a_change(previous_version=None)
    facts = Facts(hypothesis=a_hypothesis(), incident=an_incident(), change=change, target=TARGET)
    assert fill("{change.previous_version}", facts) == "2.3.0"
    moved_on = Facts(
        hypothesis=a_hypothesis(),
        incident=an_incident(),
        change=change,
        target=TargetNow(version="2.5.0", previous_version="2.4.0", replicas=1),
    )
    with pytest.raises(NotFound, match=r"change\.previous_version"):
        fill("{change.previous_version}", moved_on)


@pytest.mark.parametrize("name", [name for name in FIELDS if name.startswith(("change.", "target."))])
def test_what_was_not_found_is_not_guessed(name: str) -> None:
    with pytest.raises(NotFound):
        fill(f"{{{name}}}", Facts(hypothesis=a_hypothesis(), incident=an_incident()))


@given(st.text(alphabet="{}.abchypothesis_[]()!:0", max_size=40))
def test_a_template_that_passes_the_check_names_known_fields_only(template: str) -> None:
    try:
        check_template(template)
    except InvalidMessage:
        return
    filled = fill(template, FACTS)
    assert "{" not in filled
    assert "}" not in filled


def test_values_are_never_templates_themselves() -> None:
    facts = Facts(hypothesis=a_hypothesis(service="{incident.id}"), incident=an_incident())
    assert fill("{hypothesis.service}", facts) == "{incident.id}"
