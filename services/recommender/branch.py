"""A patch on a branch of its own in the user's local repository, made from objects alone.

Neither the checkout nor the index nor HEAD is touched, nothing is merged or pushed, and the same patch makes the same
commit: the author, the dates and the parent are given.
"""

import tempfile
from pathlib import Path
from typing import Final

from libs.contracts.recommendation import CodeChangeRecommended
from libs.errors import ParamedicError
from services.recommender.process import Ended
from services.recommender.source import Source, git

_AUTHOR: Final = "Paramedic <paramedic@localhost>"
_NOBODY: Final = "0" * 40


class BranchRefused(ParamedicError):
    """The branch could not be made; the text says why."""


def branch_name(prefix: str, one: CodeChangeRecommended) -> str:
    """`paramedic/n-plus-one-calls-cart-1a2b3c4d`."""
    plain = "".join(char if char.isalnum() else "-" for char in f"{one.rule}-{one.service}").strip("-")
    return f"{prefix}{plain}-{one.id[:8]}"


def put_on_branch(source: Source, one: CodeChangeRecommended, prefix: str) -> str:
    """Commit a recommendation's diff to its branch; the branch's name.

    A branch that somebody has committed to since is left alone.

    Raises:
        BranchRefused: it is no git checkout, the patch does not apply, or the branch holds other work.
    """
    if not source.commit:
        raise BranchRefused(f"{source.repository.name} is not a git checkout, so it has no branches")
    path, name = source.repository.path, branch_name(prefix, one)
    with tempfile.TemporaryDirectory(prefix="paramedic-index-") as folder:
        index = Path(folder) / "index"
        _ok(git(path, ["read-tree", source.commit], index=index), "read the tree")
        _ok(git(path, ["apply", "--cached", "-"], given=one.diff.encode(), index=index), "apply the patch")
        tree = _ok(git(path, ["write-tree"], index=index), "write the tree")
    # As old as the commit that it stands on: made again tomorrow, it is the same commit.
    stamp = f"{_ok(git(path, ['show', '-s', '--format=%ct', source.commit]), 'read the commit')} +0000"
    commit = (
        f"tree {tree}\nparent {source.commit}\nauthor {_AUTHOR} {stamp}\ncommitter {_AUTHOR} {stamp}\n\n{_message(one)}"
    )
    made = _ok(git(path, ["hash-object", "-t", "commit", "-w", "--stdin"], given=commit.encode()), "write the commit")
    _move(path, name, made, one)
    return name


def _move(path: Path, name: str, commit: str, one: CodeChangeRecommended) -> None:
    ref = f"refs/heads/{name}"
    found = git(path, ["rev-parse", "--verify", "--quiet", ref])
    old = found.text.strip() if found.code == 0 else _NOBODY
    if old == commit or _same_change(path, old, commit):
        return
    if old != _NOBODY:
        author = git(path, ["show", "-s", "--format=%an <%ae>|%cn <%ce>", old]).text.strip()
        if author != f"{_AUTHOR}|{_AUTHOR}":
            raise BranchRefused(f"the branch {name} holds other work; delete or rename it")
        if git(path, ["symbolic-ref", "--quiet", "HEAD"]).text.strip() == ref:
            raise BranchRefused(f"the branch {name} is checked out")
    _ok(git(path, ["update-ref", "-m", f"paramedic: {one.rule}", ref, commit, old]), "move the branch")


def _same_change(path: Path, old: str, commit: str) -> bool:
    """Whether two commits change the same thing at the same place; only their messages' figures differ."""
    told = [git(path, ["show", "-s", "--format=%T %P", one]) for one in (old, commit)]
    return all(one.code == 0 for one in told) and told[0].text == told[1].text


def _message(one: CodeChangeRecommended) -> str:
    subject = " ".join(one.title.split())
    lines = [subject, "", f"{one.benefit}", "", f"Checked: {one.validation}", "", f"Recommendation: {one.id}"]
    return "\n".join("".join(char for char in line if char.isprintable()) for line in lines) + "\n"


def _ok(ended: Ended, what: str) -> str:
    if ended.code != 0:
        raise BranchRefused(f"git could not {what}: {' '.join(ended.text.split())[:200]}")
    return ended.text.strip()
