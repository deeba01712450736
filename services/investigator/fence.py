"""Text that others wrote, for a model: bounded, visible, and unable to close the fence that stands around it."""

import re
from typing import Final

from libs.observability.untrusted_text import cut_text, visible

_MOST_LINE: Final = 400
_TAG: Final = re.compile(r"<\s*(?:/\s*)?telemetry\b[^<>]*>?", re.IGNORECASE)
_INSTEAD: Final = "(mark)"  # without angle brackets: what stands around it cannot become a mark
_READ: Final = 4  # times as much as may be shown is looked at, whatever the length


def fenced(text: str, most: int = _MOST_LINE) -> str:
    """One bounded line for a prompt that puts the fence around it."""
    return cut_text(" ".join(_without_tags(text[: _READ * most]).split()), most)


def fence(text: str, most: int) -> str:
    """A text of several lines inside a fence of its own."""
    return f"<telemetry>\n{cut_text(_without_tags(text[: _READ * most]), most)}\n</telemetry>"


def _without_tags(text: str) -> str:
    return _TAG.sub(_INSTEAD, visible(text))
