"""What people and systems changed shortly before the incident and during it."""

from collections.abc import Mapping
from typing import Final

from libs.contracts.telemetry import ChangeEvent
from services.investigator.scene import Scene
from services.investigator.tools.tool import SERVICE, Answer, Tool, register

_MOST: Final = 200


def _ask(scene: Scene, arguments: Mapping[str, str]) -> Answer[tuple[ChangeEvent, ...]]:
    # Not narrowed to the scope: a change of a service that the graph does not know yet may be the one.
    only = (arguments["service"],) if arguments.get("service") else ()
    changes = tuple(scene.telemetry.changes(scene.changes_window, services=only, limit=_MOST))
    told = "; ".join(describe(change, scene.started_ns) for change in changes[:5])
    text = f"{len(changes)} changes: {told}." if changes else "no change was reported in the hour before the incident."
    return Answer(found=bool(changes), finding=text, query="changes from 1 h before the incident", part=changes)


def describe(change: ChangeEvent, started_ns: int) -> str:
    """One clause: what changed, and how long before or after the deviation began."""
    distance_s = started_ns / 1e9 - change.timestamp.timestamp()
    when = f"{distance_s:.0f} s before" if distance_s >= 0 else f"{-distance_s:.0f} s after"
    versions = f" {change.previous_version or '?'} -> {change.version}" if change.version else ""
    flag = f" {change.attributes['flag']}" if change.attributes.get("flag") else ""
    return f"{change.kind} of {change.service}{flag}{versions} by {change.actor or 'unknown'}, {when} the deviation"


TOOL: Final = register(
    Tool(
        name="changes",
        title="Deploys, flags, configuration and scaling around the incident",
        ask=_ask,
        arguments=SERVICE,
    )
)
