"""What exists is named in the docs, and what the docs name exists."""

import re
from pathlib import Path

import pytest

from libs.contracts.topics import topics
from libs.service.settings import Settings

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted((ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_with_its_meaning(name: str) -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert f"`PARAMEDIC_{name.upper()}`" in page
    assert (Settings.model_fields[name].description or "?") in page


def test_no_setting_is_documented_that_does_not_exist() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert set(re.findall(r"`PARAMEDIC_(\w+)`", page)) == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("topic", [name for name in topics() if not name.startswith("otlp_")])
def test_every_topic_is_in_the_architecture(topic: str) -> None:
    assert topic in (ROOT / "docs" / "architecture.md").read_text()


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda p: p.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_make_verb_of_the_readme_exists() -> None:
    verbs = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for verb in re.findall(r"(?:^|`)make ([a-z][a-z0-9-]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert verb in verbs, verb
