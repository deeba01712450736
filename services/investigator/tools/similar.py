"""Past incidents that look alike, with what people or verified fixes confirmed as their cause."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from libs.contracts.investigation import SimilarIncident
from libs.stores.incidents import SimilarHit
from services.investigator.scene import Scene
from services.investigator.tools.tool import Answer, Tool, register

# Seven neighbours of fifty candidates: on labelled event sets the store's own order (overlap and words) gives .64 hits
# at the first place, the cosine over the candidates .77 (tests/bench/rca_quality.py).
_MOST: Final = 7
_CANDIDATES: Final = 50
_LEAST_WEIGHT: Final = 0.01  # with one candidate, or one that is just the same, nothing is rare


def _ask(scene: Scene, _: Mapping[str, str]) -> Answer[tuple[SimilarIncident, ...]]:
    incident = scene.incident
    hits = scene.incidents.similar(
        incident.fingerprint, incident.title, before=incident.opened_at, exclude=incident.id, limit=_CANDIDATES
    )
    found = tuple(similar_incident(hit) for hit in nearest(incident.fingerprint, hits))
    told = "; ".join(
        f"{entry.number} ({entry.similarity:.0%} alike, {entry.root_cause or 'cause not confirmed'})"
        for entry in found[:3]
    )
    text = f"{len(found)} past incidents look alike: {told}." if found else "no past incident looks alike."
    return Answer(found=bool(found), finding=text, query="past incidents by fingerprint and title", part=found)


def nearest(fingerprint: Sequence[str], hits: Sequence[SimilarHit]) -> list[SimilarHit]:
    """The candidates whose fingerprints point the same way, by cosine over tokens weighted by their rarity among them.

    A token that every candidate has (the entry service is slow) tells nothing apart; one that few have does.
    """
    own = frozenset(fingerprint)
    tokens = [frozenset(hit.document.incident.fingerprint) for hit in hits]
    having = Counter(token for entry in tokens for token in entry)
    weight = {
        token: math.log((len(hits) + 1) / (having[token] + 1)) ** 2 + _LEAST_WEIGHT for token in own | set(having)
    }
    length = sum(weight[token] for token in own)
    scored = []
    for hit, entry in zip(hits, tokens, strict=True):
        product = length * sum(weight[token] for token in entry)
        shared = sum(weight[token] for token in own & entry)
        scored.append(
            SimilarHit(document=hit.document, similarity=round(shared / math.sqrt(product), 3) if product else 0.0)
        )
    scored.sort(key=lambda hit: (-hit.similarity, hit.document.incident.id))
    return [hit for hit in scored[:_MOST] if hit.similarity > 0]


def similar_incident(hit: SimilarHit) -> SimilarIncident:
    """A past incident with its confirmed root cause, or its leading hypothesis when nobody confirmed one."""
    core, cause, investigation = hit.document.incident, hit.document.root_cause, hit.document.investigation
    leading = investigation.hypotheses[0] if investigation and investigation.hypotheses else None
    if cause is not None:
        text, service, confirmed_by, fixed_by = cause.text, cause.service, cause.confirmed_by, cause.fixed_by
    elif leading is not None:
        text, service, confirmed_by, fixed_by = leading.cause, leading.service, "", ""
    else:
        text = service = confirmed_by = fixed_by = ""
    return SimilarIncident(
        id=core.id,
        number=core.number,
        title=core.title,
        similarity=hit.similarity,
        root_cause=text,
        root_cause_service=service,
        confirmed_by=confirmed_by,
        fixed_by=fixed_by,
        opened_at=core.opened_at,
    )


TOOL: Final = register(Tool(name="similar", title="Past incidents that look alike and what fixed them", ask=_ask))
