"""Prove a patch in a working tree of its own: it applies, what it changed parses, the service's tests pass."""

import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlglot
import yaml
from sqlglot.errors import SqlglotError

from services.recommender.offline import CANNOT
from services.recommender.process import Ended, run_program
from services.recommender.source import LEFT_OUT, Source, git

_OFFLINE: Final = Path(__file__).with_name("offline.py")
_GIT_S: Final = 60.0
_TAIL_CHARACTERS: Final = 600
_MOST_COPY_BYTES: Final = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What was checked.

    Attributes:
        passed: Whether the patch may be shown.
        words: What was done and how it ended.
    """

    passed: bool
    words: str


def validate(
    source: Source, service: str, diff: str, files: Mapping[str, str], stopping: Callable[[], bool] = lambda: False
) -> Validation:
    """Check a diff; nothing of the user's checkout is touched.

    Args:
        source: Code that it applies to.
        service: Whose tests are run.
        diff: The patch.
        files: What its files must be afterwards, by path.
        stopping: Whether to give up.
    Raises:
        Stopped: it said so.
    """
    with _working_tree(source, stopping) as tree:
        if tree is None:
            return Validation(passed=False, words="no working tree could be made to check it in")
        where = (
            f"{source.repository.name} at {source.commit[:12]}"
            if source.commit
            else f"the files of {source.repository.name}"
        )
        applied = _apply(tree, diff, stopping)
        if applied.code != 0:
            return Validation(passed=False, words=f"does not apply to {where}: {_tail(applied)}")
        if any((tree / path).read_text(encoding="utf-8") != text for path, text in files.items()):
            return Validation(passed=False, words=f"applied to {where} it does not give what was meant")
        problem = next((text for path in files if (text := parse_problem(path, files[path]))), "")
        if problem:
            return Validation(passed=False, words=f"applies to {where}, but does not parse: {problem}")
        words = f"applies to {where} (git apply); {', '.join(sorted(files))} parse{'s' if len(files) == 1 else ''}"
        return _with_tests(source, service, tree, diff, words, stopping)


def parse_problem(path: str, text: str) -> str:
    """What is wrong with a file by its kind, "" for nothing and for kinds that are not known."""
    suffix = Path(path).suffix
    try:
        if suffix == ".py":
            compile(text, path, "exec", dont_inherit=True)
        elif suffix == ".toml":
            tomllib.loads(text)
        elif suffix in (".yaml", ".yml"):
            list(yaml.safe_load_all(text))
        elif suffix == ".sql":
            sqlglot.parse(text)
    except (SyntaxError, ValueError, RecursionError, yaml.YAMLError, SqlglotError) as error:
        return f"{path}: {str(error).splitlines()[0][:200]}"
    return ""


def _with_tests(
    source: Source, service: str, tree: Path, diff: str, words: str, stopping: Callable[[], bool]
) -> Validation:
    command = source.repository.test_of(service)
    if not command:
        return Validation(passed=True, words=f"{words}; no test command is configured, so no test has run")
    said = " ".join("python" if part == sys.executable else part for part in command)
    ended, cut_off = _run_tests(source, tree, command, stopping)
    network = "without a network" if cut_off else "with the network, which could not be cut off here"
    if ended.code == 0:
        return Validation(passed=True, words=f"{words}; `{said}` passes {network} ({_last_line(ended)})")
    outcome = f"took longer than {source.repository.test_s:g} s" if ended.timed_out else f"fails: {_tail(ended)}"
    undone = git(tree, ["apply", "--reverse", "-"], given=diff.encode(), stopping=stopping)
    before = _run_tests(source, tree, command, stopping)[0] if undone.code == 0 else ended
    unpatched = "it passes without the patch" if before.code == 0 else "it does not pass without the patch either"
    return Validation(passed=False, words=f"{words}, but `{said}` {outcome} ({unpatched})")


def _run_tests(
    source: Source, tree: Path, command: tuple[str, ...], stopping: Callable[[], bool]
) -> tuple[Ended, bool]:
    """Run the tests, and whether they were cut off from the network."""
    home = tree.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
    }
    # -I: the launcher must not find modules in the tree under test.
    for launcher in ([sys.executable, "-I", str(_OFFLINE)], []):
        ended = run_program(
            [*launcher, *command],
            cwd=tree,
            timeout_s=source.repository.test_s,
            environment=environment,
            stopping=stopping,
        )
        if not launcher or ended.code != CANNOT:
            return ended, bool(launcher)
    raise AssertionError("the second launcher always returns")


def _apply(tree: Path, diff: str, stopping: Callable[[], bool]) -> Ended:
    checked = git(tree, ["apply", "--check", "-"], given=diff.encode(), stopping=stopping)
    return git(tree, ["apply", "-"], given=diff.encode(), stopping=stopping) if checked.code == 0 else checked


@contextmanager
def _working_tree(source: Source, stopping: Callable[[], bool]) -> Iterator[Path | None]:
    """The code in a temporary folder, None when it cannot be put there.

    A clone that shares the objects rather than `git worktree`: the user's repository gets neither a lock nor an entry.
    """
    with tempfile.TemporaryDirectory(prefix="paramedic-patch-", ignore_cleanup_errors=True) as folder:
        tree = Path(folder) / "tree"
        if not source.commit:
            yield tree if _copied(source.repository.path, tree) else None
            return
        environment = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "HOME": os.devnull}
        quiet = ["git", "-c", "safe.directory=*", "-c", f"core.hooksPath={os.devnull}"]

        def succeeds(arguments: list[str]) -> bool:
            ended = run_program(
                [*quiet, *arguments], cwd=Path(folder), timeout_s=_GIT_S, environment=environment, stopping=stopping
            )
            return ended.code == 0

        path = str(source.repository.path)
        made = succeeds(["clone", "--quiet", "--shared", "--no-checkout", "--", path, str(tree)])
        yield tree if made and succeeds(["-C", str(tree), "checkout", "--quiet", "--detach", source.commit]) else None


def _copied(path: Path, tree: Path) -> bool:
    size = 0
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        size += sum((Path(folder) / name).lstat().st_size for name in names)
        if size > _MOST_COPY_BYTES:
            return False
    shutil.copytree(path, tree, symlinks=True, ignore=lambda _, names: [name for name in names if name in LEFT_OUT])
    return True


def _tail(ended: Ended) -> str:
    return " ".join(ended.text[-_TAIL_CHARACTERS:].split()) or f"exit code {ended.code}"


def _last_line(ended: Ended) -> str:
    lines = ended.text.strip().splitlines()
    return lines[-1].strip(" =")[:120] if lines else "no output"
