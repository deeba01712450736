"""How the shop's processes end: by order, with a killed owner, without a telemetry endpoint."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from examples.shop.faults import WorldError
from examples.shop.shop import Shop

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


def wait_until(condition: Callable[[], bool], within_s: float) -> None:
    """Poll four times a second; the condition, not the time, decides."""
    never = threading.Event()
    deadline_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not so within {within_s} s"
        never.wait(0.25)


def test_the_shop_works_without_a_telemetry_endpoint(tmp_path: Path) -> None:
    with Shop.start("http://127.0.0.1:9", tmp_path, rate_per_s=6.0) as shop:
        wait_until(lambda: shop.load_stats(30.0).total.requests > 20, 30.0)
        assert shop.ready()
        assert shop.load_stats(30.0).total.failed == 0
        pids = _family(shop)
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


def test_a_killed_owner_leaves_no_orphans_not_even_a_stopped_one(tmp_path: Path) -> None:
    arguments = ["--endpoint", "http://127.0.0.1:9", "--control-port", "0", "--rate", "1"]
    arguments += ["--directory", str(tmp_path)]
    owner = subprocess.Popen(
        [sys.executable, "-m", "examples.shop", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).resolve().parents[2],
    )
    with owner:
        assert owner.stdout is not None
        for line in owner.stdout:
            if b"users arriving" in line:
                break
        family = psutil.Process(owner.pid).children(recursive=True)
        assert len(family) == 10
        bank = next(one for one in family if "examples.shop.bank" in one.cmdline())
        bank.send_signal(signal.SIGSTOP)
        owner.kill()
    wait_until(lambda: not any(_alive(one) for one in family), 15.0)


def test_a_control_that_is_gone_is_told(tmp_path: Path) -> None:
    with Shop.start("http://127.0.0.1:9", tmp_path, rate_per_s=1.0) as shop:
        family = psutil.Process(shop.pids["control"]).children(recursive=True)
        os.kill(shop.pids["control"], signal.SIGKILL)
        wait_until(lambda: not any(_alive(one) for one in family), 15.0)
        assert not shop.ready()
        with pytest.raises(WorldError):
            shop.inject("bad-flag")


def _family(shop: Shop) -> list[int]:
    parents = [psutil.Process(pid) for pid in shop.pids.values()]
    return [one.pid for parent in parents for one in (parent, *parent.children(recursive=True))]


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
