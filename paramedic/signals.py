"""Ctrl-C and SIGTERM end a command in order."""

import signal
import threading


def stop_on_signals(stop: threading.Event) -> None:
    """Set the event on SIGINT or SIGTERM; a second signal ends the process the usual way."""

    def on_signal(number: int, _: object) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
