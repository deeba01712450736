"""Make a copy of the shop's code with a recommended diff applied to it; works in a checkout and in a tarball alike."""

import shutil
from pathlib import Path, PurePosixPath
from typing import Final

import patch_ng

from libs.errors import ParamedicError

CHANGEABLE: Final = PurePosixPath("examples/shop")
_LARGEST_DIFF_BYTES: Final = 262_144


class PatchRefused(ParamedicError):
    """The diff cannot or must not be applied; the text says why."""


def patched_copy(root: Path, diff: str, to: Path) -> tuple[str, ...]:
    """Copy `examples` below `root` into a new folder and apply the diff there; the repository stays as it is.

    Args:
        root: The repository, or an unpacked release of it.
        diff: Unified diff with a/ and b/ paths relative to `root`; it may change files of examples/shop only.
        to: Folder that does not exist yet.
    Returns:
        The changed files, relative to the folder.
    Raises:
        PatchRefused: the diff is malformed, reaches elsewhere, or does not fit the code exactly.
    """
    patches = _parsed(diff)
    shutil.copytree(root / "examples", to / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    # all or nothing: fromstring has checked the form, apply finds every hunk by its exact lines
    if not patches.apply(strip=1, root=str(to)):
        raise PatchRefused("the diff does not fit the code that runs: was it made for another version?")
    return tuple(str(_inside(item.target)) for item in patches.items)


def _parsed(diff: str) -> patch_ng.PatchSet:
    content = diff.encode()
    if len(content) > _LARGEST_DIFF_BYTES:
        raise PatchRefused(f"the diff is larger than {_LARGEST_DIFF_BYTES} bytes")
    patches = patch_ng.fromstring(content)
    if not patches or not patches.items or patches.errors:
        raise PatchRefused("this is no unified diff")
    for item in patches.items:
        for name in (item.source, item.target):
            path = _inside(name)
            if not path.is_relative_to(CHANGEABLE) or ".." in path.parts:
                raise PatchRefused(f"the diff changes {path}, which is not below {CHANGEABLE}")
    return patches


def _inside(name: bytes) -> PurePosixPath:
    """A path of a diff without its a/ or b/; patch-ng has taken absolute ones and leading ../ apart already."""
    path = PurePosixPath(name.decode(errors="replace"))
    return PurePosixPath(*path.parts[1:]) if path.parts[:1] in (("a",), ("b",)) else path
