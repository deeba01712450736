"""A folder of the cache is complete or it does not exist."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy.stack.artifacts import cached, run_logged, unpack, write_checksums
from libs.errors import Unavailable


def test_what_was_made_once_is_not_made_again(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "server.jar").write_text("jar")

    for _ in range(2):
        assert (cached(tmp_path / "kafka-1", make) / "server.jar").read_text() == "jar"
    assert len(made) == 1


def test_a_download_that_breaks_off_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    def breaks(folder: Path) -> None:
        (folder / "half.jar").write_text("ha")
        raise Unavailable("the network is gone")

    with pytest.raises(Unavailable):
        cached(tmp_path / "kafka-1", breaks)
    assert not (tmp_path / "kafka-1").exists()
    assert [path.name for path in cached(tmp_path / "kafka-1", lambda _: None).iterdir()] == []


def test_a_command_that_fails_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"exit code 3[^|]*\nno such artifact") as raised:
        run_logged(["sh", "-c", "echo no such artifact; exit 3"], tmp_path / "log" / "maven.log")
    assert str(tmp_path / "log" / "maven.log") in str(raised.value)


def test_checksums_are_those_of_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    write_checksums(tmp_path)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert (tmp_path / "SHA256SUMS").read_text() == f"{empty}  a\n"


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("../outside", "x")
    unpack(tmp_path / "a.zip", target)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as packed_tar:
        member = tarfile.TarInfo("../outside")
        member.size = 1
        packed_tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(tarfile.OutsideDestinationError):
        unpack(tmp_path / "a.tar.gz", target)
    assert not (tmp_path / "outside").exists()
