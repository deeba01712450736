"""The success rate is what it says: successes over automatic runs that applied a change, everything else apart."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from libs.contracts.remediation import FINAL_STATES, Mode, RemediationChanged, RunState
from libs.runbooks.scorecard import scorecard, wilson_interval
from tests.unit.libs.runbooks.made import at

RUN = RemediationChanged(
    id="run",
    incident_id="incident",
    pattern="roll-back-deploy",
    mode=Mode.AUTO,
    action="rollback_deploy",
    target="catalog",
    state=RunState.SUCCEEDED,
    version=5,
    applied_at=at(20),
    requested_at=at(10),
    updated_at=at(90),
)


def runs(*variants: dict[str, object]) -> list[RemediationChanged]:
    return [replace(RUN, **{"id": f"run-{n}", **variant}) for n, variant in enumerate(variants)]  # type: ignore[arg-type]


def test_the_rate_counts_automatic_applied_runs_only() -> None:
    card = scorecard(
        runs(
            {},
            {"state": RunState.ROLLED_BACK},
            {"state": RunState.ESCALATED, "recurred": True},
            {"human_involved": True},
            {"recurred": True},
            {"mode": Mode.APPROVE, "human_involved": True},
            {"mode": Mode.APPROVE, "human_involved": True, "state": RunState.ROLLED_BACK},
            {"mode": Mode.OBSERVE, "state": RunState.ESCALATED, "applied_at": None},
            {"state": RunState.CANCELED, "applied_at": None},
            {"state": RunState.FAILED, "applied_at": None},
            {"state": RunState.HOLDING},
        )
    ).total
    assert (card.successes, card.applied, card.rate) == (1, 5, 0.2)
    assert (card.approved_by_human, card.approved_successes) == (2, 1)
    assert (card.not_applied, card.proposals, card.in_progress) == (3, 1, 1)
    assert (card.recurred, card.human_involved) == (2, 1)
    assert sum(card.outcomes.values()) == 10


def test_each_pattern_has_its_row_and_they_add_up() -> None:
    card = scorecard(runs({}, {"pattern": "scale-out"}, {"pattern": "scale-out", "state": RunState.ROLLED_BACK}))
    assert [(row.pattern, row.successes, row.applied) for row in card.patterns] == [
        ("roll-back-deploy", 1, 1),
        ("scale-out", 1, 2),
    ]
    assert (card.total.pattern, card.total.successes, card.total.applied) == ("", 2, 3)


def test_an_incident_without_a_pattern_is_no_run() -> None:
    card = scorecard(runs({"pattern": "", "state": RunState.ESCALATED, "applied_at": None, "mode": Mode.OBSERVE}))
    assert card.without_pattern == 1
    assert card.patterns == ()
    assert card.total.not_applied == 0


def test_nothing_applied_is_no_rate_at_all() -> None:
    total = scorecard([]).total
    assert (total.rate, total.interval_low, total.interval_high) == (None, 0.0, 1.0)


def test_only_the_newest_state_of_a_run_counts_in_any_order() -> None:
    early = replace(RUN, state=RunState.HOLDING, version=4)
    assert scorecard([RUN, early]) == scorecard([early, RUN]) == scorecard([RUN])


@pytest.mark.parametrize(("successes", "trials"), [(9, 10), (10, 10), (0, 10), (40, 50), (1, 1), (500, 1000)])
def test_the_interval_is_the_one_that_scipy_calls_wilsons(successes: int, trials: int) -> None:
    reference = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((reference.low, reference.high), abs=1e-9)


@given(
    st.lists(
        st.builds(
            lambda n, state, mode, applied, human, recurred: replace(
                RUN,
                id=f"run-{n}",
                state=state,
                mode=mode,
                applied_at=at(1) if applied else None,
                human_involved=human,
                recurred=recurred,
            ),
            st.integers(0, 10_000),
            st.sampled_from(RunState),
            st.sampled_from(Mode),
            st.booleans(),
            st.booleans(),
            st.booleans(),
        ),
        unique_by=lambda run: run.id,
        max_size=30,
    )
)
def test_every_run_is_counted_in_exactly_one_place(many: list[RemediationChanged]) -> None:
    total = scorecard(many).total
    assert total.applied + total.approved_by_human + total.not_applied + total.in_progress == len(many)
    assert 0 <= total.successes <= total.applied
    assert 0.0 <= total.interval_low <= (total.rate or 0.0) <= total.interval_high <= 1.0
    assert sum(total.outcomes.values()) == sum(run.state in FINAL_STATES for run in many)
