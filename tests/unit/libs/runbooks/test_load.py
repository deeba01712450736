"""Runbooks are read from Markdown; a wrong one is refused with the names of its file and field."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.contracts.investigation import CauseKind
from libs.contracts.remediation import Mode
from libs.errors import ConfigurationError
from libs.runbooks import SHIPPED, Runbook, load_runbooks, match
from libs.runbooks.actions import ACTIONS
from libs.runbooks.load import parse_runbook
from tests.unit.libs.runbooks.made import a_hypothesis, an_incident

GOOD = (SHIPPED / "roll-back-deploy.md").read_text()


def test_four_runbooks_are_shipped_with_the_promised_modes() -> None:
    assert {runbook.name: runbook.mode for runbook in load_runbooks()} == {
        "restart-instance": Mode.AUTO,
        "roll-back-deploy": Mode.AUTO,
        "scale-out": Mode.AUTO,
        "turn-off-flag": Mode.APPROVE,
    }


@pytest.mark.parametrize("runbook", load_runbooks(), ids=lambda runbook: runbook.name)
def test_every_shipped_runbook_is_prose_with_steps_and_a_declared_action(runbook: Runbook) -> None:
    assert runbook.action in ACTIONS
    assert runbook.inverse in ("", ACTIONS[runbook.action].inverse)
    assert {"**When.**", "**Fix.**", "**Verified**"} <= {word for word in runbook.text.split() if word.startswith("**")}
    assert all(step.tool and step.title for step in runbook.steps)
    assert runbook.steps


@pytest.mark.parametrize("kind", [CauseKind.DEPENDENCY, CauseKind.CODE_ERROR, CauseKind.UNKNOWN, CauseKind.NETWORK])
def test_no_shipped_runbook_touches_what_no_pattern_is_known_for(kind: CauseKind) -> None:
    hypothesis = a_hypothesis(kind=kind, service="bank", confidence=0.99)
    assert match(load_runbooks(), hypothesis, an_incident()) is None


@pytest.mark.parametrize(
    ("find", "put", "field"),
    [
        ("mode: auto", "mode: yolo", "mode"),
        ("cause_kinds: [deploy]", "cause_kinds: [gremlins]", "match.cause_kinds.0"),
        ("cause_kinds: [deploy]", "cause_kinds: []", "match.cause_kinds"),
        ("least_confidence: 0.5", "least_confidence: 1.5", "match.least_confidence"),
        ("action: rollback_deploy", "action: rm_rf", "action"),
        ("{change.previous_version}", "{change.__class__}", "parameters.to_version"),
        ("{change.previous_version}", "{hypothesis.service", "parameters.to_version"),
        ("to_version:", "version:", "parameters.version"),
        ('  to_version: "{change.previous_version}"', "  {}", "parameters"),
        ("max_runs_per_hour: 6", "max_runs_per_hour: 0", "guardrails.max_runs_per_hour"),
        ("max_runs_per_hour: 6", "max_runs_pre_hour: 6", "guardrails.max_runs_pre_hour"),
        ("inverse: redeploy", "inverse: enable_flag", "inverse"),
        ("needs_change: true", "needs_change: false", "match.needs_change"),
        ("name: roll-back-deploy", "name: Roll Back!", "name"),
        ("name: roll-back-deploy", "nom: roll-back-deploy", "name"),
        ('{service: "{hypothesis.service}"}', '{service: "{incident.secret}"}', "steps.0.arguments.service"),
    ],
)
def test_a_wrong_field_is_named_with_its_file(find: str, put: str, field: str) -> None:
    assert find in GOOD
    with pytest.raises(ConfigurationError, match=rf"mine\.md: .*{field}"):
        parse_runbook(GOOD.replace(find, put, 1), "mine.md")


@pytest.mark.parametrize("text", ["", "# no front matter", "---\nname: x\n", "---\n: [\n---\n", "---\n- a\n---\n"])
def test_a_file_without_readable_front_matter_is_named(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"mine\.md"):
        parse_runbook(text, "mine.md")


@given(st.text(max_size=200))
def test_any_text_is_a_runbook_or_a_configuration_error(header: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_runbook(f"---\n{header}\n---\nprose", "mine.md")


def test_a_folder_of_your_own_adds_and_replaces(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_text(GOOD.replace("name: roll-back-deploy", "name: mine"))
    (tmp_path / "stricter.md").write_text(GOOD.replace("mode: auto", "mode: approve"))
    modes = {runbook.name: runbook.mode for runbook in load_runbooks(tmp_path)}
    assert modes["mine"] is Mode.AUTO
    assert modes["roll-back-deploy"] is Mode.APPROVE
    assert len(modes) == 5


def test_the_same_name_twice_in_a_folder_is_refused(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(ConfigurationError, match=r"b\.md: name: roll-back-deploy is also in .*a\.md"):
        load_runbooks(tmp_path)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        load_runbooks(tmp_path / "nowhere")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.md").write_bytes(b"---\n\xff\xfe\n---\n")
    with pytest.raises(ConfigurationError, match=r"mine\.md"):
        load_runbooks(tmp_path)
