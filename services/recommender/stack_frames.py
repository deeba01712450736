"""Frames of a stack trace as telemetry carries it (`exception.stacktrace`, `code.stacktrace`), Python's format."""

import re
from dataclasses import dataclass
from typing import Final

from services.recommender.scene import CodePlace

_FRAME: Final = re.compile(r'^\s*File "([^"\n]{1,500})", line (\d{1,7})(?:, in ([^\n]{1,200}))?$', re.MULTILINE)
_FOREIGN: Final = ("site-packages/", "dist-packages/", "<frozen ", "<string>", "/lib/python3")
_MOST_FRAMES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame.

    Attributes:
        place: File, line and function.
        line_text: The source line that the trace quotes, "" for none.
        own: Whether it is the service's code rather than a library's or Python's.
    """

    place: CodePlace
    line_text: str
    own: bool


def frames(trace: str) -> tuple[Frame, ...]:
    """Frames of the last exception of a trace, outermost first."""
    # A chained trace ends with the exception that was raised last; the ones before are its causes.
    last = re.split(r"\n\n(?:During handling of|The above exception was)[^\n]*\n\n", trace)[-1]
    found = []
    for match in list(_FRAME.finditer(last))[-_MOST_FRAMES:]:
        path, line, function = match.group(1), int(match.group(2)), match.group(3) or ""
        following = last[match.end() :].lstrip("\n").split("\n", 1)[0].strip()
        found.append(
            Frame(
                place=CodePlace(path=path, line=line, function=function),
                line_text="" if following.startswith("File ") else following,
                own=not any(mark in path for mark in _FOREIGN),
            )
        )
    return tuple(found)


def innermost_own(trace: str) -> Frame | None:
    """The service's own frame nearest to where the exception was raised."""
    return next((frame for frame in reversed(frames(trace)) if frame.own), None)
