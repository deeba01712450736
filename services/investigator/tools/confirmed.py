"""Past incidents whose cause is known, whatever they look like: what the signs of a root cause are learned from."""

from collections.abc import Mapping
from typing import Final

from libs.contracts.document import VERIFIED_FIX, RootCause, Section
from libs.contracts.investigation import CauseKind
from libs.stores.incidents import IncidentQuery
from services.investigator.evidence import Lesson
from services.investigator.scene import Scene
from services.investigator.tools.tool import Answer, Tool, register

# The newest 250 incidents: the labelled event sets hold 122 and 248, and a system that changes outlives older ones.
_MOST_INCIDENTS: Final = 250


def _ask(scene: Scene, _: Mapping[str, str]) -> Answer[tuple[Lesson, ...]]:
    lessons = read_lessons(scene)
    text = f"{len(lessons)} of the newest {_MOST_INCIDENTS} past incidents have a confirmed cause."
    return Answer(found=bool(lessons), finding=text, query="past incidents with a confirmed cause", part=lessons)


def read_lessons(scene: Scene) -> tuple[Lesson, ...]:
    """Fingerprints of past incidents with the services that turned out to be their cause, newest first."""
    store, incident = scene.incidents, scene.incident
    page = store.search(IncidentQuery(opened_to=incident.opened_at, limit=_MOST_INCIDENTS))
    lessons = []
    for past in page.incidents:
        cause = store.section(past.id, Section.ROOT_CAUSE) if past.fingerprint and past.id != incident.id else None
        if cause is not None and cause[0].service:
            known: RootCause = cause[0]
            kind = "" if known.kind == CauseKind.UNKNOWN or known.confirmed_by in ("", VERIFIED_FIX) else known.kind
            lessons.append(Lesson(fingerprint=past.fingerprint, services=past.services, cause=known.service, kind=kind))
    return tuple(lessons)


TOOL: Final = register(Tool(name="confirmed", title="Past incidents whose cause is known", ask=_ask))
