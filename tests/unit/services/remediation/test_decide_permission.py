"""Who allows what a run does: policy, people and halts."""

import pytest

from libs.contracts.remediation import Mode, RunState
from libs.errors import InvalidMessage
from services.remediation.decide import PATIENCE_S, wanted
from services.remediation.facts import (
    Approved,
    Passed,
    Rejected,
    Restarted,
    Ruling,
)
from tests.unit.services.remediation.started import (
    HALTED,
    a_run,
    after,
    asked_to_apply,
    captured,
    judged,
    now,
    planned,
    verifying,
)


def test_a_proposal_says_what_it_would_do_and_does_nothing() -> None:
    run = after(a_run(), captured(), judged(Ruling.PROPOSE, Mode.OBSERVE, "the mode is observe"))
    assert run.change.state is RunState.ESCALATED
    assert run.change.mode is Mode.OBSERVE
    assert run.change.applied_at is None
    assert "rollback_deploy(catalog, to_version=2.3.0)" in run.change.reason


def test_policy_is_asked_again_right_before_the_change() -> None:
    run = after(a_run(), captured(), judged(), planned())
    denied = after(run, judged(Ruling.DENY, reason="6 runs within an hour"))
    assert denied.change.state is RunState.ESCALATED
    assert denied.change.applied_at is None


def test_policy_waits_so_long_and_then_calls_a_human() -> None:
    run = after(a_run(), captured(), judged(Ruling.WAIT, reason="confidence 0.30"))
    assert run.change.state is RunState.REQUESTED
    again = after(run, judged(Ruling.WAIT, reason="confidence 0.30"), seconds=30)
    assert again.change.version == run.change.version
    late = after(run, judged(Ruling.WAIT, reason="confidence 0.30"), seconds=20 + PATIENCE_S + 1)
    assert late.change.state is RunState.ESCALATED
    assert late.lapsed


def test_a_halt_does_not_use_up_the_patience_of_policy() -> None:
    run = after(a_run(), captured())
    for seconds in range(20, 400, 10):
        run = after(run, judged(Ruling.WAIT, reason=HALTED), seconds=seconds, halted=HALTED)
    assert run.change.state is RunState.REQUESTED
    assert after(run, judged(Ruling.WAIT, reason="cooldown"), seconds=400).change.state is RunState.REQUESTED


def test_a_person_approves_and_it_is_applied_in_their_name() -> None:
    run = after(a_run(mode=Mode.APPROVE), captured(), judged(mode=Mode.APPROVE), planned())
    assert run.change.state is RunState.AWAITING_APPROVAL
    assert wanted(run, now(20)) == ()
    run = after(run, Approved(command_id="c1", actor="ann", reason="clear"), judged(mode=Mode.APPROVE))
    assert run.change.human_involved
    assert run.in_doubt
    assert run.change.state is RunState.RUNNING


def test_an_approval_is_carried_out_once() -> None:
    run = after(a_run(mode=Mode.APPROVE), captured(), judged(mode=Mode.APPROVE), planned())
    approval = Approved(command_id="c1", actor="ann", reason="")
    once = after(run, approval)
    assert after(once, approval) == once
    with pytest.raises(InvalidMessage, match="waits for no approval"):
        after(once, Approved(command_id="c2", actor="bob", reason=""))


def test_a_pattern_switched_to_approval_at_the_last_moment_asks_first() -> None:
    run = after(a_run(), captured(), judged(), planned(), judged(mode=Mode.APPROVE))
    assert run.change.state is RunState.AWAITING_APPROVAL


def test_a_rejected_run_is_over() -> None:
    run = after(a_run(mode=Mode.APPROVE), captured(), judged(mode=Mode.APPROVE), planned())
    run = after(run, Rejected(command_id="c1", actor="ann", reason="not now"))
    assert run.change.state is RunState.CANCELED
    assert run.change.human_involved
    assert wanted(run, now(21)) == ()


def test_what_was_applied_cannot_be_rejected() -> None:
    with pytest.raises(InvalidMessage, match="cannot be rejected"):
        after(verifying(), Rejected(command_id="c1", actor="ann", reason=""))


@pytest.mark.parametrize("stop", [Rejected(command_id="c", actor="ann", reason=""), Passed()], ids=["reject", "halt"])
def test_stopping_what_may_have_been_applied_says_so_and_counts_as_applied(stop: Rejected | Passed) -> None:
    run = after(asked_to_apply(), Restarted(), stop, seconds=25, halted=HALTED if isinstance(stop, Passed) else "")
    assert run.change.state is RunState.ESCALATED
    assert run.change.applied_at is not None
    assert "is not known" in run.change.reason
