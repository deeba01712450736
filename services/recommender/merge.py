"""Decide what a finding does to what is stored: new, changed, as before, or not to be touched any more. Pure."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from libs.contracts.command import Command, CommandKind
from libs.contracts.recommendation import CodeChangeRecommended
from libs.errors import InvalidMessage

OPEN: Final = "open"
ACCEPTED: Final = "accepted"
DISMISSED: Final = "dismissed"
SUPERSEDED: Final = "superseded"
# An estimate from minutes of traffic wanders; a reader is told again when it has moved by more than this.
_MATERIAL_SHARE: Final = 0.5
_MATERIAL_CONFIDENCE: Final = 0.1
_NUMBER: Final = re.compile(r"^v?(\d+(?:\.\d+)*)(?:[-+].*)?$")


def merged(stored: CodeChangeRecommended | None, found: CodeChangeRecommended) -> CodeChangeRecommended | None:
    """What to store and tell for a finding; None when nothing material has changed or a person has decided."""
    if stored is None:
        return found
    if stored.state in (ACCEPTED, DISMISSED):
        return None
    if stored.state == SUPERSEDED:
        return replace(found, incident_id=found.incident_id or stored.incident_id)
    after = replace(found, incident_id=stored.incident_id or found.incident_id, branch=stored.branch)
    return after if _is_material(stored, after) else None


def _is_material(stored: CodeChangeRecommended, found: CodeChangeRecommended) -> bool:
    same = (
        stored.title == found.title
        and stored.location == found.location
        and stored.diff == found.diff
        and bool(stored.validation) == bool(found.validation)
        and stored.incident_id == found.incident_id
        and stored.benefit_unit == found.benefit_unit
        and abs(stored.confidence - found.confidence) <= _MATERIAL_CONFIDENCE
    )
    if not same:
        return True
    larger = max(abs(stored.benefit_value), abs(found.benefit_value))
    return abs(stored.benefit_value - found.benefit_value) > _MATERIAL_SHARE * larger


def superseded(
    stored: CodeChangeRecommended,
    judged: Mapping[str, str],
    operations: frozenset[tuple[str, str]],
    at: datetime,
) -> CodeChangeRecommended | None:
    """A recommendation whose weakness a newer version does not show any more; None when that cannot be said.

    Args:
        stored: It was not among what a complete run has found.
        judged: Deployed version by service, of those with enough traffic.
        operations: Service and server span with enough traffic.
        at: When.
    """
    version = judged.get(stored.service)
    if stored.state != OPEN or version is None or not is_newer(version, stored.location.version):
        return None
    if stored.operation and (stored.service, stored.operation) not in operations:
        return None
    reason = f"not seen any more at {stored.service} {version}"
    return replace(stored, state=SUPERSEDED, reason=reason, recommended_at=at)


def is_newer(version: str, than: str) -> bool:
    """Whether a version comes after another: by their numbers, or, where they are no numbers, by being another."""
    one, other = _NUMBER.match(version), _NUMBER.match(than)
    if one and other:
        return _parts(one.group(1)) > _parts(other.group(1))
    return version not in ("", than)


def _parts(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def decided(stored: CodeChangeRecommended | None, command: Command) -> CodeChangeRecommended | None:
    """A recommendation after a person's decision; None when it is decided so already.

    Raises:
        InvalidMessage: there is no such recommendation, or nothing is left to decide.
    """
    accepts = command.kind is CommandKind.ACCEPT_RECOMMENDATION
    what = "accept" if accepts else "dismiss"
    if stored is None:
        raise InvalidMessage(f"{what} by {command.actor}: no recommendation {command.target!r}")
    if stored.state == SUPERSEDED:
        raise InvalidMessage(f"{what} by {command.actor}: {command.target} is superseded, nothing is left to decide")
    after = replace(stored, state=ACCEPTED if accepts else DISMISSED, decided_by=command.actor, reason=command.reason)
    return None if after == stored else after
