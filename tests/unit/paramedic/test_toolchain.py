"""What is missing for the real servers is named with what to do."""

from pathlib import Path

import pytest

from paramedic import toolchain


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_392"', 8),
        ("command not found", None),
    ],
)
def test_the_version_of_java_is_read(printed: str, version: int | None) -> None:
    assert toolchain.java_version(printed) == version


def test_a_java_home_without_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    tool = toolchain.java()
    assert tool.path is None
    assert str(tmp_path) in tool.detail
    assert "JDK 17" in tool.advice


def test_an_old_java_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    tool = toolchain.java()
    assert tool.path is None
    assert "version 11" in tool.detail


def test_tools_that_are_not_installed_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for tool in (toolchain.java(), toolchain.maven(), toolchain.go()):
        assert tool.path is None
        assert tool.detail == "not installed"
        assert tool.advice
