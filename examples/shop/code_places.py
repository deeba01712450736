"""Where in the code something happens, as the attributes that OpenTelemetry names for it."""

import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from opentelemetry import context

_ROOT = Path(__file__).resolve().parents[2]
_ROOT_PREFIX = f"{_ROOT}/"
_FRAMES = 4  # endpoint, what it calls, and so on; the shop nests no deeper
_KEY = context.create_key("shop-code-place")


def code_place(function: Callable[..., Any]) -> dict[str, str | int]:
    """`code.function.name`, `code.file.path` (relative to the repository) and `code.line.number` of a function."""
    plain = inspect.unwrap(getattr(function, "__func__", function))
    code = plain.__code__
    return _place(code, code.co_firstlineno)


def caller_place(depth: int) -> dict[str, str | int]:
    """The same three attributes of the line that is calling, `depth` frames above the function that asks."""
    frame = sys._getframe(depth + 1)
    return _place(frame.f_code, frame.f_lineno)


def caller_stack(depth: int) -> str:
    """`code.stacktrace` of the shop's own frames below the function that asks, `depth` above it; outermost first.

    A call that a helper makes in a loop is told from one that its caller makes once only by the lines above it.
    """
    frame: FrameType | None = sys._getframe(depth + 1)
    lines: list[str] = []
    while frame is not None and len(lines) < _FRAMES and frame.f_code.co_filename.startswith(_ROOT_PREFIX):
        place = _place(frame.f_code, frame.f_lineno)
        lines.append(f'  File "{place["code.file.path"]}", line {frame.f_lineno}, in {frame.f_code.co_qualname}')
        frame = frame.f_back
    return "\n".join(reversed(lines))


def with_code_place(within: context.Context, function: Callable[..., Any]) -> context.Context:
    """A context whose spans say that `function` caused them."""
    return context.set_value(_KEY, code_place(function), within)


@lru_cache(maxsize=256)
def _place(code: CodeType, line: int) -> dict[str, str | int]:
    path = Path(code.co_filename).resolve()
    relative = path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path
    # a service's module is called __main__ in its own process, so the name is made from the path
    module = ".".join(relative.with_suffix("").parts)
    return {
        "code.function.name": f"{module}.{code.co_qualname}",
        "code.file.path": relative.as_posix(),
        "code.line.number": line,
    }


def current_code_place(within: context.Context | None) -> dict[str, str | int]:
    """The place that `with_code_place` has set; empty for none."""
    place = context.get_value(_KEY, within)
    return place if isinstance(place, dict) else {}
