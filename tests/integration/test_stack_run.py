"""`deploy.stack run` leaves no server behind, also when it is told to end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.integration.stack_servers import address, until

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]


def test_servers_end_with_a_run_that_is_terminated(tmp_path: Path) -> None:
    address("kafka")
    told = tmp_path / "told"
    command = ["sh", "-c", f'cp "$PARAMEDIC_STACK_DATA/run/kafka.json" {told}.part && mv {told}.part {told}; sleep 600']
    run = subprocess.Popen(
        [sys.executable, "-m", "deploy.stack", "run", "--only", "kafka", "--", *command],
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        until(told.exists, "the command runs beside its servers", 120.0)
        server = int(told.read_text().split('"pid":')[1].split(",")[0])
        assert psutil.pid_exists(server)
        os.kill(run.pid, signal.SIGTERM)
        assert run.wait(60) == 128 + signal.SIGTERM
        until(lambda: not lives(server), "the server has ended")
    finally:
        run.kill()


def lives(pid: int) -> bool:
    """Whether a process runs; one that nobody has reaped yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
