"""Past incidents that look alike, with what people or verified fixes confirmed as their cause."""

from collections.abc import Mapping
from typing import Final

from libs.contracts.investigation import SimilarIncident
from libs.stores.incidents import SimilarHit
from services.investigator.scene import Scene
from services.investigator.tools.tool import Answer, Tool, register

_MOST: Final = 7  # neighbours; the nearest seven were enough on labelled event sets (tests/bench/rca_quality.py)


def _ask(scene: Scene, _: Mapping[str, str]) -> Answer[tuple[SimilarIncident, ...]]:
    incident = scene.incident
    hits = scene.incidents.similar(
        incident.fingerprint, incident.title, before=incident.opened_at, exclude=incident.id, limit=_MOST
    )
    found = tuple(similar_incident(hit) for hit in hits)
    told = "; ".join(
        f"{entry.number} ({entry.similarity:.0%} alike, {entry.root_cause or 'cause not confirmed'})"
        for entry in found[:3]
    )
    text = f"{len(found)} past incidents look alike: {told}." if found else "no past incident looks alike."
    return Answer(found=bool(found), finding=text, query="past incidents by fingerprint and title", part=found)


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
