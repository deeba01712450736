"""Signs of the culprit, learned from incidents whose cause is known."""

from dataclasses import replace

import pytest

from services.investigator.evidence import Evidence, Lesson
from services.investigator.ranking.learned_signs import learned_signs, signs_of

SHOP = ("cart", "catalog", "checkout", "payments")


def symptoms(culprit: str) -> tuple[str, ...]:
    """Everybody is slow; the culprit's cpu rises."""
    slow = [f"{service}|latency|span.server.duration|up" for service in SHOP]
    return tuple(sorted([*slow, f"{culprit}|saturation|cpu|up"]))


def lessons(*causes: str) -> tuple[Lesson, ...]:
    return tuple(Lesson(fingerprint=symptoms(cause), services=SHOP, cause=cause) for cause in causes)


def told(fingerprint: tuple[str, ...], *causes: str) -> dict[str, float]:
    evidence = Evidence(
        affected=SHOP, started_ns=0, as_of_ns=1, fingerprint=fingerprint, lessons=lessons(*causes)
    )  # fmt: skip
    return {finding.service: finding.strength for finding in learned_signs(evidence)}


def test_the_sign_that_marked_the_culprits_marks_this_one_though_it_was_hardly_ever_one_itself() -> None:
    strengths = told(symptoms("payments"), *["cart", "catalog", "checkout"] * 5, "payments")
    assert max(strengths, key=lambda service: strengths[service]) == "payments"


def test_what_everybody_shows_tells_nobody_apart() -> None:
    everybody = tuple(f"{service}|latency|span.server.duration|up" for service in SHOP)
    strengths = told(everybody, *SHOP * 4)
    assert strengths
    assert max(strengths.values()) - min(strengths.values()) < 0.05


def test_nothing_is_learned_from_few_incidents_or_from_one_culprit() -> None:
    assert told(symptoms("cart"), *SHOP, "cart", "cart", "cart") == {}
    assert told(symptoms("cart"), *["cart"] * 20) == {}
    assert told(symptoms("cart"), *SHOP * 2)


def test_more_lessons_are_trusted_more() -> None:
    assert told(symptoms("cart"), *SHOP * 10)["cart"] > told(symptoms("cart"), *SHOP * 2)["cart"]


def test_a_service_that_this_incident_does_not_name_is_not_blamed() -> None:
    alone = ("cart|saturation|cpu|up", "catalog|latency|span.server.duration|up")
    assert set(told(alone, *SHOP * 5)) <= {"cart", "catalog"}


def test_the_finding_names_the_sign() -> None:
    evidence = Evidence(
        affected=SHOP, started_ns=0, as_of_ns=1, fingerprint=symptoms("cart"), lessons=lessons(*SHOP * 5)
    )
    first = max(learned_signs(evidence), key=lambda finding: finding.strength)
    assert "cart|saturation|cpu|up" in first.text
    assert learned_signs(replace(evidence, lessons=())) == []


def test_a_service_sees_its_tokens_from_itself_and_the_others_anonymous() -> None:
    signs = signs_of(["cart|catalog|GET|slow", "latency|up"], ["cart", "catalog"], frozenset(SHOP))
    assert "@|*|GET|slow" in signs["cart"]
    assert "*|@|GET|slow" in signs["catalog"]
    assert signs["cart"]["cart @|*|GET|slow"] == pytest.approx(0.5)
