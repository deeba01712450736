"""Wait for a condition instead of for a time."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def until(condition: Callable[[], T], timeout_s: float = 20.0, look_s: float = 0.01) -> T:
    """Look every so often until a condition gives something true, and return that; fails when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition was not met in time"
        threading.Event().wait(look_s)
    return found
