"""Share small state between processes by a file: replaced whole by one writer, re-read by many when it has changed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")

ENDPOINTS_FILE = "endpoints.json"
FLAGS_FILE = "flags.json"


def replace_json(path: Path, content: object) -> None:
    """Write `content` so that a reader sees the old or the new file, never a part of one."""
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    scratch.write_text(json.dumps(content, indent=1, sort_keys=True))
    os.replace(scratch, path)


class WatchedFile(Generic[T]):
    """The content of a file that another process replaces.

    A stat costs 2 us, so it is asked at every read and needs no thread. A file that is missing or malformed keeps
    the last good content: a service goes on with the addresses that it knows.
    """

    def __init__(self, path: Path, parse: Callable[[object], T], initial: T) -> None:
        self._path = path
        self._parse = parse
        self._content = initial
        self._stamp: tuple[int, int] | None = None

    def read(self) -> T:
        """The newest good content."""
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self._content = self._parse(json.loads(self._path.read_bytes()))
                self._stamp = stamp
        except (OSError, ValueError):
            return self._content
        return self._content


def watch_endpoints(directory: Path) -> WatchedFile[dict[str, list[str]]]:
    """Base URLs of the ready instances, by service."""
    return WatchedFile(directory / ENDPOINTS_FILE, parse_endpoints, {})


def watch_flags(directory: Path) -> WatchedFile[dict[str, bool]]:
    """Feature flags by name."""
    return WatchedFile(directory / FLAGS_FILE, parse_flags, {})


def parse_endpoints(content: object) -> dict[str, list[str]]:
    """Check the registry's content by hand: importing a library for it would cost every process 0.2 s and 6 MB.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(content, dict):
        raise ValueError("the registry is not an object")
    for urls in content.values():
        if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls):
            raise ValueError("a service's entry is not a list of URLs")
    return content


def parse_flags(content: object) -> dict[str, bool]:
    """Check the flags' content.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(content, dict) or not all(isinstance(switch, bool) for switch in content.values()):
        raise ValueError("a flag is not true or false")
    return content
