"""Analyses give way to the services on the same machine."""

import os
import subprocess
import sys

import pytest

from services.recommender.service import background


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_an_analysis_and_what_it_starts_give_way_while_the_service_does_not() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    command = [sys.executable, "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"]
    with background() as executor:
        told = executor.submit(subprocess.run, command, capture_output=True, text=True, check=True).result()
    assert told.stdout.strip() == "19"
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
