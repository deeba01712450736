"""A server is its whole process group: it ends as one, also when it does not listen, and is never mistaken."""

import sys
from pathlib import Path

import psutil
import pytest

from deploy.stack.processes import Group, kill, members, recall, remember, start, stop, wait_until
from deploy.stack.server import Launch

SLEEPS = "import time; print(1, flush=True); time.sleep(600)"
CHILDREN = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SLEEPS!r}])"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"


def started(code: str, folder: Path) -> Group:
    log = folder / "server.log"
    group = start(Launch(command=[sys.executable, "-c", code], folder=folder), log)
    assert wait_until(lambda: b"1" in log.read_bytes(), 20)
    return group


def test_a_server_ends_with_what_it_started(tmp_path: Path) -> None:
    group = started(CHILDREN, tmp_path)
    assert len(members(group)) == 2
    assert stop(group)
    assert members(group) == []


def test_a_server_that_ignores_the_order_is_killed(tmp_path: Path) -> None:
    group = started(DEAF, tmp_path)
    assert not stop(group, timeout_s=0.2)
    assert members(group) == []


def test_a_killed_server_is_gone_when_kill_returns(tmp_path: Path) -> None:
    group = started(CHILDREN, tmp_path)
    kill(group)
    assert members(group) == []


def test_a_running_server_is_found_again(tmp_path: Path) -> None:
    group = started(DEAF, tmp_path)
    remember(group, tmp_path / "run" / "server.json")
    assert recall(tmp_path / "run" / "server.json") == group
    kill(group)
    assert recall(tmp_path / "run" / "server.json") is None


def test_a_later_process_with_the_same_id_is_not_mistaken_for_the_server(tmp_path: Path) -> None:
    myself = psutil.Process()
    old = Group(pid=myself.pid, started_s=myself.create_time() - 3600)
    remember(old, tmp_path / "server.json")
    assert recall(tmp_path / "server.json") is None


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": "x", "started_s": 1}'])
def test_a_spoilt_file_means_not_running(tmp_path: Path, content: str) -> None:
    (tmp_path / "server.json").write_text(content)
    assert recall(tmp_path / "server.json") is None
