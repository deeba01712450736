"""What every incident store checks before it writes: the type of a section and the version that the writer read."""

from typing import Any, Final, get_origin

from libs.contracts.document import SECTION_TYPES, Section
from libs.contracts.incident import IncidentChanged
from libs.errors import Conflict, InvalidMessage

VERIFIED_FIX: Final = "verified_fix"


def require_type(incident_id: str, section: Section, value: Any) -> None:
    """Refuse a value that is not of the section's type, and a core under another id than its own."""
    kind = SECTION_TYPES[section]
    expected = get_origin(kind) or kind
    if not isinstance(value, expected):
        raise TypeError(f"section {section.value} takes {kind}, not {type(value).__name__}")
    if isinstance(value, IncidentChanged) and value.id != incident_id:
        raise InvalidMessage(f"incident {value.id} cannot be stored as {incident_id}")


def next_version(version: int, expected: int | None, what: str) -> int:
    """The version after `version` (0: there is none yet); `Conflict` when another one was expected."""
    if expected is not None and expected != version:
        raise Conflict(f"{what} has version {version}, not {expected}")
    return version + 1
