"""Downloads, cached by version: a folder of the cache is complete or it does not exist."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from libs.errors import Unavailable
from paramedic.toolchain import maven

Say = Callable[[str], None]
_PLUGIN: Final = "org.apache.maven.plugins:maven-dependency-plugin"
_DOWNLOAD_S: Final = 1200.0


def cached(folder: Path, make: Callable[[Path], None]) -> Path:
    """Return a folder of the cache; when it is missing, `make` fills a temporary one that then takes its name."""
    with locked(folder.parent / f".{folder.name}.lock"):
        if folder.exists():
            return folder
        partial = folder.parent / f".{folder.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        make(partial)
        partial.rename(folder)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file lock, so that two stacks do not download into, or start from, one folder at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def copy_artifact(coordinates: str, target: Path, plugin_version: str, log: Path) -> Path:
    """Download group:artifact:version:type[:classifier] into a folder; Maven checks the repository's checksum."""
    _maven(
        [f"{_PLUGIN}:{plugin_version}:copy", f"-Dartifact={coordinates}", f"-DoutputDirectory={target}"],
        log,
        coordinates,
    )
    (found,) = [path for path in target.iterdir() if path.is_file()]
    return found


def copy_with_dependencies(pom: Path, target: Path, plugin_version: str, log: Path) -> None:
    """Download what a pom depends on at run time, with what that depends on, into a folder."""
    goal = f"{_PLUGIN}:{plugin_version}:copy-dependencies"
    _maven(["-f", str(pom), goal, "-DincludeScope=runtime", f"-DoutputDirectory={target}"], log, pom.name)


def unpack(archive: Path, target: Path) -> None:
    """Unpack a .zip or .tar.gz; members that would land outside the folder are refused or made harmless."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(target)
        return
    with tarfile.open(archive) as packed:
        packed.extractall(target, filter="data")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_checksums(folder: Path) -> None:
    """Write SHA256SUMS of the files directly in a folder, in the format of sha256sum(1)."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    (folder / "SHA256SUMS").write_text("".join(f"{sha256(path)}  {path.name}\n" for path in files))


def open_to_all(folder: Path) -> None:
    """Let every user read a folder's files: Elasticsearch does not run as the root that downloaded them."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))


def run_logged(
    command: Sequence[str], log: Path, *, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Run a command with its output in a log; `Unavailable` says where to look when it fails."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        try:
            done = subprocess.run(
                list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=_DOWNLOAD_S, check=False,
                cwd=cwd, env={**os.environ, **(env or {})},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise Unavailable(
                f"{command[0]} did not finish within {_DOWNLOAD_S:.0f} s; its output is in {log}"
            ) from None
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        raise Unavailable(f"{Path(command[0]).name} failed with exit code {done.returncode}; end of {log}:\n{tail}")


def _maven(arguments: Sequence[str], log: Path, what: str) -> None:
    tool = maven()
    if tool.path is None:
        raise Unavailable(f"Maven is {tool.detail}, needed to download {what}: {tool.advice}")
    # --strict-checksums fails on a file that differs from the checksum in the repository; the default only warns.
    run_logged([str(tool.path), "--batch-mode", "--strict-checksums", *arguments], log)
