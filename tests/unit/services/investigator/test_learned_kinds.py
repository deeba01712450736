"""Kinds of causes, learned from incidents whose kind a person named."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from libs.contracts.document import VERIFIED_FIX, RootCause, Section
from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import CauseKind, SimilarIncident
from libs.stores.sqlite_incidents import SqliteIncidentStore
from services.investigator.cause import hypotheses
from services.investigator.evidence import Evidence, Lesson
from services.investigator.ranking.finding import Finding
from services.investigator.ranking.fuse import Suspect
from services.investigator.ranking.history import kind_votes, kinds_before
from services.investigator.ranking.learned_kinds import learned_kinds, signs_from
from services.investigator.scene import Scene
from services.investigator.tools.confirmed import read_lessons
from tests.unit.services.investigator.shop_telemetry import BEGAN, Fault, incident

SHOP = ("cart", "catalog", "checkout", "payments")
SIGN = {"memory_leak": "saturation|memory|up", "network": "latency|span.client.duration|up"}


def symptoms(culprit: str, kind: str) -> tuple[str, ...]:
    """Everybody is slow; the culprit shows the sign of the kind."""
    slow = [f"{service}|latency|span.server.duration|up" for service in SHOP]
    return tuple(sorted([*slow, f"{culprit}|{SIGN[kind]}"]))


def lesson(culprit: str, kind: str) -> Lesson:
    return Lesson(fingerprint=symptoms(culprit, kind), services=SHOP, cause=culprit, kind=kind)


# No leak was ever in payments, no network trouble in catalog.
LESSONS = tuple(lesson(culprit, "memory_leak") for culprit in ("cart", "catalog", "checkout") * 3) + tuple(
    lesson(culprit, "network") for culprit in ("cart", "payments", "checkout") * 3
)


def evidence(
    fingerprint: tuple[str, ...], lessons: tuple[Lesson, ...] = LESSONS, *similar: SimilarIncident
) -> Evidence:
    return Evidence(
        affected=SHOP, started_ns=0, as_of_ns=1, fingerprint=fingerprint, lessons=lessons, similar=similar
    )  # fmt: skip


def past(service: str, kind: str, refuted_kind: str = "") -> SimilarIncident:
    return SimilarIncident(
        id="i1",
        number="INC-000001",
        title="",
        similarity=0.9,
        root_cause_service=service,
        root_cause_kind=kind,
        confirmed_by="ann",
        refuted_service=service if refuted_kind else "",
        refuted_kind=refuted_kind,
    )


@pytest.mark.parametrize(("culprit", "kind"), [("payments", "memory_leak"), ("catalog", "network")])
def test_a_kind_is_recognised_in_a_service_that_never_had_it(culprit: str, kind: str) -> None:
    learned = learned_kinds(evidence(symptoms(culprit, kind)), culprit)
    assert learned.shares[kind] > 0.7
    assert sum(learned.shares.values()) == pytest.approx(1.0)


def test_the_sign_counts_at_the_service_that_shows_it() -> None:
    """Memory that grows in cart says nothing about the kind of a cause in payments."""
    seen = evidence(symptoms("cart", "memory_leak"))
    at_cart, at_payments = (learned_kinds(seen, service).shares["memory_leak"] for service in ("cart", "payments"))
    assert at_cart > at_payments + 0.1


def test_nothing_is_learned_from_few_kinds_or_from_one() -> None:
    signs = symptoms("cart", "network")
    assert learned_kinds(evidence(signs, LESSONS[:4] + LESSONS[-3:]), "cart").shares == {}
    assert learned_kinds(evidence(signs, LESSONS[:9]), "cart").shares == {}
    assert learned_kinds(evidence(signs, LESSONS[:4] + LESSONS[-4:]), "cart").shares


def test_a_lesson_without_a_kind_teaches_none() -> None:
    unnamed = tuple(
        Lesson(fingerprint=one.fingerprint, services=one.services, cause=one.cause, kind="") for one in LESSONS
    )
    assert learned_kinds(evidence(symptoms("cart", "network"), unnamed), "cart").shares == {}


def test_the_more_is_learned_the_less_one_similar_incident_counts() -> None:
    signs = symptoms("cart", "network")
    alone = kind_votes(evidence(signs, (), past("cart", "memory_leak")), "cart")
    among = kind_votes(evidence(signs, LESSONS, past("cart", "memory_leak")), "cart")
    assert alone == {"memory_leak": pytest.approx(0.9)}
    much = kind_votes(evidence(signs, LESSONS * 5, past("cart", "memory_leak")), "cart")
    assert alone["memory_leak"] > among["memory_leak"] > much["memory_leak"]
    assert much["network"] > much["memory_leak"]


def test_what_a_person_denied_stays_denied_whatever_was_learned() -> None:
    denied = past("cart", "memory_leak", refuted_kind="network")
    assert kind_votes(evidence(symptoms("cart", "network"), LESSONS, denied), "cart")["network"] < 0


def test_only_kinds_of_this_platform_reach_a_hypothesis() -> None:
    own = tuple(
        Lesson(fingerprint=one.fingerprint, services=one.services, cause=one.cause, kind=kind)
        for one, kind in zip(LESSONS, ["noisy neighbour"] * 9 + ["network"] * 9, strict=True)
    )
    seen = evidence(symptoms("cart", "memory_leak"), own)
    assert "noisy neighbour" in kind_votes(seen, "cart")
    assert set(kinds_before(seen, "cart")) == {CauseKind.NETWORK}


def test_the_hypothesis_says_what_taught_its_kind() -> None:
    """Telemetry shows a full pool and a slow network about as much; what people named before decides, and is told."""
    seen = evidence(symptoms("payments", "network"))
    network, pool = (
        Finding(idea=idea, service="payments", strength=strength, text=idea, source="red", kind=kind)
        for idea, strength, kind in (
            ("network_gap", 0.5, CauseKind.NETWORK),
            ("resource", 0.6, CauseKind.SATURATION),
        )
    )
    suspect = Suspect(service="payments", score=1.0, confidence=0.9, findings=(pool, network))
    [first] = hypotheses(seen, [suspect])
    assert first.kind is CauseKind.NETWORK
    taught = first.evidence_for[-1]
    assert taught.text.startswith("18 incidents whose kind of cause people named teach network (")
    assert taught.text.endswith("payments|latency|span.client.duration|up above all")
    [without] = hypotheses(replace(seen, lessons=()), [suspect])
    assert (without.kind, len(without.evidence_for)) == (CauseKind.SATURATION, 2)


def test_signs_are_seen_from_the_service_at_fault_and_as_they_stand() -> None:
    signs = signs_from(("cart|catalog|GET|slow", "latency|up"), "cart", frozenset(SHOP))
    assert signs == {"@|*|GET|slow": 1.0, "cart|catalog|GET|slow": 0.5, "latency|up": 1.0}


@pytest.mark.parametrize(
    ("confirmed_by", "kind", "taught"),
    [("ann", "network", "network"), (VERIFIED_FIX, "network", ""), ("ann", "unknown", "")],
)
def test_only_a_person_teaches_a_kind_and_never_that_it_is_unknown(
    scene_for: Callable[[Fault, IncidentChanged], Scene],
    incidents: SqliteIncidentStore,
    confirmed_by: str,
    kind: str,
    taught: str,
) -> None:
    now = incident("gateway")
    before = replace(now, id="i0", opened_at=now.opened_at - timedelta(days=1), fingerprint=("a|b|c|up",))
    said = RootCause(service="cart", kind=kind, text="", confirmed_by=confirmed_by, confirmed_at=BEGAN)
    incidents.put(before.id, Section.INCIDENT, before)
    incidents.put(before.id, Section.ROOT_CAUSE, said)
    [known] = read_lessons(scene_for(Fault(), now))
    assert (known.cause, known.kind) == ("cart", taught)
