"""Die with the parent, so that a shop that is killed leaves no orphans."""

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_S = 0.5
_GRACE_S = 5.0


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the parent ends, however it ends; even a stopped process is.

    On Linux the kernel does it when the parent *thread* that started this process ends, so the parent must start
    its children from its main thread. Elsewhere a thread polls the parent's id.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_end_with, args=(parent_pid, signal.SIGKILL), daemon=True).start()
    if os.getppid() != parent_pid:  # it ended before the kernel was asked
        os._exit(1)


def follow_parent(parent_pid: int) -> None:
    """Ask this process to stop (SIGTERM) when the parent has ended, whichever of its threads started it."""
    threading.Thread(target=_end_with, args=(parent_pid, signal.SIGTERM), daemon=True).start()


def _end_with(parent_pid: int, how: signal.Signals) -> None:
    while os.getppid() == parent_pid:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), how)
    time.sleep(_GRACE_S)
    os._exit(1)
