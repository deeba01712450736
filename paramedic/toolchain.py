"""What this machine has of the tools that the real servers of deploy/stack need: Java, Maven, Go."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

LEAST_JAVA: Final = 17  # the Kafka 4 brokers refuse an older one
_ANSWER_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One tool as found.

    Attributes:
        name: java, maven or go.
        path: The program, None when it is missing or too old.
        detail: Version, or what is wrong.
        needed_for: What cannot run without it.
        advice: How to get it, "" when it is there.
    """

    name: str
    path: Path | None
    detail: str
    needed_for: str
    advice: str = ""


def java() -> Tool:
    """Java 17 or newer: JAVA_HOME first, then the path."""
    needed_for = "Kafka, Elasticsearch, Schema Registry"
    advice = f"install a JDK {LEAST_JAVA} or newer (Debian: apt-get install openjdk-17-jdk-headless) or set JAVA_HOME"
    home = os.environ.get("JAVA_HOME", "")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None or not Path(found).exists():
        where = f"JAVA_HOME={home} has no bin/java" if home else "not installed"
        return Tool(name="java", path=None, detail=where, needed_for=needed_for, advice=advice)
    version = java_version(_output([found, "-version"]))
    if version is None or version < LEAST_JAVA:
        detail = f"{found} is version {version or 'unknown'}"
        return Tool(name="java", path=None, detail=detail, needed_for=needed_for, advice=advice)
    return Tool(name="java", path=Path(found).resolve(), detail=f"{found}, version {version}", needed_for=needed_for)


def maven() -> Tool:
    """Maven, which downloads the servers."""
    return _on_path("maven", "mvn", "downloading the servers", "install Maven (Debian: apt-get install maven)")


def go() -> Tool:
    """Go, which builds the Collector."""
    advice = "install Go 1.25 or newer (https://go.dev/dl); without it the stack runs without a Collector"
    return _on_path("go", "go", "OpenTelemetry Collector", advice)


def java_version(printed: str) -> int | None:
    """Major version in what `java -version` printed; None when there is none."""
    match = re.search(r'version "(\d+)(?:\.(\d+))?', printed)
    if match is None:
        return None
    major = int(match[1])
    return int(match[2] or 0) if major == 1 else major  # Java 8 calls itself 1.8


def _on_path(name: str, program: str, needed_for: str, advice: str) -> Tool:
    found = shutil.which(program)
    if found is None:
        return Tool(name=name, path=None, detail="not installed", needed_for=needed_for, advice=advice)
    return Tool(name=name, path=Path(found), detail=found, needed_for=needed_for)


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return done.stdout + done.stderr
