"""Investigate again without the service, for `paramedic investigate` where none runs: stored, not published."""

from libs.contracts.codec import ns_from_utc
from libs.contracts.document import Section
from libs.contracts.investigation import InvestigationCompleted
from libs.errors import NotFound
from libs.runbooks import SHIPPED, load_runbooks
from libs.service.platform import Platform
from libs.service.settings import Settings
from services.investigator.protocol import investigate as run_protocol
from services.investigator.scene import LATER_LOOK_SPANS, scene_of
from services.investigator.service import further


def investigate(platform: Platform, settings: Settings, incident_ref: str) -> InvestigationCompleted:
    """Investigate an incident with the telemetry of now.

    Args:
        platform: Stores and clock.
        settings: Windows, runbooks and model.
        incident_ref: Incident id or number.
    Returns:
        The model's answer where one is configured and gave one, else the statistical one; it is stored.
    Raises:
        NotFound: there is no such incident.
        Conflict: the running service has just investigated it itself.
    """
    document = platform.incidents.get(incident_ref)
    if document is None:
        raise NotFound(f"no incident {incident_ref!r}; `paramedic incidents` lists them")
    incident = document.incident
    section = platform.incidents.section(incident.id, Section.INVESTIGATION)
    revision, version = (section[0].revision + 1, section[1]) if section is not None else (1, 0)
    folders = [SHIPPED] if settings.runbooks_dir is None else [SHIPPED, settings.runbooks_dir]
    scene = scene_of(
        incident,
        platform.telemetry,
        platform.incidents,
        as_of_ns=max(platform.telemetry.watermark_ns(), ns_from_utc(incident.opened_at)),
        window_s=settings.window_s,
        runbooks=load_runbooks(*folders),
        most_spans=LATER_LOOK_SPANS,
    )
    found = run_protocol(scene, revision=revision, started_at=platform.clock())
    version = platform.incidents.put(incident.id, Section.INVESTIGATION, found.completed, expected_version=version)
    model = further(settings, platform)
    if model is None:
        return found.completed
    try:
        answer = model.answer(scene, found)
    finally:
        model.close()
    platform.incidents.put(incident.id, Section.INVESTIGATION, answer, expected_version=version)
    return answer
