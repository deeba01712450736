"""Ask the shop until it lets something happen: it refuses while a deploy or a fix of the same service is in hand."""

import threading
import time
from collections.abc import Callable
from typing import Final

from examples.shop.faults import WorldError

PATIENCE_S: Final = 30.0  # a restart of every instance of a service takes up to 15 s on two busy cores
_PAUSE_S: Final = 0.5


def patiently(
    act: Callable[[], object],
    stop: threading.Event,
    tell: Callable[[str], None],
    *,
    patience_s: float = PATIENCE_S,
    pause_s: float = _PAUSE_S,
) -> bool:
    """Do something to the shop; whether it let it happen.

    Args:
        act: Raises `WorldError` when the shop refuses.
        stop: Ends the waiting.
        tell: Hears the first refusal, and the last one when there is no more patience.
        patience_s: How long to ask.
        pause_s: Between two attempts.
    """
    until_s = time.monotonic() + patience_s
    told = False
    while True:
        try:
            act()
        except WorldError as error:
            is_over = time.monotonic() >= until_s or stop.wait(pause_s)
            if is_over or not told:
                tell(f"the shop refuses{'' if is_over else ' for now'}: {error}")
            told = True
            if is_over:
                return False
        else:
            return True
