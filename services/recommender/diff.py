"""Unified diffs that `git apply` takes."""

import difflib
from collections.abc import Iterator, Mapping
from typing import Final

_NO_NEWLINE: Final = "\\ No newline at end of file\n"


def unified(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """The changes of some files, `--- a/<path>` and `+++ b/<path>`, by path; "" when nothing changes."""
    return "".join("".join(_file(path, before[path], after[path])) for path in sorted(after))


def _file(path: str, before: str, after: str) -> Iterator[str]:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    for line in difflib.unified_diff(old, new, f"a/{path}", f"b/{path}", n=3):
        if line.endswith("\n"):
            yield line
        else:
            yield line + "\n"
            yield _NO_NEWLINE
