"""Snapshots of partition states on disk: one file per topic and partition, replaced atomically.

A file carries a magic word, its version and a checksum. One that is damaged or of another version is left aside with a
warning, and the state is learned anew: a detector that does not start is worse than one that has to warm up.
"""

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from libs.streaming.broker import TopicPartition
from services.detector.snapshot_codec import pack, unpack

MAGIC: Final = b"PMDS"
VERSION: Final = 1
_HEADER: Final = struct.Struct("<4sHI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """State of one partition.

    Attributes:
        offset: Offset of the newest message that the state rests on.
        timestamp_ms: Broker timestamp of that message; tells a partition from a new one with the same offsets.
        state: From `DetectorHandler.snapshot`.
    """

    offset: int
    timestamp_ms: int
    state: bytes


class SnapshotStore:
    """Reads and writes snapshots in one folder.

    Args:
        folder: Created when it is missing.
        on_damage: Told about files that cannot be used: file name and reason.
    """

    def __init__(self, folder: Path, on_damage: Callable[[str, str], None]) -> None:
        self._folder = folder
        self._on_damage = on_damage
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, place: TopicPartition) -> Path:
        """File of a partition."""
        topic, partition = place
        return self._folder / f"{topic}-{partition}.snapshot"

    def write(self, place: TopicPartition, snapshot: Snapshot) -> None:
        """Replace a partition's snapshot; a crash in between leaves the old one."""
        content = pack(snapshot)
        path = self.path(place)
        temporary = path.with_suffix(".writing")
        temporary.write_bytes(_HEADER.pack(MAGIC, VERSION, zlib.crc32(content)) + content)
        temporary.replace(path)

    def read(self, place: TopicPartition) -> Snapshot | None:
        """A partition's snapshot; None when there is none that can be used."""
        path = self.path(place)
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            return _decode(raw)
        except ValueError as error:
            self._on_damage(path.name, str(error))
            return None


def _decode(raw: bytes) -> Snapshot:
    if len(raw) < _HEADER.size:
        raise ValueError("too short")
    magic, version, checksum = _HEADER.unpack_from(raw)
    content = raw[_HEADER.size :]
    if magic != MAGIC or version != VERSION:
        raise ValueError(f"not a snapshot of version {VERSION}")
    if zlib.crc32(content) != checksum:
        raise ValueError("the checksum does not fit")
    return unpack(content, Snapshot)
