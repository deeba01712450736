"""History as evidence: people outweigh fixes, fixes outweigh guesses, corrections count, no change is blamed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from libs.contracts.investigation import CauseKind, SimilarIncident
from libs.contracts.telemetry import ChangeEvent, ChangeKind
from services.investigator.cause import hypotheses, kind_of
from services.investigator.evidence import Evidence
from services.investigator.ranking.finding import Finding
from services.investigator.ranking.fuse import Suspect, suspects
from services.investigator.ranking.history import history, kinds_before
from tests.unit.services.investigator.shop_telemetry import BEGAN, ns

NOTHING = Evidence(
    affected=("gateway",), symptoms={}, started_ns=ns(BEGAN), as_of_ns=ns(BEGAN + timedelta(seconds=20)), window_s=5.0
)


def past(number: int, service: str, confirmed_by: str, *, similarity: float = 0.9, **more: str) -> SimilarIncident:
    return SimilarIncident(
        id=f"i{number}",
        number=f"INC-00000{number}",
        title="gateway is slow",
        similarity=similarity,
        root_cause=f"the index of {service} is gone",
        root_cause_service=service,
        confirmed_by=confirmed_by,
        opened_at=BEGAN - timedelta(days=number),
        **more,
    )


def evidence(*similar: SimilarIncident, changes: tuple[ChangeEvent, ...] = ()) -> Evidence:
    return replace(NOTHING, similar=similar, changes=changes)


def strengths(*similar: SimilarIncident) -> dict[str, float]:
    return {finding.service: finding.strength for finding in history(evidence(*similar))}


def test_a_person_outweighs_a_verified_fix_and_that_a_guess() -> None:
    told = strengths(past(1, "cart", "ann"), past(2, "catalog", "verified_fix"), past(3, "payments", ""))
    assert told["cart"] > 1.8 * told["catalog"] > 0
    assert told["catalog"] > 5 * told["payments"] > 0


@pytest.mark.parametrize(("confirmed_by", "strength"), [("ann", 0.9), ("verified_fix", 0.63), ("", 0.135)])
def test_alone_each_counts_as_much_as_it_is_worth(confirmed_by: str, strength: float) -> None:
    assert strengths(past(1, "cart", confirmed_by))["cart"] == pytest.approx(strength)


def test_the_same_mistake_verified_five_times_does_not_outvote_one_person() -> None:
    machine = [past(number, "catalog", "verified_fix") for number in range(2, 7)]
    told = strengths(past(1, "cart", "ann"), *machine)
    assert told["cart"] > told["catalog"]


def test_two_people_are_two_opinions() -> None:
    told = strengths(past(1, "cart", "ann"), past(2, "cart", "bob"), past(3, "catalog", "eve"))
    assert told["cart"] > told["catalog"] > 0


def test_what_a_person_corrected_counts_against_the_service_that_was_blamed() -> None:
    corrected = past(1, "inventory", "ann", refuted_service="catalog", refuted_kind="deploy")
    [catalog, inventory] = history(evidence(corrected, past(2, "catalog", "")))
    assert (catalog.service, inventory.service) == ("catalog", "inventory")
    assert catalog.strength < -0.5
    assert inventory.strength > 0.5
    assert catalog.text == (
        "INC-000001 looked 90% alike and was first blamed on catalog; ann corrected it to inventory: "
        "the index of inventory is gone"
    )


def test_the_line_says_how_alike_who_confirmed_and_what_fixed_it() -> None:
    [line] = history(evidence(past(1, "catalog", "verified_fix", fixed_by="rollback_deploy catalog to 1.0")))
    assert line.text == (
        "INC-000001 looked 90% alike; its cause was in catalog: the index of catalog is gone "
        "(confirmed by a verified fix, fixed by rollback_deploy catalog to 1.0)"
    )


def harmed(service: str, *more: Finding) -> Suspect:
    slow = Finding(idea="own_time", service=service, strength=0.8, text="slow", source="red")
    return Suspect(service=service, score=1.0, confidence=0.9, findings=(slow, *more))


def deploy(service: str, strength: float = 0.95) -> Finding:
    return Finding(
        idea="change",
        service=service,
        strength=strength,
        text="deploy",
        source="change d1",
        kind=CauseKind.DEPLOY,
        change_id="d1",
    )


def test_a_deploy_that_was_to_blame_before_makes_no_deploy_of_today() -> None:
    before = kinds_before(evidence(past(1, "catalog", "ann", root_cause_kind="deploy")), "catalog")
    assert before[CauseKind.DEPLOY] == pytest.approx(0.9)
    assert kind_of(harmed("catalog"), before)[0] is CauseKind.UNKNOWN
    assert kind_of(harmed("catalog", deploy("catalog", strength=0.2)), before)[0] is CauseKind.UNKNOWN


def test_a_deploy_that_a_person_cleared_is_not_blamed_again_for_the_same_signs() -> None:
    corrected = past(
        1,
        "catalog",
        "ann",
        similarity=0.95,
        root_cause_kind="saturation",
        refuted_service="catalog",
        refuted_kind="deploy",
    )
    suspect = harmed("catalog", deploy("catalog"))
    assert kind_of(suspect)[0] is CauseKind.DEPLOY
    assert kind_of(suspect, kinds_before(evidence(corrected), "catalog"))[0] is not CauseKind.DEPLOY
    vaguely = replace(corrected, similarity=0.4)
    assert kind_of(suspect, kinds_before(evidence(vaguely), "catalog"))[0] is CauseKind.DEPLOY
    assert history(evidence(corrected))[0].strength > 0.9, "the place itself was right"


def test_history_tips_the_scale_between_two_mechanisms() -> None:
    leak = Finding(idea="memory_leak", service="c", strength=0.6, text="", source="", kind=CauseKind.MEMORY_LEAK)
    network = Finding(idea="network_gap", service="c", strength=0.5, text="", source="", kind=CauseKind.NETWORK)
    assert kind_of(harmed("c", leak, network))[0] is CauseKind.MEMORY_LEAK
    said = kinds_before(evidence(past(1, "c", "ann", root_cause_kind="network")), "c")
    assert kind_of(harmed("c", leak, network), said)[0] is CauseKind.NETWORK


@pytest.mark.parametrize(("kind", "taken"), [("dependency", "dependency"), ("memory_leak", "unknown")])
def test_a_kind_that_telemetry_does_not_show_is_taken_from_people_only_where_nothing_is_done(
    kind: str, taken: str
) -> None:
    said = kinds_before(evidence(past(1, "c", "ann", root_cause_kind=kind)), "c")
    assert kind_of(harmed("c"), said)[0] == taken


def test_a_past_incident_does_not_multiply_with_a_new_deploy_of_the_same_service() -> None:
    change = ChangeEvent(
        id="new", kind=ChangeKind.DEPLOY, service="catalog", timestamp=BEGAN - timedelta(seconds=10), actor="ann"
    )
    memory = past(1, "catalog", "ann", root_cause_kind="deploy")
    without, with_deploy = (
        next(one for one in suspects(evidence(memory, changes=changes)) if one.service == "catalog")
        for changes in ((), (change,))
    )
    assert with_deploy.score == pytest.approx(without.score)
    [hypothesis] = hypotheses(evidence(memory, changes=(change,)), [with_deploy])
    assert hypothesis.change_id is None
    assert hypothesis.kind is CauseKind.UNKNOWN


def test_the_correction_of_a_kind_is_told_against_it() -> None:
    corrected = past(
        1, "catalog", "ann", similarity=0.4, root_cause_kind="config", refuted_service="catalog", refuted_kind="deploy"
    )
    [hypothesis] = hypotheses(evidence(corrected), [harmed("catalog", deploy("catalog"))])
    assert hypothesis.kind is CauseKind.DEPLOY
    assert any("ann corrected it to config" in line.text for line in hypothesis.evidence_against)


def test_the_line_of_history_is_shown_however_many_others_are_stronger() -> None:
    many = [
        Finding(idea="exception", service="catalog", strength=0.9, text=f"line {n}", source="traces") for n in range(9)
    ]
    [line] = history(evidence(past(1, "catalog", "")))
    [hypothesis] = hypotheses(evidence(), [harmed("catalog", *many, line)])
    assert len(hypothesis.evidence_for) == 6
    assert "INC-000001" in hypothesis.evidence_for[-1].text
