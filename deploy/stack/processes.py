"""Processes by group: a server is everything that its first process started, and ends as a whole."""

import json
import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

from deploy.stack.server import Launch

_POLL_S: Final = 0.05
_SAME_START_S: Final = 1.0  # a later process with the same id began later
_CHILDREN: Final[set[int]] = set()  # those that this process started itself
_PAUSE: Final = threading.Event()  # never set: `wait` is a sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One started server.

    Attributes:
        pid: First process, also the id of its process group.
        started_s: Unix seconds of its start, which tells it from a later process with the same id.
    """

    pid: int
    started_s: float


def start(launch: Launch, log: Path) -> Group:
    """Start in a session and process group of its own; output is appended to the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    account = pwd.getpwnam(launch.user) if launch.user else None
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(launch.command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=launch.folder,
            env={**os.environ, **launch.environment}, start_new_session=True, umask=0o022,
            user=account.pw_uid if account else None, group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )  # fmt: skip
    _CHILDREN.add(process.pid)
    process.returncode = 0  # it outlives this process on purpose, which Popen would warn of
    return Group(pid=process.pid, started_s=psutil.Process(process.pid).create_time())


def members(group: Group) -> list[psutil.Process]:
    """Living processes of a group; none when its id was given to a later process."""
    found = []
    for process in psutil.process_iter(["status", "create_time"]):
        try:
            if os.getpgid(process.pid) != group.pid or process.info["status"] == psutil.STATUS_ZOMBIE:
                continue
        except (ProcessLookupError, PermissionError):
            continue
        if process.pid == group.pid and abs(process.info["create_time"] - group.started_s) > _SAME_START_S:
            return []
        found.append(process)
    return found


def stop(group: Group, *, timeout_s: float = 15.0) -> bool:
    """SIGTERM to the group, SIGKILL to what is left after the timeout; False when SIGKILL was needed."""
    send(group, signal.SIGTERM)
    if wait_until(lambda: not members(group), timeout_s):
        return True
    kill(group)
    return False


def kill(group: Group) -> None:
    """SIGKILL to the group, and wait until it is gone."""
    send(group, signal.SIGKILL)
    wait_until(lambda: not members(group), 10.0)


def send(group: Group, number: signal.Signals) -> None:
    """Send a signal to a living group."""
    if members(group):
        try:
            os.killpg(group.pid, number)
        except ProcessLookupError:
            return


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Wait for a condition; whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        _reap()
        if time.monotonic() > deadline:
            return False
        _PAUSE.wait(_POLL_S)
    return True


def _reap() -> None:
    """Ask children of this process whether they have ended: until then they stay zombies."""
    for pid in sorted(_CHILDREN):
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                _CHILDREN.discard(pid)
        except ChildProcessError:
            _CHILDREN.discard(pid)


def remember(group: Group, path: Path) -> None:
    """Write a group to a file."""
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(asdict(group)))
    partial.replace(path)


def recall(path: Path) -> Group | None:
    """The group in a file that still lives; None otherwise."""
    try:
        fields = json.loads(path.read_text())
        group = Group(pid=int(fields["pid"]), started_s=float(fields["started_s"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return group if members(group) else None
