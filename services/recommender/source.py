"""The code of a service at its deployed version: read from a git revision, or from plain files, and never written."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from libs.errors import ParamedicError
from services.recommender.configuration import Repository
from services.recommender.process import Ended, run_program

GIT_S: Final = 20.0
MOST_FILE_BYTES: Final = 1_000_000
_MOST_FILES: Final = 20_000
# Neither code nor worth a copy.
LEFT_OUT: Final = frozenset(
    {".git", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".paramedic", ".tox"}
)


class NoSource(ParamedicError):
    """The code of a version cannot be read; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The files of one repository at one version.

    Attributes:
        repository: Which one.
        commit: Full git commit, "" when the folder is no git checkout.
        stopping: Whether to give up.
    """

    repository: Repository
    commit: str
    stopping: Callable[[], bool] = lambda: False

    def read(self, path: str) -> str | None:
        """Text of a file by its path from the repository root, None when there is none that is text."""
        if not is_inside(path):
            return None
        content = _git_file(self, path) if self.commit else _plain_file(self.repository.path, path)
        try:
            return None if content is None or len(content) > MOST_FILE_BYTES else content.decode("utf-8")
        except UnicodeDecodeError:
            return None

    def files(self, patterns: Sequence[str]) -> tuple[str, ...]:
        """Paths that match any of some glob patterns, sorted."""
        return tuple(path for path in sorted(self._paths()) if any(_matches(path, pattern) for pattern in patterns))

    def resolve(self, path: str) -> str:
        """Path from the repository root of a path that telemetry names, "" when no file is there.

        Tried in this order: without the configured root, under the configured prefix, and the longest end of it that is
        a file: deployed code lies anywhere (`/app/shop/cart.py`, `/usr/lib/python3/site-packages/shop/cart.py`).
        """
        named = path.replace("\\", "/").removeprefix(self.repository.root)
        candidates = [str(PurePosixPath(self.repository.prefix) / named.lstrip("/"))]
        parts = PurePosixPath(named).parts
        candidates += ["/".join(parts[at:]) for at in range(len(parts)) if parts[at] != "/"]
        return next((candidate for candidate in candidates if self._has(candidate)), "")

    def _has(self, path: str) -> bool:
        if self.commit:
            return path in _git_paths(self.repository.path, self.commit)
        return is_inside(path) and _plain_file(self.repository.path, path) is not None

    def _paths(self) -> Iterable[str]:
        if self.commit:
            return _git_paths(self.repository.path, self.commit)
        return _plain_paths(self.repository.path)


def open_source(repository: Repository, version: str, stopping: Callable[[], bool] = lambda: False) -> Source:
    """The code of a version.

    Raises:
        NoSource: the git revision of that version does not exist.
    """
    if not is_checkout(repository.path):
        return Source(repository=repository, commit="", stopping=stopping)
    ref = repository.ref_of(version)
    if not ref or ref.startswith("-") or any(not (char.isalnum() or char in "._/-+@{}^~") for char in ref):
        raise NoSource(f"{repository.name}: version {version!r} gives no usable git revision")
    found = git(repository.path, ["rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"], stopping=stopping)
    if found.code != 0:
        raise NoSource(f"{repository.name} has no git revision {ref} for version {version}")
    return Source(repository=repository, commit=found.text.strip(), stopping=stopping)


def is_checkout(path: Path) -> bool:
    """Whether a folder is the top of a git checkout; a folder somewhere inside one counts as plain files."""
    found = git(path, ["rev-parse", "--show-prefix", "--is-inside-work-tree"])
    return found.code == 0 and found.text.splitlines() == ["", "true"]


def is_inside(path: str) -> bool:
    """Whether a path stays inside the repository."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and ".git" not in parts and "\0" not in path


def git(
    path: Path,
    arguments: Sequence[str],
    *,
    given: bytes = b"",
    index: Path | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Ended:
    """Run git in a repository, without hooks, prompts or the user's configuration.

    Args:
        index: Index file to use in place of the user's.
    """
    environment = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "HOME": os.devnull,
        **({"GIT_INDEX_FILE": str(index)} if index else {}),
    }
    # A checkout that another user owns was named by the operator; git would refuse to read it.
    command = ["git", "-c", "safe.directory=*", "-c", f"core.hooksPath={os.devnull}", "-C", str(path), *arguments]
    return run_program(command, cwd=path, timeout_s=GIT_S, environment=environment, given=given, stopping=stopping)


def _git_file(source: Source, path: str) -> bytes | None:
    shown = git(source.repository.path, ["cat-file", "blob", f"{source.commit}:{path}"], stopping=source.stopping)
    return shown.output if shown.code == 0 else None


@lru_cache(maxsize=8)
def _git_paths(path: Path, commit: str) -> frozenset[str]:
    listed = git(path, ["ls-tree", "-r", "-z", "--name-only", "--full-tree", commit])
    return frozenset(name for name in listed.text.split("\0") if name and is_inside(name))


def _plain_file(root: Path, path: str) -> bytes | None:
    full = (root / path).resolve()
    if not full.is_relative_to(root.resolve()) or not full.is_file() or full.stat().st_size > MOST_FILE_BYTES:
        return None
    return full.read_bytes()


def _plain_paths(root: Path) -> Iterator[str]:
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        for name in sorted(names):
            count += 1
            if count > _MOST_FILES:
                return
            yield (Path(folder) / name).relative_to(root).as_posix()


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or (pattern.startswith("**/") and fnmatchcase(path, pattern[3:]))
