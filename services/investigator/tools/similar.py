"""Past incidents that look alike, with what people or verified fixes confirmed as their cause."""

from collections.abc import Mapping
from typing import Final

from libs.contracts.investigation import SimilarIncident
from libs.stores.precedent import precedents
from services.investigator.scene import Scene
from services.investigator.tools.tool import Answer, Tool, register


def _ask(scene: Scene, _: Mapping[str, str]) -> Answer[tuple[SimilarIncident, ...]]:
    found = tuple(precedents(scene.incidents, scene.incident))
    told = "; ".join(_told(entry) for entry in found[:3])
    text = f"{len(found)} past incidents look alike: {told}." if found else "no past incident looks alike."
    return Answer(found=bool(found), finding=text, query="past incidents by fingerprint and title", part=found)


def _told(past: SimilarIncident) -> str:
    cause = past.root_cause or "cause not confirmed"
    fixed = f", fixed by {past.fixed_by}" if past.fixed_by else ""
    return f"{past.number} ({past.similarity:.0%} alike, {cause}{fixed})"


TOOL: Final = register(Tool(name="similar", title="Past incidents that look alike and what fixed them", ask=_ask))
