"""Proving a patch in a working tree of its own, and putting it on a branch, without touching the user's checkout."""

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.recommendation import CodeChangeRecommended, CodeLocation
from services.recommender.branch import BranchRefused, put_on_branch
from services.recommender.configuration import Repository
from services.recommender.diff import unified
from services.recommender.process import Stopped, run_program
from services.recommender.source import NoSource, Source, open_source
from services.recommender.validate import Validation, parse_problem, validate
from tests.unit.services.recommender.checkouts import CART, FILES, checkout, run

# Plugins that happen to be installed here take 3 s to load, and the checkout has no need of them.
PYTEST = ("{python}", "-m", "pytest", "-q", "--disable-plugin-autoload", "-p", "no:cacheprovider", "tests")
GOOD = CART.replace("timeout_s=None", "timeout_s=1.0")


def source(folder: Path, **settings: Any) -> Source:
    return open_source(Repository(name="shop", path=folder, services=("*",), **settings), "1.8.0")


def check(seen: Source, after: str, path: str = "shop/cart.py") -> Validation:
    before = {path: seen.read(path) or ""}
    return validate(seen, "cart", unified(before, {path: after}), {path: after})


def state_of(folder: Path) -> tuple[str, ...]:
    found = run(folder, "status", "--porcelain"), run(folder, "rev-parse", "HEAD"), run(folder, "worktree", "list")
    return (*found, (folder / "shop/cart.py").read_text())


def test_a_good_patch_applies_parses_and_passes_without_touching_the_checkout(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    before = state_of(folder)
    checked = check(source(folder, test=PYTEST), GOOD)
    assert checked.passed, checked.words
    assert "passes" in checked.words
    assert "1 passed" in checked.words
    assert state_of(folder) == before


def test_the_revision_is_checked_and_not_what_lies_in_the_folder(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    (folder / "shop/cart.py").write_text("work in progress")
    seen = source(folder)
    assert seen.read("shop/cart.py") == CART
    assert check(seen, GOOD).passed


def test_a_folder_that_is_no_checkout_is_copied(tmp_path: Path) -> None:
    for path, text in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    checked = check(source(tmp_path, test=PYTEST), GOOD)
    assert checked.passed, checked.words
    assert (tmp_path / "shop/cart.py").read_text() == CART


def test_a_patch_that_breaks_the_tests_is_refused_and_the_text_says_that_they_passed_before(tmp_path: Path) -> None:
    checked = check(source(checkout(tmp_path), test=PYTEST), CART.replace("total = 0", "total = 1"))
    assert not checked.passed
    assert "it passes without the patch" in checked.words


def test_tests_that_fail_anyway_are_told_apart(tmp_path: Path) -> None:
    files = {**FILES, "tests/test_cart.py": "def test_it():\n    assert False\n"}
    checked = check(source(checkout(tmp_path, files), test=PYTEST), GOOD)
    assert not checked.passed
    assert "does not pass without the patch either" in checked.words


def test_a_patch_that_does_not_parse_is_refused(tmp_path: Path) -> None:
    checked = check(source(checkout(tmp_path)), CART.replace("class Carts:", "class Carts"))
    assert not checked.passed
    assert "does not parse" in checked.words


def test_a_diff_of_other_text_does_not_apply(tmp_path: Path) -> None:
    diff = unified({"shop/cart.py": "other\n"}, {"shop/cart.py": "text\n"})
    checked = validate(source(checkout(tmp_path)), "cart", diff, {"shop/cart.py": "text\n"})
    assert not checked.passed
    assert "does not apply" in checked.words


def test_tests_that_hang_are_ended(tmp_path: Path) -> None:
    hang = ("{python}", "-c", "import threading; threading.Event().wait()")
    checked = check(source(checkout(tmp_path), test=hang, test_s=0.5), GOOD)
    assert not checked.passed
    assert "took longer than 0.5 s" in checked.words


def test_tests_see_neither_the_network_nor_the_service_s_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARAMEDIC_API_TOKEN", "secret")
    script = "import os, socket\nassert 'PARAMEDIC_API_TOKEN' not in os.environ\n"
    script += "socket.create_server(('127.0.0.1', 0)).close()\nprint('only loopback')"
    checked = check(source(checkout(tmp_path), test=("{python}", "-c", script)), GOOD)
    assert checked.passed, checked.words
    assert "only loopback" in checked.words


def test_a_program_is_given_up_when_the_service_stops(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run_program(
            [sys.executable, "-c", "import threading; threading.Event().wait()"],
            cwd=tmp_path, timeout_s=30, stopping=lambda: True,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "text", "good"),
    [
        ("a.py", "x = 1\n", True), ("a.py", "x = (\n", False), ("a.toml", "x = 1\n", True), ("a.toml", "x =\n", False),
        ("a.yaml", "x: 1\n", True), ("a.yaml", "x: [\n", False),
        ("a.sql", "SELECT 1;\n", True), ("a.sql", "SELECT (;", False),
        ("a.txt", "(", True),
    ],
)  # fmt: skip
def test_files_are_parsed_by_their_kind(path: str, text: str, good: bool) -> None:
    assert (parse_problem(path, text) == "") is good


def test_a_diff_keeps_a_missing_newline_at_the_end(tmp_path: Path) -> None:
    folder = checkout(tmp_path, {"a.py": "x = 1"})
    assert check(source(folder), "x = 2", "a.py").passed


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", ".git/config", ""])
def test_nothing_outside_the_repository_is_read(tmp_path: Path, path: str) -> None:
    assert source(checkout(tmp_path / "in")).read(path) is None


def test_deployed_paths_are_found_by_root_prefix_or_their_end(tmp_path: Path) -> None:
    folder = checkout(tmp_path, {"services/shop/cart.py": "x = 1\n"})
    assert source(folder, root="/app/", prefix="services").resolve("/app/shop/cart.py") == "services/shop/cart.py"
    assert source(folder).resolve("/opt/services/shop/cart.py") == "services/shop/cart.py"
    assert source(folder).resolve("/opt/other.py") == ""


def test_the_revision_of_a_version_is_named_by_the_template(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    run(folder, "tag", "v1.8.0")
    (folder / "shop/cart.py").write_text("later = True\n")
    run(folder, "commit", "--quiet", "-am", "Later")
    assert source(folder, ref="v{version}").read("shop/cart.py") == CART
    with pytest.raises(NoSource, match="no git revision v9"):
        open_source(Repository(name="shop", path=folder, services=("*",), ref="v{version}"), "9")
    with pytest.raises(NoSource, match="no usable"):
        open_source(Repository(name="shop", path=folder, services=("*",), ref="{version}"), "--output=x")


# --- branches -----------------------------------------------------------------------------------------------------


def recommended(after: str = GOOD, **changed: Any) -> CodeChangeRecommended:
    one = CodeChangeRecommended(
        id="1a2b3c4d-0000", rule="call_without_timeout", service="cart", title="cart calls without a timeout",
        location=CodeLocation(path="shop/cart.py"), diff=unified({"shop/cart.py": CART}, {"shop/cart.py": after}),
        recommended_at=datetime(2026, 3, 2, tzinfo=UTC),
    )  # fmt: skip
    return replace(one, **changed)


def test_a_patch_becomes_one_commit_on_its_own_branch_and_nothing_else_changes(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    before = state_of(folder)
    name = put_on_branch(source(folder), recommended(), "paramedic/")
    assert name == "paramedic/call-without-timeout-cart-1a2b3c4d"
    assert run(folder, "show", f"{name}:shop/cart.py") == GOOD.strip()
    assert run(folder, "rev-list", "--count", f"main..{name}") == "1"
    assert state_of(folder) == before


def test_putting_it_there_again_changes_nothing(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    name = put_on_branch(source(folder), recommended(), "paramedic/")
    commit = run(folder, "rev-parse", name)
    put_on_branch(source(folder), recommended(benefit="other figures"), "paramedic/")
    assert run(folder, "rev-parse", name) == commit


def test_another_patch_moves_the_branch(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    put_on_branch(source(folder), recommended(), "paramedic/")
    name = put_on_branch(source(folder), recommended(CART.replace("None", "2.0")), "paramedic/")
    assert "timeout_s=2.0" in run(folder, "show", f"{name}:shop/cart.py")


def test_a_branch_that_somebody_has_committed_to_is_left_alone(tmp_path: Path) -> None:
    folder = checkout(tmp_path)
    name = put_on_branch(source(folder), recommended(), "paramedic/")
    run(folder, "checkout", "--quiet", name)
    run(folder, "commit", "--quiet", "--allow-empty", "-m", "Mine")
    run(folder, "checkout", "--quiet", "main")
    with pytest.raises(BranchRefused, match="other work"):
        put_on_branch(source(folder), recommended(CART.replace("None", "2.0")), "paramedic/")


def test_plain_files_have_no_branches(tmp_path: Path) -> None:
    with pytest.raises(BranchRefused, match="not a git checkout"):
        put_on_branch(source(tmp_path), recommended(), "paramedic/")
