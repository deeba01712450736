"""The similar incidents that SQLite finds in one pass are those that comparing with every incident finds."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from libs.contracts.document import Section
from libs.contracts.incident import IncidentChanged, IncidentState
from libs.stores.similarity import fuse, ranks, token_weights, weighted_jaccard
from libs.stores.sqlite_incidents import SqliteIncidentStore
from tests.unit.libs.stores.incident_store_laws import LATER, NOON, incident

TOKENS = [f"{service}|{sign}|up" for service in ("cart", "catalog", "mail") for sign in ("slow", "failing", "silent")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteIncidentStore]:
    made = SqliteIncidentStore(tmp_path / "incidents.sqlite")
    yield made
    made.close()


def history(seed: int) -> list[IncidentChanged]:
    chance = random.Random(seed)
    return [
        replace(
            incident(f"i{number:02}"),
            fingerprint=tuple(sorted(chance.sample(TOKENS, chance.randint(1, 5)))),
            opened_at=NOON + timedelta(minutes=number),
            state=chance.choice((IncidentState.RESOLVED, IncidentState.CLOSED, IncidentState.CANCELED)),
        )
        for number in range(40)
    ]


def by_definition(past: list[IncidentChanged], own: frozenset[str]) -> list[tuple[str, float]]:
    counted = [one for one in past if one.state is not IncidentState.CANCELED]
    having = Counter(token for one in counted for token in one.fingerprint)
    weights = token_weights({*TOKENS, *own}, having, len(counted))
    overlaps = {one.id: weighted_jaccard(own, frozenset(one.fingerprint), weights) for one in counted}
    shared = {identity: round(overlap, 12) for identity, overlap in overlaps.items() if overlap}
    place = ranks(shared.items())
    opened = {one.id: one.opened_at for one in counted}
    found = [(identity, fuse(overlap, place[identity], None)) for identity, overlap in shared.items()]
    found.sort(key=lambda entry: opened[entry[0]], reverse=True)
    found.sort(key=lambda entry: -entry[1])
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("limit", [1, 5, 50])
def test_one_pass_finds_what_comparing_with_every_incident_finds(
    store: SqliteIncidentStore, seed: int, limit: int
) -> None:
    past = history(seed)
    for one in past:
        store.put(one.id, Section.INCIDENT, one)
    own = frozenset([*random.Random(seed + 100).sample(TOKENS, 3), "never|seen|up"])
    hits = store.similar(sorted(own), "", before=LATER, exclude="", limit=limit)
    found = [(hit.document.incident.id, hit.similarity) for hit in hits]
    assert found == by_definition(past, own)[:limit]
    assert found


def test_a_fingerprint_that_shrank_is_compared_as_it_is_now(store: SqliteIncidentStore) -> None:
    before = replace(incident("a"), fingerprint=("x|y", "z|y"))
    store.put("a", Section.INCIDENT, before)
    store.put("a", Section.INCIDENT, replace(before, fingerprint=("x|y",)))
    assert store.similar(["z|y"], "", before=LATER, exclude="") == []
    [hit] = store.similar(["x|y"], "", before=LATER, exclude="")
    assert hit.similarity == 1.0
    assert store.similar(["x|y"], "", before=LATER, exclude="", limit=0) == []
