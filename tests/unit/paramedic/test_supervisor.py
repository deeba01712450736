"""The supervisor restarts what dies, gives up on configuration errors, and leaves nothing behind."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from libs.service.settings import Settings
from paramedic.supervisor import StartFailed, Supervisor

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    events: list[str] = []
    with Supervisor(Settings(data_dir=tmp_path), on_event=events.append) as supervisor:
        supervisor.start("sleeper", SLEEPER)
        first = supervisor.pid("sleeper")
        os.kill(first, signal.SIGKILL)

        def again() -> bool:
            supervisor.tend()
            return supervisor.pid("sleeper") != first

        eventually(again)
    assert "killed by SIGKILL" in events[0]
    assert "started again" in events[1]


def test_a_configuration_error_is_not_tried_again(tmp_path: Path) -> None:
    events: list[str] = []
    with Supervisor(Settings(data_dir=tmp_path), on_event=events.append) as supervisor:
        supervisor.start("wrong", [sys.executable, "-c", "print('no such broker'); raise SystemExit(2)"])

        def gave_up() -> bool:
            supervisor.tend()
            return bool(events)

        eventually(gave_up)
    assert "wrong cannot start" in events[0]
    assert "no such broker" in events[0]


def test_a_service_that_does_not_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    with Supervisor(Settings(data_dir=tmp_path)) as supervisor:
        supervisor.start("broker", [sys.executable, "-c", "print('port is taken'); raise SystemExit(2)"])
        with pytest.raises(StartFailed, match="port is taken"):
            supervisor.wait_broker(timeout_s=20)


def test_stop_ends_even_a_process_that_ignores_sigterm(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nsignal.pause()"
    supervisor = Supervisor(Settings(data_dir=tmp_path))
    supervisor.start("stubborn", [sys.executable, "-c", stubborn])
    pid = supervisor.pid("stubborn")
    eventually(lambda: "up" in supervisor.log_tail("stubborn"))
    supervisor.stop(timeout_s=0.3)
    assert not psutil.pid_exists(pid)
