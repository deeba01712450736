"""Change events as plain JSON: what a deployment script posts with curl."""

from typing import Final

import msgspec

from libs.errors import InvalidMessage
from services.intake.decode.formats import JSON, Changes, Decoded, Format
from services.intake.normalise.changes import posted_changes
from services.intake.signals import Signal


def decode(signal: Signal, payload: bytes) -> Decoded:
    """Parse one change or a list of them."""
    try:
        body = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidMessage(f"malformed JSON ({signal}, {len(payload)} bytes): {error}") from error
    return Decoded(request=Changes(posted=tuple(posted_changes(body))))


FORMAT: Final = Format(
    name="changes_json", signals=frozenset({Signal.CHANGES}), content_types=frozenset({JSON}), decode=decode
)
