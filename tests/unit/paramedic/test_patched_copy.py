"""A recommended diff is applied to a copy, exactly or not at all, and to the shop's own files only."""

import difflib
from pathlib import Path

import pytest

from paramedic.demo.patched_copy import PatchRefused, patched_copy

BEFORE = "CREATE TABLE orders (\n    id TEXT PRIMARY KEY,\n    user_id TEXT NOT NULL\n);\n"
AFTER = BEFORE + "CREATE INDEX orders_by_user ON orders (user_id);\n"
PATH = "examples/shop/sql/checkout.sql"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "examples/shop/sql").mkdir(parents=True)
    (root / "examples/shop/__pycache__").mkdir()
    (root / PATH).write_text(BEFORE)
    (root / "examples/shop/cart.py").write_text("x = 1\n")
    return root


def diff_of(path: str = PATH, before: str = BEFORE, after: str = AFTER) -> str:
    lines = difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"a/{path}", f"b/{path}")
    return "".join(lines)


def test_the_copy_has_the_change_and_the_repository_has_not(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert patched_copy(root, diff_of(), copy) == (PATH,)
    assert (copy / PATH).read_text() == AFTER
    assert (root / PATH).read_text() == BEFORE
    assert (copy / "examples/shop/cart.py").read_text() == "x = 1\n"
    assert not (copy / "examples/shop/__pycache__").exists()


def test_a_diff_of_two_files_changes_both(root: Path, tmp_path: Path) -> None:
    both = diff_of() + diff_of("examples/shop/cart.py", "x = 1\n", "x = 2\n")
    assert len(patched_copy(root, both, tmp_path / "copy")) == 2
    assert (tmp_path / "copy/examples/shop/cart.py").read_text() == "x = 2\n"


def test_a_diff_made_for_other_code_is_refused(root: Path, tmp_path: Path) -> None:
    (root / PATH).write_text(BEFORE.replace("user_id", "customer_id"))
    with pytest.raises(PatchRefused, match="does not fit"):
        patched_copy(root, diff_of(), tmp_path / "copy")


@pytest.mark.parametrize(
    "path", ["paramedic/cli.py", "examples/other.py", "../outside.py", "/etc/passwd", "examples/shop/../../x"]
)
def test_a_diff_that_reaches_elsewhere_is_refused(root: Path, tmp_path: Path, path: str) -> None:
    with pytest.raises(PatchRefused, match="not below examples/shop"):
        patched_copy(root, diff_of(path), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("diff", ["", "no diff at all", "--- a/x\n+++ b/x\n", "x" * 300_000])
def test_what_is_no_diff_is_refused(root: Path, tmp_path: Path, diff: str) -> None:
    with pytest.raises(PatchRefused):
        patched_copy(root, diff, tmp_path / "copy")
